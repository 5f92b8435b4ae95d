"""The detectors in `configs/`: their measured cost beside the paper's Table 2, and the files that show it.

`configs/model_zoo.json` is the one data file; the table in `docs/detectors.md` and `model-index.yml` are made from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from gemnet.core.tables import link, markdown_table, marks, publish
from gemnet.detection.complexity import INPUT_SIZE, detector_cost, total
from gemnet.openmmlab.engine import load_config

# NASGEM (AAAI 2021), Table 2: params in millions, MACs in 10^9 at 800 x 1333, AP on COCO minival.
PAPER = {
    "retinanet_mobilenetv2_140": ("RetinaNet", "MobileNetV2x1.4", 14.2, 170.5, 33.5),
    "retinanet_mnasnet_130": ("RetinaNet", "MnasNetx1.3", 14.8, 169.2, 35.0),
    "retinanet_gemnet_a": ("RetinaNet", "GEMNet-A", 13.5, 166.9, 35.4),
    "retinanet_gemnet_b": ("RetinaNet", "GEMNet-B", 14.2, 169.2, 35.7),
    "faster_rcnn_mobilenetv2_140": ("Faster R-CNN", "MobileNetV2x1.4", 22.1, 133.4, 33.6),
    "faster_rcnn_mnasnet_130": ("Faster R-CNN", "MnasNetx1.3", 22.6, 132.1, 35.4),
    "faster_rcnn_gemnet_a": ("Faster R-CNN", "GEMNet-A", 21.4, 133.1, 35.3),
    "faster_rcnn_gemnet_b": ("Faster R-CNN", "GEMNet-B", 22.0, 133.6, 35.7),
}
MEASURED, PAGE, INDEX = "configs/model_zoo.json", "docs/detectors.md", "model-index.yml"
HEAD = "detector | backbone | params M | paper's | difference | MACs G | paper's | difference | box AP | paper's AP | config"
MARKS = marks("detectors", "tools/complexity.py --table2 --write")


def measure(root: Path) -> list[dict[str, Any]]:
    """Build every detector of the zoo below `root` and count it; `ap` of ours is taken over from the data file, if there."""
    file = root / MEASURED
    before = {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else {}
    rows = []
    for name, (detector, backbone, params, macs, ap) in PAPER.items():
        config = f"configs/{name}.py"
        cost = total(detector_cost(load_config(str(root / config))))
        rows.append(
            {
                "name": name, "detector": detector, "backbone": backbone, "config": config, "input": list(INPUT_SIZE),
                "params": cost.params, "macs": cost.macs, "ap": before.get(name, {}).get("ap"),
                "paper": {"params_m": params, "macs_g": macs, "ap": ap},
            }
        )  # fmt: skip
    return rows


def excess(row: dict[str, Any]) -> tuple[float, float]:
    """How far params and MACs are above the paper's, in percent."""
    return (
        100 * (row["params"] / 1e6 / row["paper"]["params_m"] - 1),
        100 * (row["macs"] / 1e9 / row["paper"]["macs_g"] - 1),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: ours, the paper's, the difference."""
    lines = []
    for row in rows:
        paper, (params, macs) = row["paper"], excess(row)
        of_params = f"{row['params'] / 1e6:.2f}", paper["params_m"], f"{params:+.1f} %"
        of_macs = f"{row['macs'] / 1e9:.1f}", paper["macs_g"], f"{macs:+.1f} %"
        ap = None if row["ap"] is None else f"{row['ap']:.1f}"
        lines.append((row["detector"], row["backbone"], *of_params, *of_macs, ap, paper["ap"], link(row["config"], PAGE)))
    return markdown_table(HEAD.split(" | "), lines)


def model_index(rows: list[dict[str, Any]]) -> str:
    """The rows in OpenMMLab's form of a model index."""
    paper = {
        "Title": "NASGEM: Neural Architecture Search via Graph Embedding Method",
        "URL": "https://arxiv.org/abs/2007.04452",
    }
    models = []
    for row in rows:
        model = {
            "Name": row["name"],
            "In Collection": row["detector"],
            "Config": row["config"],
            "Metadata": {
                "Training Data": "COCO 2017",
                "Architecture": [row["detector"], row["backbone"], "FPN"],
                "Parameters": row["params"],
                "FLOPs": row["macs"],
                "Input Size": "x".join(map(str, row["input"])),
            },
        }
        if row["ap"] is not None:
            metrics = {"box AP": row["ap"]}
            model["Results"] = [{"Task": "Object Detection", "Dataset": "COCO 2017", "Metrics": metrics}]
        models.append(model)
    names = list(dict.fromkeys(row["detector"] for row in rows))
    collections = [{"Name": name, "Paper": dict(paper), "README": PAGE} for name in names]
    return yaml.safe_dump({"Collections": collections, "Models": models}, sort_keys=False, width=128)


def write(root: Path, rows: list[dict[str, Any]]) -> None:
    """Write the data file, the table and the index below `root`."""
    publish(root, MEASURED, rows, PAGE, MARKS, table(rows))
    (root / INDEX).write_text(model_index(rows), encoding="utf-8")


def show_table2(root: Path, renew: bool = False) -> None:
    """Print the zoo beside the paper's Table 2; `renew` writes the files too."""
    rows = measure(root)
    print(f"{'':28} {'params M':>9} {'paper':>6} {'':>7}  {'MACs G':>7} {'paper':>6}   at {INPUT_SIZE[0]}x{INPUT_SIZE[1]}")
    for row in rows:
        paper, (params, macs) = row["paper"], excess(row)
        print(
            f"{row['name']:28} {row['params'] / 1e6:9.2f} {paper['params_m']:6} {params:+6.1f}%  {row['macs'] / 1e9:7.1f} "
            f"{paper['macs_g']:6} {macs:+6.1f}%"
        )
    if renew:
        write(root, rows)
        print(f"written: {MEASURED}, {PAGE}, {INDEX}")


def show_cost(config: str, input_size: tuple[int, int], options: dict[str, Any] | None = None) -> None:
    """Print params and MACs of each part of the config's detector and of the whole."""
    costs = detector_cost(load_config(config, options), input_size)
    print(f"{config} at {input_size[0]}x{input_size[1]}")
    print(f"{'part':12} {'params':>12} {'MACs':>18}")
    for name, cost in {**costs, "whole": total(costs)}.items():
        print(f"{name:12} {cost.params:12,d} {cost.macs:18,d}")
