"""Checks of settings that many parts take."""

from search.base import SearchError


def check_whole(what: str, least: int, most: int | None = None, **settings: object) -> None:
    """Raises SearchError, with the setting's name and value, for one that is no whole number from `least` on, to `most` if that
    is given.

    what: whose settings they are, such as "encoder"; may be empty.
    """
    for name, value in settings.items():
        if type(value) is not int or value < least or (most is not None and value > most):
            place = f"{what}: {name}" if what else name
            upper = "" if most is None else f" to {most}"
            raise SearchError(f"{place}: expected a whole number from {least}{upper}, found {value!r}")
