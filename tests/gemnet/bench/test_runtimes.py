"""Runtimes beside each other: what is timed computes what eager does, and what is not measured is told."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gemnet.bench.runtimes import measuring, networks, nodes, pages, process
from gemnet.cli.calling import Call
from gemnet.core.errors import UserError
from gemnet.core.extras import MissingExtraError
from gemnet.deploy.runtimes.table import RUNTIMES
from search.cli.benchmark import main

ROOT = Path(__file__).parents[3]
SMALL, OTHER = "timm/test_efficientnet", "timm/test_byobnet"  # timm's test models have some 0.3 M params
SIDE = 64


@pytest.mark.parametrize("name", [SMALL, "torchvision/mnasnet0_5", "timm/mobilenetv4_conv_small", "timm/gemnet_a"])
def test_of_every_kind_of_network_all_normalisation_is_folded(name):
    model = networks.network(name, SIDE)
    image = torch.randn(2, 3, SIDE, SIDE)
    expected = model(image)
    folded = networks.folded(model, SIDE)
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())
    torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_weights_are_random_and_the_same_in_each_process_and_no_output_vanishes():
    outputs = [networks.network(SMALL, SIDE)(torch.ones(1, 3, SIDE, SIDE)) for _ in range(2)]
    assert torch.equal(*outputs)
    assert 1e-3 < outputs[0].abs().max() < 1e3


def written(form, folder, names=(SMALL,)):
    done = []
    found = networks.write(RUNTIMES[form], names, folder, SIDE, done.append)
    assert done == [networks.WRITING] * len(names)
    return found


@pytest.mark.long
@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_a_file_is_compared_with_eager_and_weighed(form, tmp_path):
    try:
        found = written(form, tmp_path)[SMALL]
    except MissingExtraError as error:
        pytest.skip(str(error))
    (file,) = tmp_path.iterdir()
    assert found["bytes"] == file.stat().st_size
    assert 0 <= found["difference"] < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("name", ["gemnet::own_detector_small.py", "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"])
def test_of_a_detector_all_boxes_are_computed_and_compared_in_the_same_way(name, tmp_path):
    assert name in networks.DETECTORS
    found = networks.write(RUNTIMES["torchscript"], [name], tmp_path, SIDE, lambda done: None)[name]
    assert 0 <= found["difference"] < 1e-5
    model = torch.jit.load(networks.file_of(tmp_path, RUNTIMES["torchscript"], name))
    boxes, scores = model(torch.randn(1, 3, SIDE, SIDE))
    positions = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))
    assert (boxes.shape, scores.shape) == ((1, positions, 4), (1, positions, 80))


def test_detectors_have_rows_and_a_table_of_their_own(python):
    written = {
        "version": "7.0",
        "found": {name: {"bytes": 10**6, "difference": 1e-6, **TIMES} for name in (SMALL, "gemnet::d.py")},
    }
    measured, _ = measuring.measure(["torchscript"], 2, {"torchscript": python(written)}, [SMALL], SIDE, ["gemnet::d.py"])
    assert [(row["kind"], row["name"], row["resolution"]) for row in measured["rows"]] == [
        ("network", SMALL, SIDE), ("detector", "gemnet::d.py", networks.DETECTOR_SIDE),
    ]  # fmt: skip
    tables = dict(pages.tables(measured))
    assert "| TorchScript | d | 1.0 | 1e-06 | 2.0 (1.0 - 9.0) |" in tables[pages.DETECTOR_MARKS]
    assert "gemnet::d" not in tables[pages.SPEED_MARKS] + tables[pages.FILE_MARKS]


class Odd(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        if self.what == "data":
            return x if x.mean() > 0 else -x  # what is computed depends on the numbers
        return x.flatten(1) / 0


@pytest.mark.parametrize(("what", "reason"), [("data", "torch.export does not take this network: "), ("inf", "not finite")])
def test_a_network_that_a_runtime_refuses_has_its_reason(what, reason, monkeypatch, tmp_path):
    built = networks.build
    monkeypatch.setattr(networks, "build", lambda name: Odd(what) if name == "odd" else built(name))
    found = written("torch.export", tmp_path, ["odd", SMALL])
    assert reason in found["odd"]["refused"]
    assert str(tmp_path) not in found["odd"]["refused"]
    assert found[SMALL]["difference"] < 1e-5


@pytest.mark.long
def test_networks_are_timed_in_rounds(tmp_path):
    written("torchscript", tmp_path, [SMALL, OTHER])
    done = []
    task = {"task": "time", "runtime": "torchscript", "folder": str(tmp_path), "names": [SMALL, OTHER], "resolution": SIDE}
    found = process.answer({**task, "threads": 1, "rounds": 3}, done.append)
    assert found["version"].startswith(torch.__version__.partition("+")[0])
    assert list(found["found"]) == [SMALL, OTHER]
    assert all(0 < one["fastest"] <= one["median"] <= one["slowest"] for one in found["found"].values())
    assert sum(done) == process.WARM_UP + 3


def event(name, operator, seconds, inputs, output):
    shapes = {"input_type_shape": [{"float": shape} for shape in inputs], "output_type_shape": [{"float": output}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 1e6 * seconds, "args": {"op_name": operator, **shapes}}


def test_the_nodes_of_a_profile_are_summed_by_kind():
    maps = [1, 8, 5, 5]
    one_pass = [
        event("a", "Conv", 0.25, [[1, 3, 9, 9], [8, 3, 3, 3]], maps),
        event("b", "Conv", 0.5, [maps, [8, 1, 3, 3]], maps),
        event("c", "Conv", 1, [maps, [16, 8, 1, 1], [16]], [1, 16, 5, 5]),
        event("d", "Conv", 2, [maps, [16, 8, 1, 1], [16]], [1, 16, 5, 5]),
        event("e", "ReorderOutput", 4, [maps], maps),
        event("f", "Einsum", 8, [maps], maps),
        {"cat": "Session", "name": "run_kernel_time", "dur": 99},
    ]
    slow = [{**one, "dur": 1000 * one["dur"]} for one in one_pass]
    found = nodes.by_kind([*slow * nodes.WARM_UP, *one_pass * 3])
    taken = {kind: one["seconds"] for kind, one in found.items() if one["nodes"]}
    assert taken == pytest.approx({
        "1x1 convolution": 3, "depthwise convolution": 0.5, "other convolution": 0.25, "reordering": 4, "other": 8,
    })  # fmt: skip
    assert found["1x1 convolution"] == {"nodes": 2, "seconds": 3, "macs": 2 * 16 * 25 * 8}
    assert found["depthwise convolution"]["macs"] == 8 * 25 * 9


@pytest.mark.long
def test_onnx_runtimes_profiler_knows_all_convolutions_of_a_network(tmp_path):
    pytest.importorskip("onnxruntime")
    written("onnx", tmp_path)
    found = nodes.profile({SMALL: networks.file_of(tmp_path, RUNTIMES["onnx"], SMALL)}, tmp_path, SIDE, 2)[SMALL]
    model = networks.network(SMALL, SIDE)
    convolutions = sum(one["nodes"] for kind, one in found.items() if "convolution" in kind)
    assert convolutions == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert sum(one["seconds"] for one in found.values()) > 0


TIMES = {"median": 0.002, "fastest": 0.001, "slowest": 0.009}


@pytest.fixture
def python(tmp_path):
    """Makes a program in place of a Python: it takes a task, says the given lines and ends with a code."""

    def made(*lines, code=0):
        path = tmp_path / f"python{len(list(tmp_path.iterdir()))}"
        told = "\n".join(json.dumps(line) for line in lines)
        path.write_text(f"#!/bin/sh\ncat > /dev/null\necho something is wrong >&2\ncat <<'END'\n{told}\nEND\nexit {code}\n")
        path.chmod(0o755)
        return str(path)

    return made


def test_what_is_not_installed_or_breaks_is_left_out_with_its_reason_and_the_rest_is_measured(python, capsys, tmp_path):
    answer = {"version": "7.0", "found": {SMALL: {"bytes": 2_500_000, "difference": 1.5e-6, **TIMES}}}
    given = {
        "onnx": python({"missing": "onnxruntime is not installed"}),
        "ncnn": python(20, code=3),
        "torchscript": python(5, answer),
    }
    steps = []
    measured, left_out = measuring.measure(
        [*given, "openvino"], 2, {**given, "openvino": "/bin/false"}, [SMALL], SIDE, (), lambda *step: steps.append(step)
    )
    assert left_out == {
        "onnx": "onnxruntime is not installed, or name the Python that has it: --python onnx=PATH",
        "ncnn": "its process ended with 3: something is wrong",
        "openvino": "its process ended with 1",
    }
    (row,) = measured["rows"]
    assert (row["runtime"], row["version"], row["name"], row["kind"]) == ("torchscript", "7.0", SMALL, "network")
    assert set(row["seconds"]) <= {"1", "2"}
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert steps[-1][0] == steps[-1][1]


def test_a_runtime_with_a_python_of_its_own_is_asked_for_by_name_and_path(python):
    path = python()
    assert measuring.pythons([f"litert={path}"]) == {"litert": path}
    for wrong, message in [("litert", "expected RUNTIME=PATH"), ("litert=/no/python", "expected RUNTIME="), ("tf=/x", "'tf'")]:
        with pytest.raises(UserError, match=message):
            measuring.pythons([wrong])


def rows(runtime, milliseconds, date="2126-01-02", names=networks.NETWORKS):
    about = {"runtime": runtime, "version": "1.0", "machine": "M", "date": date, "rounds": 5, "resolution": 224}
    times = [{key: value * factor for key, value in TIMES.items()} for factor in milliseconds]
    return [
        {**about, "kind": "network", "name": name, "bytes": 10**7, "difference": 1e-6, "seconds": {"1": one, "2": one}}
        for name, one in zip(names, times)
    ]


def test_the_tables_tell_how_many_times_as_fast_the_first_network_is():
    found = rows("onnx", [1, 3, 1.25, 2, 2, 2])
    taken = rows("ncnn", [1] * 6)
    refused = {key: value for key, value in taken[0].items() if key not in ("bytes", "difference", "seconds")}
    found += [{**refused, "refused": "no operator"}, *taken[1:]]
    first, second = pages.speed_table(found).splitlines()[2:4]
    assert first.startswith("| ONNX Runtime | 2.0 | 6.0 | 2.5 |")
    assert first.endswith("| 1.25 x | 1.25 x |")
    assert second.endswith("|  |  |")
    assert pages.times_as_fast(found, "onnx", "timm/gemnet_b", 2) == pytest.approx(1.25 / 3)
    lines = pages.file_table(found).splitlines()
    assert "| ONNX Runtime | gemnet_a | 10.0 | 1e-06 | 2.0 (1.0 - 9.0) | 2.0 (1.0 - 9.0) |" in lines
    assert any("refused: no operator" in line for line in lines)
    assert len({line.count("|") for line in lines}) == 1


def test_the_table_of_nodes_tells_what_would_be_without_those_that_compute_nothing():
    empty = {kind: {"nodes": 0, "seconds": 0.0, "macs": 0} for kind in nodes.KINDS}
    ours = {**empty, "1x1 convolution": {"nodes": 4, "seconds": 0.008, "macs": 4e8}}
    ours |= {kind: {"nodes": 1, "seconds": 0.001, "macs": 0} for kind in ("concatenation", "reordering")}
    peer = {**empty, "1x1 convolution": {"nodes": 9, "seconds": 0.012, "macs": 5e8}}
    about = {"version": "1.0", "machine": "M", "date": "2126-01-02", "rounds": 5}
    table = pages.node_table({**about, "networks": {"timm/gemnet_a": ours, networks.PEER: peer}})
    assert "| 1x1 convolution | 4 | 8.00 | 80.0% | 50 | 9 | 12.00 | 100.0% | 42 |" in table
    assert "1.20 x; it would be 1.50 x if concatenation, addition and reordering took no time" in table


@pytest.fixture
def checkout(tmp_path):
    """Holds the page, and no data yet."""
    for folder in ("tools", "configs", "docs/results"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / pages.PAGE, tmp_path / pages.PAGE)
    return tmp_path


def test_what_is_measured_is_written_and_other_runtimes_and_kinds_stay(checkout):
    detector = {**rows("onnx", [1])[0], "kind": "detector", "name": "retinanet"}
    pages.write(checkout, {"rows": rows("torchscript", [4] * 6)})
    pages.write(checkout, {"rows": [*rows("onnx", [2] * 6), detector]})
    pages.write(checkout, {"rows": rows("onnx", [3] * 6, "2126-01-03")})
    data = json.loads((checkout / pages.DATA).read_text(encoding="utf-8"))
    kept = [(row["runtime"], row["kind"], row["date"][-1]) for row in data["rows"]]
    assert sorted(set(kept)) == [("onnx", "detector", "2"), ("onnx", "network", "3"), ("torchscript", "network", "2")]
    page = (checkout / pages.PAGE).read_text(encoding="utf-8")
    assert all(table in page for _, table in pages.tables(data))
    assert "| ONNX Runtime | 6.0 |" in page
    assert "retinanet" not in pages.speed_table([row for row in data["rows"] if row["kind"] == "network"])


@pytest.mark.parametrize("wrong", [{"name": SMALL}, {"resolution": 64}])
def test_other_networks_and_sizes_are_not_put_on_the_page(wrong, checkout):
    before = (checkout / pages.PAGE).read_bytes()
    with pytest.raises(UserError, match="leave --models and --resolution out"):
        pages.write(checkout, {"rows": [{**row, **wrong} for row in rows("onnx", [1] * 6)]})
    assert (checkout / pages.PAGE).read_bytes() == before
    assert not (checkout / pages.DATA).exists()


def test_the_page_has_what_the_data_file_has():
    data = json.loads((ROOT / pages.DATA).read_text(encoding="utf-8"))
    page = (ROOT / pages.PAGE).read_text(encoding="utf-8")
    assert all(f"{start}\n{table}\n{end}" in page for (start, end), table in pages.tables(data))
    for runtime in RUNTIMES:
        assert [row["name"] for row in data["rows"] if row["runtime"] == runtime] == [*networks.NETWORKS, *networks.DETECTORS]


def test_the_command_tells_a_runtime_that_is_not_offered(capsys):
    assert main(Call(["runtimes", "--runtimes", "tf"], "gemnet", "gemnet benchmark", ROOT)) == 1
    assert "benchmark: runtime 'tf' is not offered" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_a_runtime_in_processes_of_its_own(capsys):
    arguments = ["runtimes", "--runtimes", "torchscript", "--models", SMALL, OTHER, "--repeats", "2", "--resolution", "64"]
    own = ["--python", f"torchscript={sys.executable}"]
    assert main(Call([*arguments, *own], "gemnet", "gemnet benchmark", ROOT)) == 0
    told = capsys.readouterr().out
    assert "| TorchScript | test_efficientnet | " in told
    assert "medians of 2 rounds, at 64x64" in told
