"""Accuracy beside latency: what is compared, who is ahead, the page."""

import json
from pathlib import Path

import pytest
from test_transfer import row

from gemnet.cli.calling import Call
from gemnet.core.errors import UserError
from gemnet.core.tables import between
from search.cli import weights as command
from search.experiments.transfer import front, run

ROOT = Path(__file__).parents[4]


def held(name, eager, onnx, macs=1e8):
    times = {str(front.EAGER): eager, str(front.ONNX): onnx}
    milliseconds = {setting: {"median": ms, "fastest": ms, "slowest": ms} for setting, ms in times.items()}
    return {"name": name, "params": 1_000_000, "macs": int(macs), "milliseconds": milliseconds}


def costs(*networks):
    told = {"date": "2026-01-01", "machine": "made, 1 threads", "torch": "2", "repeats": 3, "resolution": 224}
    return {**told, "networks": list(networks)}


ROWS = [
    row("quick", epochs=20, accuracy=0.80),
    row("good", epochs=20, accuracy=0.90),
    row("good", epochs=20, accuracy=0.92, seed=1),
    row("poor", epochs=20, accuracy=0.70),
]


def test_who_is_faster_and_more_accurate_is_told_in_each_setting():
    found = front.table(ROWS, costs(held("poor", 9.0, 12.0), held("good", 8.0, 13.0), held("quick", 5.0, 5.0)))
    lines = [line.split(" | ") for line in found.splitlines()[2:5]]
    assert [line[0] for line in lines] == ["| quick", "| poor", "| good"]
    assert [line[1] for line in lines] == ["80.0", "70.0", "91.0 ± 1.4"]
    assert [line[6] for line in lines] == ["none", "quick, good", "none"]
    assert [line[8] for line in lines] == ["none |", "quick |", "none |"]
    assert "photos at 32 pixels, 100% of the labels, 20 epochs from scratch in float32." in found


def test_the_longest_trainings_that_most_networks_have_are_compared():
    rows = [*ROWS, row("good", epochs=90, accuracy=0.95), *(row(name, accuracy=0.1) for name in ("quick", "good", "poor"))]
    rows.append(row("pretrained", start="abc", epochs=200))
    assert front.conditions(rows)["epochs"] == 20
    assert front.conditions([row(start="abc")]) == front.conditions([]) == {}
    assert front.table([], costs(held("quick", 1.0, 1.0))) == front.NOTHING


def test_the_rate_that_was_best_on_training_images_counts():
    rows = [row("quick", accuracy=0.9), row("quick", accuracy=0.8, learning_rate=0.002)]
    machine = costs(held("quick", 1.0, 1.0))
    assert front.networks(rows, machine)[0].accuracy == 0.9
    tried = [row("quick", way="tried", epochs=5, learning_rate=rate, accuracy=rate) for rate in (0.001, 0.002)]
    assert front.networks([*rows, *tried], machine)[0].accuracy == 0.8


def test_costs_and_times_are_measured_of_what_the_record_has():
    rows = [row("test_resnet", epochs=20), row("gemnet_a", epochs=1)]
    found = front.measured(rows, 1)
    assert [network["name"] for network in found["networks"]] == ["test_resnet"]
    (network,) = found["networks"]
    assert network["macs"] > 1e6
    assert set(network["milliseconds"]) == {"batch 1, fp32", "batch 1, fp32, onnxruntime"}
    assert all(times["fastest"] > 0 for times in network["milliseconds"].values())
    with pytest.raises(UserError, match="has no training from scratch: train with compare-weights --ways tuned"):
        front.measured([row(start="abc")])


def test_the_command_renews_the_page_and_its_picture(tmp_path, capsys, monkeypatch):
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page = tmp_path / front.PAGE
    page.write_text("\n".join(front.MARKS) + "\n")
    record = tmp_path / "record.jsonl"
    record.write_text("".join(json.dumps(line) + "\n" for line in ROWS))
    machine = costs(held("quick", 5.0, 5.0), held("good", 8.0, 9.0))
    monkeypatch.setattr(front, "measured", lambda rows, repeats, told: machine)
    call = ["front", "--record", str(record), "--write"]
    assert command.main(Call([*call, "--kept"], "tools", "compare_weights.py", tmp_path)) == 1
    assert "front.json: no such file; without --kept the times are measured" in capsys.readouterr().err
    for arguments in (call, [*call, "--kept"]):
        assert command.main(Call(arguments, "tools", "compare_weights.py", tmp_path)) == 0
        assert front.table(ROWS, machine) in page.read_text()
        assert front.table(ROWS, machine) in capsys.readouterr().out
    assert front.read(tmp_path) == machine
    assert "<svg" in (tmp_path / front.PICTURE).read_text()


def test_the_page_has_the_table_of_the_record():
    page = (ROOT / front.PAGE).read_text(encoding="utf-8")
    rows = list(run.open_record(ROOT / "docs/results/pretrained.jsonl").rows.values())
    held = front.read(ROOT) if (ROOT / front.DATA).is_file() else costs()
    assert between(front.MARKS, page, front.table(rows, held), front.PAGE) == page
