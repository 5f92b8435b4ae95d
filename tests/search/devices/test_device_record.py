"""What docs/devices.md tells of the predictor is what the committed times give."""

import json
import statistics

import pytest
from quoting import ROOT, assert_quotes

from search.devices.assessment import assessed
from search.devices.times import read_times

RECORD = "docs/results/device_times.json"
PAGE = "docs/devices.md"


@pytest.mark.long
def test_the_page_has_the_figures_of_the_committed_times():
    times = read_times(ROOT / RECORD)
    told, crossed = assessed(times, 50), assessed(times)
    entries = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))["entries"].values()
    noise = statistics.median(entry["spread"] / entry["median"] for entry in entries)
    low, _, high = statistics.quantiles(times.milliseconds.values())
    assert_quotes(
        PAGE,
        f"{len(times.cells)} random cells of the default space",
        f"| 50 | {told.quality.cells} others | {told.quality.median_error:.1%} | {told.quality.error_90:.1%}"
        f" | {told.quality.kendall_tau:.3f} |",
        f"| 4/5 of {len(times.cells)} | the others, by turns | {crossed.quality.median_error:.1%}"
        f" | {crossed.quality.error_90:.1%} | {crossed.quality.kendall_tau:.3f} |",
        f"half of the cells lie between {low:.1f} and {high:.1f} ms",
        f"quartiles of a cell's rounds differ by {noise:.1%} of its time in the median",
    )
