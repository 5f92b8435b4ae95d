"""Configs trained beside each other under several seeds: what is trained, what is not trained again, what the table says."""

import json
from pathlib import Path

import pytest
import timm
import torch
from made_folders import write_folder

from gemnet.bench import comparison
from gemnet.core.errors import UserError
from gemnet.counting import counted

ROOT = Path(__file__).parents[3]
CONFIGS = [str(ROOT / f"configs/{name}_tiny_imagenet.py") for name in ("gemnet_a", "mobilenetv2_100", "mnasnet_100")]


@pytest.fixture
def options(tmp_path):
    root = str(write_folder(tmp_path / "images"))
    found = {f"{split}_dataloader.dataset.data_root": root for split in ("train", "val", "test")}
    return {**found, "val_evaluator.topk": 1, "train_dataloader.batch_size": 8, "train_cfg.max_epochs": 2}


@pytest.mark.long
def test_the_networks_of_the_tiny_imagenet_configs_cost_the_same_within_5_percent(options):
    costs = [comparison.cost(config, options) for config in CONFIGS]
    macs = [cost["macs"] for cost in costs]
    assert max(macs) / min(macs) <= 1.05
    assert {cost["size"] for cost in costs} == {64}
    with torch.device("meta"):
        _, whole = counted(timm.create_model("mobilenetv2_100", num_classes=2).eval(), torch.empty(1, 3, 64, 64))
    assert (costs[1]["macs"], costs[1]["params"]) == (whole.macs, whole.params)


@pytest.mark.long
def test_a_config_is_trained_once_and_its_result_is_read_again(tmp_path, options, monkeypatch, capsys):
    options["model.backbone.target_macs"] = 100e6
    options["model.backbone.target_params"] = None
    work_dir = str(tmp_path / "runs")
    (row,) = comparison.compare(CONFIGS[:1], [3], work_dir, options=options)
    assert "gemnet_a_tiny_imagenet_seed3: top-1" in capsys.readouterr().out
    assert row["epochs"] == 2
    assert 0 <= row["mean"] == row["top1"][0] <= 100
    assert row["deviation"] is None
    assert row["seconds"] > 0
    monkeypatch.setattr("subprocess.run", None)  # a second training would need it
    (again,) = comparison.compare(CONFIGS[:1], [3], work_dir, options=options)
    assert again == row


def test_the_table_gives_mean_and_deviation_over_the_seeds(tmp_path, options):
    for seed, top1 in ((0, 20.0), (1, 22.0)):
        (run,) = comparison.runs(CONFIGS[:1], [seed], str(tmp_path))
        run.folder.mkdir()
        result = {"config": CONFIGS[0], "seed": seed, "epochs": 8, "top1": top1, "seconds": 60.0 * (seed + 1), "amp": False}
        (run.folder / comparison.RESULT).write_text(json.dumps(result))
    rows = comparison.compare(CONFIGS[:1], [0, 1], str(tmp_path), options=options)
    assert "| 21.00 ± 1.41 | 2 | 2 |" in comparison.table(rows)
    start, end = comparison.marks("tiny")
    (tmp_path / "configs").mkdir()
    page = tmp_path / comparison.PAGE
    page.parent.mkdir(parents=True)
    page.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    comparison.write(tmp_path, "tiny", rows)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert comparison.table(json.loads((tmp_path / "configs/tiny.json").read_text())) in text


@pytest.mark.slow
def test_a_training_that_fails_is_told_with_its_last_words(tmp_path, options):
    options["train_dataloader.dataset.data_root"] = str(tmp_path / "images")
    options["model.head.topk"] = 0
    (tmp_path / "images/train/dark/0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"gemnet_a_tiny_imagenet_seed0: training failed with exit code 1: .*dark/0\.png"):
        comparison.compare(CONFIGS[:1], [0], str(tmp_path / "runs"), options=options)
