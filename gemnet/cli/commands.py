"""The commands of `gemnet`: what each does, in a line, and the module whose `main` runs it, imported when it is called."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """module: its `main` takes a Call and returns the exit code. tool: of the script in tools/ that is the same, if any."""

    module: str
    tool: str | None
    about: str


COMMANDS = {
    "search": Command("search.cli.search", "search", "search for a cell with NASGEM; work with the record of a search"),
    "fit": Command("gemnet.cli.fit", None, "tell the network that a cell becomes at a budget"),
    "detect": Command("gemnet.cli.detect", "detect", "train, test and use a detector of your own objects, from photos"),
    "pretrain": Command("gemnet.cli.pretrain", "pretrain", "train a network on a teacher's answers to images without labels"),
    "train": Command("gemnet.cli.train", "train", "train a detector or classifier by a config"),
    "test": Command("gemnet.cli.test", "test", "evaluate a checkpoint"),
    "predict": Command("gemnet.cli.predict", "predict", "predict on images"),
    "export": Command("gemnet.cli.export", "export", "write a model for a runtime: ONNX, OpenVINO, ncnn and more, or int8"),
    "convert": Command("gemnet.cli.convert", "convert_checkpoint", "write a checkpoint in another library's form"),
    "convert-benchmark": Command("search.cli.convert_benchmark", "convert_benchmark", "make a benchmark's compact file"),
    "complexity": Command("gemnet.cli.complexity", "complexity", "count params and MACs of a detector"),
    "overfit": Command("gemnet.cli.overfit", "overfit", "show that a detector learns, on a few images"),
    "compare": Command("gemnet.cli.compare", "compare", "train classifiers beside each other"),
    "evaluate": Command("search.cli.evaluate", "evaluate_cells", "train cells and rivals at equal MACs with one recipe"),
    "recipe": Command("search.cli.recipe", None, "train kinds of cell under each condition of a recipe"),
    "benchmark": Command("search.cli.benchmark", "benchmark", "measure speed on this machine"),
    "reproduce": Command("search.cli.reproduce", "reproduce", "make the paper's tables and figures"),
    "compare-detectors": Command(
        "search.cli.detectors", "compare_detectors", "train detectors beside each other on your own photos"
    ),
    "compare-weights": Command("search.cli.weights", "compare_weights", "show what pretrained weights are worth on images"),
    "compare-searches": Command("search.cli.chance", "compare_searches", "show whether searches are better than chance"),
    "cell-benchmark": Command("search.cli.cell_benchmark", "cell_benchmark", "train a fixed list of cells to convergence"),
    "svge": Command("search.cli.svge", "svge", "measure SVGe on a search space"),
}
"""In the order of a user's way. What is of the search is named here alone: the package `gemnet` imports nothing of it."""

DETECTOR_SEARCH = "search.own_detector.stage"
"""The module whose `found_cell` searches a cell for `gemnet detect --search`, imported when it is asked for."""
