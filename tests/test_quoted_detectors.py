"""What prose quotes of detectors and of the weights that ship is what the data files have."""

import math
import statistics

from quoting import assert_quotes, read, spread

from gemnet.detection import zoo
from search.experiments.paper.overview import PAGE as INDEX


def test_the_index_quotes_the_record_of_the_small_detector_and_its_speed():
    trained = [row for row in read("docs/results/own_detector.jsonl") if row["budget"] == 1800]
    first = {(row["data"], row["method"]): row for row in trained if not row["seed"]}
    methods = read("docs/results/own_detector_speed.json")["methods"]
    ours, yolo = methods["gemnet_a"], methods["yolo11n"]
    ratios = [yolo["seconds"]["median"] / methods[name]["seconds"]["median"] for name in ("gemnet_a", "gemnet_small")]
    aps, seeds = {}, {}
    for of_set, name in first:
        values = [row["AP"] for row in trained if (row["data"], row["method"]) == (of_set, name)]
        aps[of_set, name] = (spread(values, 3) if len(values) > 1 else f"{values[0]:.3f}").replace("0.", ".")
        seeds[of_set, name] = ("", "one seed", "two seeds", "three seeds")[len(values)]
    small, peer = aps["bccd", "gemnet_small"], aps["bccd", "yolo11n"]
    assert seeds["bccd", "gemnet_small"] == seeds["bccd", "yolo11n"]
    assert seeds["raccoon", "gemnet_small"] == seeds["raccoon", "yolo11n"]
    assert_quotes(
        INDEX,
        f"| ≥ .85 | {first['bccd', 'gemnet_a']['AP50']:.3f}, one seed |".replace(" 0.", " ."),
        f"| ahead | the small one: {small} beside YOLO11n's {peer} on BCCD, {seeds['bccd', 'yolo11n']}, "
        f"{aps['raccoon', 'gemnet_small']} beside {aps['raccoon', 'yolo11n']} on raccoon, {seeds['raccoon', 'yolo11n']}; the "
        f"default from its weights: {aps['bccd', 'gemnet_a_pretrained']} on BCCD, {seeds['bccd', 'gemnet_a_pretrained']}, "
        f"{aps['raccoon', 'gemnet_a_pretrained']} on raccoon, {seeds['raccoon', 'gemnet_a_pretrained']}; "
        f"from scratch: {aps['bccd', 'gemnet_a']} beside SSDLite's "
        f"{aps['bccd', 'ssdlite320']} on BCCD, {seeds['bccd', 'ssdlite320']};",
        f"| ≥ 1.25 | {ratios[1]:.2f} by the small one, with AP {small} beside {peer}; {ratios[0]:.2f} by the default | by the "
        f"small one, {seeds['bccd', 'yolo11n']} |",
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
