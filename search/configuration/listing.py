"""The settings of a search, listed for people."""

from __future__ import annotations

from gemnet.core.settings import expected_name, markdown
from search.configuration.checking import PLAIN, described
from search.configuration.sections import SECTIONS
from search.core.parts import REGISTRIES
from search.core.registry import located
from search.core.types import SearchError

PAGE_HEAD = """# Settings of a search

Made by `python tools/search.py settings --out docs/settings.md` from the descriptions beside the parts. A config of
`configs/search` gives them as `encoder = dict(type="svge", dim=56)`, a command line as `--cfg-options encoder.type=svge
encoder.dim=56`; the defaults below are those of the parts, which a config may replace. A whole number is written without a
point (`3`, not `3.0`), True and False are no numbers, a list is written `[1,2]`, and no number is NaN or infinite.
"""


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
    lines = ["", f"## {section}: {SECTIONS[section].meaning}"]
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
        lines += ["", f"### {section}.type={one}", "", *(markdown(settings, f"{section}.") if settings else ["No settings."])]
    return lines


def page() -> str:
    """The page of all settings, Markdown."""
    return "\n".join([PAGE_HEAD.rstrip(), *tables(), ""])
