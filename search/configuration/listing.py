"""The settings of a search, listed for people."""

from __future__ import annotations

import inspect
import re
from itertools import groupby

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


def _narrowed(lines: list[str]) -> list[str]:
    """A Markdown table without the columns that are empty in every row."""
    rows = [re.split(r" *(?<!\\)\| *", line.strip())[1:-1] for line in lines]
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows[2:])]
    head, _, *body = ([row[place] for place in kept] for row in rows)
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(kept), *(f"| {' | '.join(row)} |" for row in body)]


def _about(part: object) -> str:
    """What a part is: the first sentence of its docstring."""
    words = " ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.;]) (?=[A-Z])", words)[0]


def tables(name: str | None = None) -> list[str]:
    """Markdown lines: the settings of all sections, of one ("encoder"), of one type of it ("encoder.svge"), or one setting
    ("search.start").

    Raises SearchError for an unknown name.
    """
    known = [*REGISTRIES, *PLAIN]
    if name is None:
        lines = ["", "## All", "", *markdown({name: s for name, s in SECTIONS.items() if name not in known})]
        for section in SECTIONS:
            lines += tables(section) if section in known else []
        return lines
    section, _, kind = name.partition(".")
    if section not in known:
        raise SearchError(f"unknown section {name!r}; {expected_name(section, known)}")
    lines = ["", f"## {section}", "", f"The section `{section}`: {SECTIONS[section].meaning}."]
    if kind and section in PLAIN:
        settings = described(section)
        if kind not in settings:
            raise SearchError(f"unknown setting {name!r}; {expected_name(kind, settings)}")
        return [*lines, "", *markdown({kind: settings[kind]}, f"{section}.")]
    if section in PLAIN:
        lines += ["", *markdown(described(section), f"{section}.")]
        if section == "search":
            lines += ["", "Of `search.latency`, with which the time is measured here, or that of a function:", ""]
            latency_settings = located("search.evaluation.cost:latency_settings")
            lines += markdown({**latency_settings(False), **latency_settings(True)}, "search.latency.")
        return lines
    registry = REGISTRIES[section]
    if kind:
        registry.part(kind)
    default = "must be given" if registry.default is None else f"`{registry.default}` if not given"
    lines += ["", f"`{section}.type`: {', '.join(f'`{one}`' for one in registry)}; {default}."]
    for one in [kind] if kind else registry:
        settings = described(section, one)
        lines += ["", f"### {section}.type={one}", "", _about(registry.part(one)), ""]
        lines += markdown(settings, f"{section}.") if settings else ["No settings."]
    return lines


def page() -> str:
    """The page of all settings, Markdown."""
    lines: list[str] = []
    for is_table, group in groupby(tables(), lambda line: line.startswith("|")):
        found = list(group)
        lines += _narrowed(found) if is_table else found
    return "\n".join([PAGE_HEAD.rstrip(), *lines, ""])
