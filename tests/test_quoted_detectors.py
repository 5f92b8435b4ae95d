"""What prose quotes of detectors and of the weights that ship is what the data files have."""

import math
import statistics

from quoting import assert_quotes, read, spread

from gemnet.detection import zoo
from search.experiments.paper.overview import PAGE as INDEX

NAMES = {
    "gemnet_small_pretrained": "the small one from its weights",
    "gemnet_small": "the same from scratch",
    "gemnet_a_pretrained": "the default from its weights",
    "gemnet_a": "the same from scratch",
    "yolo11n": "YOLO11n",
    "ssdlite320": "SSDLite",
    "rtmdet_tiny": "RTMDet-tiny",
}


SETS = {"bccd": "BCCD", "raccoon": "raccoon"}


def half_an_hours(of_set: str, method: str, figure: str = "AP") -> list[float]:
    """A figure of all seeds that were trained for 1,800 CPU seconds."""
    rows = read("docs/results/own_detector.jsonl")
    return [row[figure] for row in rows if (row["data"], row["method"], row["budget"]) == (of_set, method, 1800)]


def told(values: list[float]) -> str:
    """Mean ± deviation, as .534 ± .010."""
    return (spread(values, 3) if len(values) > 1 else f"{values[0]:.3f}").replace("0.", ".")


def test_the_index_quotes_the_record_of_the_small_detector_and_its_speed():
    methods = read("docs/results/own_detector_speed.json")["methods"]
    ours, yolo = methods["gemnet_a"], methods["yolo11n"]
    ratios = [yolo["seconds"]["median"] / methods[name]["seconds"]["median"] for name in ("gemnet_a", "gemnet_small")]
    rows = []
    for method, name in NAMES.items():
        found = {of_set: half_an_hours(of_set, method) for of_set in SETS}
        aps = [f"{told(values)} on {SETS[of_set]} ({len(values)})" for of_set, values in found.items() if values]
        rows.append(f"{name} {' and '.join(aps) or 'is to be trained yet'}")
    fifty = []
    for method in ("gemnet_a_pretrained", "gemnet_small_pretrained"):
        values = half_an_hours("bccd", method, "AP50")
        fifty.append(f"{NAMES[method]} {told(values)} ({len(values)})")
    assert_quotes(
        INDEX,
        f"| ≥ .85 | {'; '.join(fifty)} |",
        f"| ahead | {'; '.join(rows)} |",
        f"| ≥ 1.25 | {ratios[1]:.2f} by the small one, {ratios[0]:.2f} by the default |",
        f"it has {ours['macs'] / 1e9:.2f} G MACs at 320 pixels, YOLO11n {yolo['macs'] / 1e9:.2f} G.",
    )


def test_pages_quote_what_the_shipped_weights_bring_a_detector():
    trained = [row for row in read("docs/results/own_detector.jsonl") if row["data"] == "bccd"]
    short = {(row["method"], row["seed"]): row["AP"] for row in trained if row["budget"] == 600}
    start, scratch = ([short[name, seed] for seed in range(3)] for name in ("gemnet_a_pretrained", "gemnet_a"))
    gains = [first - second for first, second in zip(start, scratch)]
    assert min(gains) > 0
    half_an_hour = {row["method"]: row["AP"] for row in trained if (row["seed"], row["budget"]) == (0, 1800)}
    long = half_an_hour["gemnet_a"]
    aps = [spread(values, 3).replace("0.", ".") for values in (start, scratch)]
    gain = [f"{value:.3f}"[1:] for value in (statistics.mean(gains), statistics.stdev(gains) / math.sqrt(3))]
    assert_quotes(
        "docs/results/pretrained.md",
        f"its test AP is {aps[0]} from the weights and {aps[1]} from scratch.",
        f"ahead on each seed, by {gain[0]} on average; the standard error of that is {gain[1]}.",
        f"leads further, to {long:.3f}".replace(" 0.", " ."),
        f"from the weights it leads to {half_an_hour['gemnet_a_pretrained']:.3f} (one seed)".replace(" 0.", " ."),
    )
    small = {row["budget"]: [] for row in trained}
    for row in trained:
        small[row["budget"]] += [row["AP"]] if row["method"] == "gemnet_small" else []
    assert_quotes(
        "docs/own-detector.md",
        f"test AP {small[1800][0]:.3f} beside {long:.3f}, one seed each,".replace(" 0.", " ."),
        f"is ahead, {statistics.mean(start):.3f} beside {statistics.mean(small[600]):.3f} (".replace(" 0.", " ."),
    )
    assert_quotes("docs/own-detector.md", f"half an hour it has {half_an_hour['gemnet_a_pretrained']:.3f}".replace(" 0.", " ."))
    assert_quotes("docs/own-detector.md", f"gains {statistics.mean(gains):.2f}".replace(" 0.", " ."))
    pretrained, own, large, peer = (
        told(half_an_hours("raccoon", method))
        for method in ("gemnet_small_pretrained", "gemnet_small", "gemnet_a_pretrained", "yolo11n")
    )
    cells = [told(half_an_hours("bccd", method)) for method in ("gemnet_small_pretrained", "gemnet_small")]
    assert_quotes(
        "docs/results/pretrained.md",
        f"On raccoon photos it has {pretrained} from its weights after half an hour, {own} from scratch (one seed)",
        f"On blood cells it gains nothing: {cells[0]} and {cells[1]}.",
    )
    assert_quotes(
        "docs/own-detector.md",
        f"On raccoon photos the small one from its weights has {pretrained}, the larger {large}, YOLO11n from scratch {peer}.",
    )
    assert_quotes(INDEX, f"| {aps[0]}; {aps[1]} from scratch after 600, {long:.3f} after 1,800 |".replace(" 0.", " ."))


def test_the_page_of_detectors_quotes_how_near_the_paper_they_are():
    excess = {row["name"]: zoo.excess(row) for row in read(zoo.MEASURED)}
    baselines = max(abs(value) for name, values in excess.items() if "gemnet" not in name for value in values)
    ours = [value for name, values in excess.items() if "gemnet" in name for value in values]
    assert len(ours) == 8
    assert max(ours) <= 1
    assert_quotes(
        zoo.PAGE,
        f"The baselines come out within {baselines:.1f} % of the paper's",
        "None of GEMNet's eight figures is more than 1 % above it.",
    )
