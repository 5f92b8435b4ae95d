"""What the benchmark measures is the model, what it leaves out it tells, and a profile accounts for all of the time."""

import copy
import importlib.util
import json
import os
import re
import runpy
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from gemnet.bench import benchmark, profiling
from gemnet.bench.benchmark import SETTINGS, Setting, compare, cost, measure_models, merged, settings_named, step, write
from gemnet.bench.profiling import KINDS, bytes_written, kind, profile_models
from gemnet.core.errors import UserError

ROOT = Path(__file__).parents[3]
OURS, PEER = "shape/sepconv3x3", "timm/test_efficientnet"  # timm's test models have some 0.3 M params


def can_compile():
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return any(map(shutil.which, compilers)) and Path(sysconfig.get_path("include"), "Python.h").exists()


def outputs(name, setting):
    torch.manual_seed(0)
    return step(name, setting, resolution=64)()


@pytest.mark.long
@pytest.mark.parametrize(("name", "how"), [(OURS, "onnxruntime"), (PEER, "onnxruntime"), (PEER, "folded")])
def test_however_a_model_runs_it_computes_what_eager_computes(name, how):
    torch.testing.assert_close(outputs(name, Setting(2, how=how)), outputs(name, Setting(2)), rtol=1e-4, atol=1e-5)


