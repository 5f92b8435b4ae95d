"""What the small detector is to reach beside its peers, and what it reaches: made of the record and of the file of speeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemnet.core.tables import markdown_table, marks
from search.experiments.detectors.report import COMMAND, ap_spread, speed_ratio, speed_told
from search.experiments.detectors.tasks import BUDGET, METHODS

PAGE, GUIDE = "docs/results/README.md", "docs/own-detector.md"
MARKS, SUMMARY_MARKS = marks("detector_goals", COMMAND), marks("detector_summary", COMMAND)
DEFAULT, SMALL = "gemnet_a_bfloat16", "gemnet_small_bfloat16"
OURS = {DEFAULT: "the default", SMALL: "the small one"}
PEERS = {"ssdlite320": "SSDLite320", "rtmdet_tiny": "RTMDet-tiny", "yolo11n": "YOLO11n"}
SETS = ("bccd", "raccoon")
LEAST_AP50, FASTER = 0.85, 1.25
"""On bccd's test photos; and in multiples of the YOLO's images a second."""
OPEN = "not measured yet"


def summary(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> str:
    """Markdown: each detector's AP after half an hour of a CPU thread on each data set, and its speed."""
    lines = []
    for method, about in METHODS.items():
        found = [_values(rows, data, method) for data in SETS]
        if any(found):
            lines.append([about, *map(_told, found), speed_told(speeds, method)])
    head = ("detector", *(f"AP on {data} (seeds)" for data in SETS), "images/s, of YOLO11n's")
    return markdown_table(head, lines)


def goals(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> str:
    """Markdown: a row a goal. A detector is ahead of another where its worst seed has a higher AP than the other's best."""
    return markdown_table(("what", "goal", "ours (seeds)", "theirs (seeds)", "reached"), list(_goals(rows, speeds)))


def _goals(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> Iterator[list[str | None]]:
    for method, name in OURS.items():
        fifty = _values(rows, "bccd", method, "AP50")
        reached = _yes(sum(fifty) / len(fifty) >= LEAST_AP50) if fifty else OPEN
        yield [f"AP50 on bccd, {name}", f"≥ {LEAST_AP50:.2f}".replace("0.", "."), _told(fifty), "", reached]
    for data in SETS:
        for method, name in OURS.items():
            for peer, other in PEERS.items():
                ours, theirs = _values(rows, data, method), _values(rows, data, peer)
                reached = _yes(min(ours) > max(theirs)) if ours and theirs else OPEN
                yield [f"AP on {data}, {name} beside {other}", "ahead on every seed", _told(ours), _told(theirs), reached]
    for method, name in OURS.items():
        ratio = speed_ratio(speeds, method)
        reached = OPEN if ratio is None else _yes(ratio >= FASTER)
        yield [f"images/s, {name}, of YOLO11n's", f"≥ {FASTER}", speed_told(speeds, method), "1.00", reached]


def _values(rows: Sequence[Mapping[str, Any]], data: str, method: str, figure: str = "AP") -> list[float]:
    """A figure of all seeds that were trained for half an hour."""
    return [row[figure] for row in rows if (row["data"], row["method"], float(row["budget"])) == (data, method, BUDGET)]


def _told(values: Sequence[float]) -> str:
    return f"{ap_spread(values)} ({len(values)})" if values else ""


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"
