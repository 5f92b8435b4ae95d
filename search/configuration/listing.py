"""The settings of a search, listed for people."""

from __future__ import annotations

import inspect
import re

from gemnet.core.settings import expected_name, markdown
from search.configuration.checking import PLAIN, described
from search.configuration.sections import SECTIONS
from search.core.parts import REGISTRIES
from search.core.registry import located
from search.core.types import SearchError

PAGE_HEAD = """# Settings of a search

```python title="my_search.py"
_base_ = ["gemnet::search/digits.py"]
encoder = dict(_delete_=True, type="svge", dim=56)
search = dict(rounds=5)
```

<!-- run: slow -->
```shell
gemnet search my_search.py
gemnet search digits --cfg-options encoder.type=svge encoder.dim=56 search.rounds=5
```

Both lines search with the same settings. [Search](search.md) is the guide to them, [configuration](configuration.md) tells how
configs work, and `gemnet search settings SECTION` shows a part of this page on the command line.

A section has settings of its own, or takes a `type` and has the settings of that. Defaults here are those of the parts.
A config may have others.

A whole number is written without a point (`3`, not `3.0`), True and False are no numbers, a list is written `[1,2]`, and no
number is NaN or infinite.

This page is made by `python tools/search.py settings --out docs/settings.md` from the descriptions beside the parts.
"""


def _about(part: object) -> str:
    """What a part is: the first sentence of its docstring."""
    words = " ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.;]) (?=[A-Z])", words)[0]


def tables(name: str | None = None, narrow: bool = False) -> list[str]:
    """Markdown lines: the settings of all sections, of one ("encoder"), of one type of it ("encoder.svge"), or one setting
    ("search.start").

    narrow: whether tables are without the columns that are empty in every row. Raises SearchError for an unknown name.
    """
    known = [*REGISTRIES, *PLAIN]
    if name is None:
        lines = ["", "## All", "", *markdown({name: s for name, s in SECTIONS.items() if name not in known}, narrow=narrow)]
        for section in SECTIONS:
            lines += tables(section, narrow) if section in known else []
        return lines
    section, _, kind = name.partition(".")
    if section not in known:
        raise SearchError(f"unknown section {name!r}; {expected_name(section, known)}")
    lines = ["", f"## {section}", "", f"The section `{section}`: {SECTIONS[section].meaning}."]
    if kind and section in PLAIN:
        settings = described(section)
        if kind not in settings:
            raise SearchError(f"unknown setting {name!r}; {expected_name(kind, settings)}")
        return [*lines, "", *markdown({kind: settings[kind]}, f"{section}.", narrow)]
    if section in PLAIN:
        lines += ["", *markdown(described(section), f"{section}.", narrow)]
        if section == "search":
            lines += ["", "Of `search.latency`, with which the time is measured here, that of a function, or of a file:", ""]
            latency_settings = located("search.evaluation.cost:latency_settings")
            ways = {**latency_settings(), **latency_settings("function"), **latency_settings("file")}
            lines += markdown(ways, "search.latency.", narrow)
        return lines
    registry = REGISTRIES[section]
    if kind:
        registry.part(kind)
    default = "must be given" if registry.default is None else f"`{registry.default}` if not given"
    lines += ["", f"`{section}.type`: {', '.join(f'`{one}`' for one in registry)}; {default}."]
    for one in [kind] if kind else registry:
        settings = described(section, one)
        lines += ["", f"### {section}.type={one}", "", _about(registry.part(one)), ""]
        lines += markdown(settings, f"{section}.", narrow) if settings else ["No settings."]
    return lines


def page() -> str:
    """The page of all settings, Markdown."""
    return "\n".join([PAGE_HEAD.rstrip(), *tables(narrow=True), ""])