def tiny(name):
    """In place of `build`: a compiler takes its time for a real model."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.long
def test_a_compiled_model_computes_what_eager_computes(monkeypatch):
    if not can_compile():
        pytest.skip("torch.compile's inductor needs a C++ compiler and Python.h, and they were not found")
    monkeypatch.setattr(benchmark, "build", tiny)
    torch.testing.assert_close(outputs("", Setting(2, how="compiled")), outputs("", Setting(2)), rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_more_models_of_one_class_are_compiled_than_dynamo_allows_one_model(monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **settings: compiler(model, backend="eager", **settings))
    models = [nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth))).eval() for depth in range(1, 12)]
    images = torch.randn(2, 4)
    calls = [benchmark.WAYS["compiled"](model, images) for model in models]
    with torch.inference_mode(), torch.compiler.set_stance("fail_on_recompile"):
        for model, call in zip(models, calls):
            torch.testing.assert_close(call(), model(images))


def test_a_setting_is_left_out_with_its_reason_where_a_package_or_a_compiler_is_missing(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    monkeypatch.setattr(benchmark, "build", tiny)
    settings = [Setting(1), Setting(1, how="compiled"), Setting(1, how="onnxruntime")]
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        measured = measure_models([PEER], 1, settings=settings, resolution=64)
    assert list(measured["models"][0]["rates"]) == ["batch 1, fp32"]
    compiled, onnx = measured["left_out"]
    assert compiled["setting"] == "batch 1, fp32, compiled"
    assert "\n" not in compiled["reason"]
    assert re.search(r"timm/test_efficientnet: .*No working C\+\+ compiler", compiled["reason"])
    assert onnx == {"setting": "batch 1, fp32, onnxruntime", "reason": "onnxruntime is not installed"}
    assert "\nLeft out: batch 1, fp32, onnxruntime: onnxruntime is not installed" in benchmark.table(measured)
    assert benchmark.table(measured).count("Left out: ") == 2


def test_models_are_timed_side_by_side_in_every_setting():
    measured = measure_models([OURS, PEER], 1, settings=[Setting(2), Setting(1)], resolution=64)
    assert [row["name"] for row in measured["models"]] == [OURS, PEER]
    for row in measured["models"]:
        assert list(row["rates"]) == ["batch 2, fp32", "batch 1, fp32"]
        assert (row["params"], row["macs"]) == cost(row["name"], 64)
    assert measured["left_out"] == []
    header, _, *rows = benchmark.table(measured).splitlines()
    assert header == "| model | params M | MACs M | batch 2, fp32 | batch 1, fp32 |"  # no training, no memory
    assert all(line.count("|") == header.count("|") for line in rows[:2])
    assert rows[-1].endswith("median of 1, at 64x64")


@pytest.mark.long
def test_memory_is_that_of_training():
    measured = measure_models([PEER], 1, settings=[Setting(2), Setting(2, training=True)], resolution=64)
    assert measured["models"][0]["training_memory"] > 0
    header, _, row, *_ = benchmark.table(measured).splitlines()
    assert header.endswith("| batch 2, fp32, training step | its memory MiB |")
    assert row.count("|") == header.count("|")


def test_names_that_are_not_known_are_told_before_anything_is_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "measure_together", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(UserError, match="no_such_model"):
        measure_models([PEER, "timm/no_such_model"], 1, resolution=64)
    with pytest.raises(UserError, match="no setting is named 'batch 3'; expected batch 16, fp32; batch 1, fp32; "):
        settings_named(["batch 1, fp32", "batch 3"])
    with pytest.raises(ValueError, match="repeats must be at least 1, found 0"):
        profile_models([PEER], Setting(1), 0)


def test_settings_have_names_of_their_own_in_one_order_and_training_is_eager():
    names = [str(setting) for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert settings_named() == settings_named(names[::-1]) == SETTINGS
    assert settings_named(names[3:4]) == SETTINGS[3:4]
    for settings in ({"training": True, "how": "compiled"}, {"how": "quickly"}):
        with pytest.raises(ValueError, match="expected one of eager, folded, compiled, onnxruntime"):
            Setting(1, **settings)


@pytest.fixture
def folder(tmp_path):
    for name in (benchmark.PAGE, benchmark.MEASURED):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def renewal(old, name, date="2126-01-02"):
    """As if one setting of the models in `old` had been measured again, each taking a second."""
    rate = {"images_per_second": 1.0, "seconds": {"median": 1.0, "fastest": 1.0, "slowest": 1.0}}
    models = [{**row, "training_memory": None, "rates": {name: rate}} for row in old["models"]]
    return {**copy.deepcopy(old), "date": date, "resolution": 224, "left_out": [], "models": models}


def test_one_setting_is_renewed_in_the_data_file_and_the_others_stay(folder):
    old = json.loads((folder / benchmark.MEASURED).read_text(encoding="utf-8"))
    kept = str(SETTINGS[0])
    for setting in ("batch 1, fp32, onnxruntime", "batch 1, fp32"):
        write(folder, renewal(old, setting))
        found = json.loads((folder / benchmark.MEASURED).read_text(encoding="utf-8"))
        for before, after in zip(old["models"], found["models"], strict=True):
            assert after["rates"][setting]["images_per_second"] == 1
            assert after["rates"][kept] == before["rates"][kept]
            assert after["training_memory"] == before["training_memory"]
            assert list(after["rates"]) == [str(s) for s in SETTINGS if str(s) in after["rates"]]
        assert benchmark.table(found) in (folder / benchmark.PAGE).read_text(encoding="utf-8")
    assert found["date"] == f"{old['date'].partition(' to ')[0]} to 2126-01-02"
    assert "batch 1, fp32, onnxruntime" in found["models"][0]["rates"]


def test_what_is_left_out_stays_told_until_it_is_measured():
    old = json.loads((ROOT / benchmark.MEASURED).read_text(encoding="utf-8"))
    old["left_out"] = []
    for row in old["models"]:
        row["rates"].pop("batch 16, fp32, compiled", None)
    nothing = {**renewal(old, "batch 1, fp32"), "left_out": [{"setting": "batch 16, fp32, compiled", "reason": "no compiler"}]}
    told = merged(old, nothing)
    assert told["left_out"] == nothing["left_out"]
    assert merged(told, renewal(old, "batch 1, fp32"))["left_out"] == nothing["left_out"]
    assert merged(told, renewal(old, "batch 16, fp32, compiled"))["left_out"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "another"}, "machine: .*; now another; measure all"),
        ({"repeats": 999}, "repeats: .*; now 999"),
        ({"versions": {"torch": "0"}}, "versions: .*'torch': '0'"),
        ({"resolution": 64}, "resolution 64: .* is measured at 224"),
        ({"models": []}, "models: "),
    ],
)
def test_figures_that_do_not_compare_are_not_put_in_one_table(folder, change, message):
    old = json.loads((folder / benchmark.MEASURED).read_text(encoding="utf-8"))
    new = {**renewal(old, "batch 1, fp32"), **change}
    if "models" in change:
        new["models"] = [{**row, "macs": 1} for row in renewal(old, "batch 1, fp32")["models"]]
    with pytest.raises(UserError, match=message):
        write(folder, new)
    assert json.loads((folder / benchmark.MEASURED).read_text(encoding="utf-8")) == old


@pytest.mark.parametrize(
    ("name", "shapes", "expected"),
    [
        ("aten::convolution", [(2, 8, 9, 9), (16, 8, 1, 1)], "1x1 convolution"),
        ("aten::mkldnn_convolution", [(2, 8, 9, 9), (8, 1, 3, 3), ()], "depthwise convolution"),
        ("aten::conv2d", [(2, 8, 9, 9), (8, 2, 3, 3)], "other convolution"),
        ("aten::conv2d", [(2, 1, 9, 9), (8, 1, 3, 3)], "other convolution"),  # grey images
        ("aten::convolution_backward", [(2, 8, 9, 9), (2, 8, 9, 9), (8, 1, 5, 5)], "depthwise convolution"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", [], None),
        ("autograd::engine::evaluate_function: NativeBatchNormBackward0", [], "normalisation"),
        ("aten::native_batch_norm", [], "normalisation"),
        ("aten::relu_", [], "activation"),
        ("aten::hardtanh_", [], "activation"),
        ("aten::threshold_backward", [], "activation"),
        ("aten::cat", [], "concatenation"),
        ("CatBackward0", [], "concatenation"),
        ("aten::max_pool2d_with_indices", [], "pooling"),
        ("aten::mean", [], "pooling"),
        ("aten::addmm", [], "linear"),
        ("aten::add_", [], None),
        ("aten::mul", [], None),
        ("aten::copy_", [], None),
    ],
)
def test_an_operation_has_the_kind_that_its_name_and_shapes_tell(name, shapes, expected):
    assert kind(name, shapes) == expected


def test_bytes_written_are_those_of_the_outputs_by_kind():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 4, 1, bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    ).eval()  # fmt: skip
    images = torch.randn(2, 3, 10, 10)
    with torch.no_grad():
        found = bytes_written(lambda: model(images))
    full = 4 * 2 * 8 * 10 * 10
    assert found["other convolution"] == found["activation"] == found["depthwise convolution"] == full
    assert found["normalisation"] == full
    assert (found["1x1 convolution"], found["pooling"], found["linear"]) == (full // 2, 4 * 2 * 4, 4 * 2 * 5)
    assert found["concatenation"] == found["other"] == 0


@pytest.mark.parametrize("training", [False, True])
def test_a_profile_accounts_for_all_of_the_time_of_every_model(training):
    names = ["shape/two leaves: conv1x1, sepconv3x3", PEER]
    found = profile_models(names, Setting(2, training=training), 1, resolution=64)
    for name, shares in found.items():
        assert list(shares) == list(KINDS)
        for what in ("1x1 convolution", "depthwise convolution", "other convolution", "normalisation", "activation", "linear"):
            assert shares[what].seconds > 0, (name, what)
            assert shares[what].bytes_written > 0, (name, what)
    ours, peer = (found[name]["concatenation"] for name in names)
    assert ours.seconds > 0 == peer.seconds
    assert ours.bytes_written > 0 == peer.bytes_written
    header, _, *rows = profiling.table(found).splitlines()
    assert header.count("share") == len(names)
    assert [row.split(" | ")[0] for row in rows] == [f"| {what}" for what in (*KINDS, "all")]
    for column in (2, 5):
        parts = [float(row.split(" | ")[column].rstrip("%")) for row in rows]
        assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.5)
        assert parts[-1] == 100


def test_only_eager_runs_are_profiled():
    with pytest.raises(ValueError, match="how='folded': only eager runs are profiled"):
        profile_models([PEER], Setting(1, how="folded"), 1)


def run_tool(monkeypatch, *arguments):
    """The tool's exit code."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools/benchmark.py"), run_name="__main__")
    return ended.value.code


def test_the_tool_measures_the_settings_that_are_asked_for(monkeypatch, capsys):
    assert not run_tool(
        monkeypatch, "models", "--models", PEER, "--repeats", "1", "--resolution", "64", "--settings", "batch 1, fp32"
    )
    assert re.search(r"\| batch 1, fp32 \|\n.*\n\| timm/test_efficientnet \| [\d. |]+ ms \|\n", capsys.readouterr().out)
    assert run_tool(monkeypatch, "models", "--settings", "batch 2") == 1
    assert "benchmark: no setting is named 'batch 2'" in capsys.readouterr().err


def test_the_tool_profiles_a_model_beside_its_peer(monkeypatch, capsys):
    assert not run_tool(monkeypatch, "profile", "--models", OURS, "--batch", "1", "--repeats", "1", "--resolution", "64")
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| kind |"))
    assert [cell.strip() for cell in header.strip("|").split("|")[1::3]] == [f"{OURS} ms", "torchvision/mnasnet1_3 ms"]


def test_settings_can_be_compared_without_a_data_file():
    timings, left_out = compare([PEER], [Setting(1)], 1, resolution=64)
    assert list(timings) == [Setting(1)]
    assert list(timings[Setting(1)]) == [PEER]
    assert left_out == {}
