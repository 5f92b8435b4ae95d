"""What prose quotes of detectors and of the weights that ship is what the data files have."""

import math
import statistics

from quoting import assert_quotes, read, spread

from gemnet.detection import zoo
from search.experiments.detectors.goals import DEFAULT, SETS
from search.experiments.paper.overview import PAGE as INDEX


def half_an_hours(of_set: str, method: str, figure: str = "AP") -> list[float]:
    """A figure of all seeds that were trained for 1,800 CPU seconds."""
    rows = read("docs/results/own_detector.jsonl")
    return [row[figure] for row in rows if (row["data"], row["method"], row["budget"]) == (of_set, method, 1800)]


def told(values: list[float]) -> str:
    """Mean ± deviation, as .534 ± .010."""
    return (spread(values, 3) if len(values) > 1 else f"{values[0]:.3f}").replace("0.", ".")


def test_the_index_tells_why_the_default_detector_is_slower_than_the_yolo_and_the_small_one_is_not():
    methods = read("docs/results/own_detector_speed.json")["methods"]
    ours, yolo = methods["gemnet_a"], methods["yolo11n"]
    ratio = yolo["seconds"]["median"] / methods["gemnet_small"]["seconds"]["median"]
    assert_quotes(
        INDEX,
        f"it has {ours['macs'] / 1e9:.2f} G MACs at 320 pixels, YOLO11n {yolo['macs'] / 1e9:.2f} G.",
        f"neck and head of 48 channels it is {ratio:.2f} times as fast as YOLO11n",
    )


def test_the_readme_quotes_the_record_of_the_small_detector():
    ap, ap50 = (half_an_hours("bccd", DEFAULT, figure) for figure in ("AP", "AP50"))
    seeds = {1: " (one seed)", 2: " (two seeds)"}.get(len(ap), "")
    peer = told(half_an_hours("bccd", "yolo11n"))
    assert_quotes("README.md", f"| AP {told(ap)}, AP50 {told(ap50)}{seeds}; YOLO11n from scratch AP {peer} |")


def test_bfloat16_sees_as_many_more_photos_in_the_same_time_as_the_pages_tell():
    rows = [row for row in read("docs/results/own_detector.jsonl") if row["budget"] == 1800]
    ratios = []
    for of_set in SETS:
        of = {
            name: [row["images"] / row["cpu_seconds"] for row in rows if (row["data"], row["method"]) == (of_set, name)]
            for name in ("gemnet_a_pretrained", DEFAULT)
        }
        if all(of.values()):
            ratios.append(statistics.mean(of[DEFAULT]) / statistics.mean(of["gemnet_a_pretrained"]))
    ratio = f"{statistics.mean(ratios):.1f}"
    assert_quotes("docs/own-detector.md", f"some {ratio} times as fast")
    assert_quotes("docs/results/own_detector.md", f"In the same CPU seconds it sees some {ratio} times as many photos.")


def test_pages_quote_what_the_shipped_weights_bring_a_detector():
    trained = [row for row in read("docs/results/own_detector.jsonl") if row["data"] == "bccd"]
    short = {(row["method"], row["seed"]): row["AP"] for row in trained if row["budget"] == 600}
    start, scratch = ([short[name, seed] for seed in range(3)] for name in ("gemnet_a_pretrained", "gemnet_a"))
    gains = [first - second for first, second in zip(start, scratch)]
    assert min(gains) > 0
    (long,) = half_an_hours("bccd", "gemnet_a")
    aps = [spread(values, 3).replace("0.", ".") for values in (start, scratch)]
    gain = [f"{value:.3f}"[1:] for value in (statistics.mean(gains), statistics.stdev(gains) / math.sqrt(3))]
    assert_quotes(
        "docs/results/pretrained.md",
        f"its test AP is {aps[0]} from the weights and {aps[1]} from scratch.",
        f"ahead on each seed, by {gain[0]} on average; the standard error of that is {gain[1]}.",
        f"leads further, to {long:.3f}".replace(" 0.", " ."),
        f"from the weights it leads to {told(half_an_hours('bccd', 'gemnet_a_pretrained'))}.",
    )
    assert_quotes("docs/own-detector.md", f"gains {statistics.mean(gains):.2f}".replace(" 0.", " ."))
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
