"""Checks of settings that many parts take."""

import sys

from search.base import SearchError


def check_whole(what: str, least: int, most: int = sys.maxsize, **settings: object) -> None:
    """Raises SearchError, with the setting's name and value, for one that is no whole number from `least` to `most`.

    what: whose settings they are, such as "encoder"; may be empty.
    """
    for name, value in settings.items():
        if type(value) is not int or not least <= value <= most:
            place = f"{what}: {name}" if what else name
            upper = f" to {most}" if most < sys.maxsize else ""
            raise SearchError(f"{place}: expected a whole number from {least}{upper}, found {value!r}")
