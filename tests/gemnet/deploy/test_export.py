"""Exported models compute what the models compute."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.core.extras import MissingExtraError
from gemnet.deploy.classifier_runner import prepare
from gemnet.deploy.export import PHOTOS, ExportError, Features, beside, create, export
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.models import architecture
from gemnet.network import GEMNet
from gemnet.weights import WeightsError, convert

HEAD = architecture("gemnet_a").head_width
ROOT = Path(__file__).parents[3]
SIZE = (3, 64, 48)
LITTLE = Cell(("input", "sepconv3x3"), ((0, 1),))


@pytest.fixture(scope="module")
def model(settled):
    """Five stages of a cell with several inputs into a node and several leaves; the time to export grows with the nodes."""
    cell = Cell(("input", "sepconv3x3", "conv3x3", "sepconv5x5"), ((0, 1), (0, 2), (1, 2), (0, 3)))
    return settled(GEMNet(Architecture(cell, (8, 8, 16, 24, 32), (1, 1, 1, 1, 1), 8, 64), num_classes=10))


def every_format(of_maps, forms=tuple(RUNTIMES)):
    """(runtime, whether maps of features are exported): each runtime once by default, and all of both among the slow tests."""
    default = {(form, form == of_maps) for form in forms}
    return pytest.mark.parametrize(
        ("form", "features"),
        [
            pytest.param(form, features, marks=() if (form, features) in default else pytest.mark.slow)
            for features in (False, True)
            for form in forms
        ],
    )


def skip_unless_installed(form):
    try:
        RUNTIMES[form].check()
    except MissingExtraError as error:
        pytest.skip(f"{RUNTIMES[form].title}: {error}")


def path_of(folder, form):
    return folder / f"model{RUNTIMES[form].ending}"


@pytest.mark.long
@every_format(of_maps="onnx")
def test_every_format_computes_what_the_model_computes(form, features, model, tmp_path):
    skip_unless_installed(form)
    path = path_of(tmp_path, form)
    assert export(model, path, form, SIZE, features) < 1e-5
    described, script = (tmp_path / name for name in beside(path.name))
    assert sorted(tmp_path.iterdir()) == sorted([*RUNTIMES[form].files(path), described, script])
    about = json.loads(described.read_text(encoding="utf-8"))
    assert about["cell"] == model.architecture.cell.digest()
    assert [tmp_path / name for name in about["files"]] == RUNTIMES[form].files(path)
    images = np.random.default_rng(0).normal(size=(3, *SIZE)).astype(np.float32)
    found = RUNTIMES[form].open(path)(images)
    for one, expected in zip(found, Features(model)(torch.tensor(images)) if features else [model(torch.tensor(images))]):
        expected = expected.detach().numpy()
        assert one.shape == expected.shape
        assert np.abs(one - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    assert len(about["outputs"]) == len(found)


def test_ctrl_c_is_heard_after_networks_of_openvino_are_closed_in_any_order(model, tmp_path):
    skip_unless_installed("openvino")
    export(model, tmp_path / "model.xml", "openvino", SIZE)
    opened = [RUNTIMES["openvino"].open(tmp_path / "model.xml") for _ in range(2)]
    del opened[0]
    opened.clear()
    with pytest.raises(KeyboardInterrupt):  # not a segmentation fault
        os.kill(os.getpid(), signal.SIGINT)


def test_exports_for_all_runtimes_stand_side_by_side():
    names = [file.name for entry in RUNTIMES.values() for file in entry.files(f"model{entry.ending}")]
    names += [name for entry in RUNTIMES.values() for name in beside(f"model{entry.ending}")]
    assert len(names) == len(set(names))


ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # what is None here cannot be imported
sys.argv[:2] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OWN_PYTORCH = ("torchscript", "torch.export", "executorch")


@pytest.mark.long
@pytest.mark.parametrize("form", RUNTIMES)
def test_the_script_beside_a_file_answers_without_this_package(form, model, tmp_path):
    skip_unless_installed(form)
    path, photo = path_of(tmp_path, form), PHOTOS / "raccoon_1.jpg"
    export(model, path, form, SIZE)
    described, script = (tmp_path / name for name in beside(path.name))
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    missing = "gemnet,timm" if form in OWN_PYTORCH else "gemnet,timm,torch"
    command = [sys.executable, "-c", ALONE, missing, str(script), str(photo)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    about = json.loads(described.read_text(encoding="utf-8"))
    with Image.open(photo) as picture, torch.no_grad():
        shares = model(torch.from_numpy(prepare(picture, about["preprocessing"])))[0].softmax(0)
    assert {name for name, _, _ in rows} == {str(photo)}
    assert rows[0][1] == str(int(shares.argmax()))
    for _, label, share in rows:
        assert float(share) == pytest.approx(shares[int(label)].item(), abs=1e-3)


@pytest.mark.long
def test_an_onnx_file_is_valid_whole_and_takes_any_batch(model, tmp_path):
    path = tmp_path / "model.onnx"
    export(model, path, "onnx", SIZE)
    onnx.checker.check_model(str(path), full_check=True)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["model.onnx", "model.onnx.json", "run_model_onnx.py"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = torch.randn(count, *SIZE)
        (logits,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images).detach(), rtol=1e-4, atol=1e-5)
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)
    assert b".py" not in path.read_bytes()  # no stack traces with the paths of the machine that exported it


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [("m.onnx", "keras", "'keras' is not offered"), ("m.pt", "onnx", r"ends with \.onnx"), ("m", "torchscript", r"with \.pt")],
)
def test_what_is_not_offered_is_told(name, form, message, model, tmp_path):
    with pytest.raises(ExportError, match=message):
        export(model, tmp_path / name, form, SIZE)


def test_a_file_that_computes_something_else_is_told_and_removed(model, tmp_path):
    with pytest.raises(ExportError, match="outputs differ from the model's by"):
        export(model, tmp_path / "model.pt", "torchscript", SIZE, tolerance=-1)
    assert not list(tmp_path.iterdir())


def test_a_model_is_created_with_the_weights_of_any_library(tmp_path):
    network = timm.create_model("gemnet_a", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "timm.pth")
    for form in ("timm", "mmpretrain"):
        convert(tmp_path / "timm.pth", tmp_path / "weights.safetensors", form)
        found = create("gemnet_a", tmp_path / "weights.safetensors", num_classes=3)
        assert torch.equal(found.classifier.weight, network.classifier.weight)
    with pytest.raises(WeightsError, match=rf"of another shape: classifier.weight \(3, {HEAD}\), expected \(5, {HEAD}\)"):
        create("gemnet_a", tmp_path / "timm.pth", num_classes=5)
    with pytest.raises(ExportError, match="'resnet18' is not offered"):
        create("resnet18")
    with pytest.raises(ExportError, match="cell: only for the model gemnet"):
        create("gemnet_a", cell="mine.json")


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool of ours here: its exit code, standard output and standard error."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        return stopped.value.code, *capsys.readouterr()

    return run


SMALL = ("--format", "torchscript", "--input-size", 64, 64)


def test_the_tool_writes_and_tells(tool, tmp_path):
    out = tmp_path / "b.pt"
    code, told, error = tool("export.py", "gemnet_b", out, *SMALL, "--num-classes", 2)
    assert code == 0
    assert "outputs equal the model's to" in told
    assert "its weights are random" in told
    assert "gemnet_b: no checkpoint is given: its weights are random" in error
    assert torch.jit.load(str(out))(torch.zeros(4, 3, 64, 64)).shape == (4, 2)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A classifier's of 3 classes, and a detector's of the same network."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    state = timm.create_model("gemnet_a", num_classes=3).state_dict()
    torch.save(state, folder / "classifier.pth")
    backbone = {f"backbone.{key}": value for key, value in state.items() if not key.startswith("classifier")}
    torch.save({"meta": {"epoch": 2}, "state_dict": backbone | {"neck.weight": torch.zeros(1)}}, folder / "detector.pth")
    without = {key: value for key, value in backbone.items() if not key.startswith("backbone.head_conv")}
    torch.save({"state_dict": without}, folder / "without_head.pth")
    torch.save(
        {f"student.{k}": v for k, v in state.items()} | {f"teacher.{k}": v * 2 for k, v in state.items()}, folder / "two.pth"
    )
    return folder


@pytest.mark.parametrize(
    ("model", "file", "arguments", "message"),
    [
        ("gemnet_a", "detector.pth", (), r"no classifier is in it \(classifier\.weight.*--features"),
        ("gemnet_a", "classifier.pth", (), r"for 3 classes and the model for 1000: set num_classes \(3\)"),
        (
            "gemnet_a",
            "classifier.pth",
            ("--num-classes", 3, "--in-chans", 1),
            r"of 3 channels and the model for 1: set in_chans",
        ),
        ("gemnet_b", "classifier.pth", ("--num-classes", 3), "a checkpoint of another network"),
        ("gemnet_b", "detector.pth", ("--features",), "a checkpoint of another network"),
        ("gemnet_a", "two.pth", ("--num-classes", 3), r"several of this network: student .*, teacher .*--prefix student"),
        ("gemnet_a", "classifier.pth", ("--num-classes", 3, "--weights", "averaged"), "holds no averaged weights"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_nothing_written(
    model, file, arguments, message, tool, checkpoints, tmp_path
):
    code, _, error = tool("export.py", model, tmp_path / "out.pt", *SMALL, "--checkpoint", checkpoints / file, *arguments)
    assert code == 1
    assert re.search(message, error)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_tool_takes_a_detectors_maps_and_a_chosen_network(tool, checkpoints, tmp_path):
    out, images = tmp_path / "out.pt", torch.randn(1, 3, 64, 64)
    network = create("gemnet_a", checkpoints / "classifier.pth", 3).eval()
    for file, count in (("detector.pth", 6), ("without_head.pth", 5)):
        code, told, _ = tool("export.py", "gemnet_a", out, *SMALL, "--features", "--checkpoint", checkpoints / file)
        assert code == 0
        assert "took the weights under state_dict.backbone" in told
        assert ("no weights of head_conv are in it: their maps are left out" in told) == (count == 5)
        for found, expected in zip(torch.jit.load(str(out))(images), Features(network)(images)[:count], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    two = ("--checkpoint", checkpoints / "two.pth", "--prefix", "student", "--num-classes", 3)
    assert tool("export.py", "gemnet_a", out, *SMALL, *two)[0] == 0
    torch.testing.assert_close(torch.jit.load(str(out))(images), network(images), rtol=1e-4, atol=1e-4)


def test_the_tool_names_what_cannot_be_folded(tool, tmp_path):
    code, _, error = tool(
        "export.py", "gemnet_b", tmp_path / "b.pt", *SMALL, "--norm-layer", "groupnorm1", "--act-layer", "silu"
    )
    assert code == 0
    assert re.search(r"^export: fused: \d+ of GroupNorm1 cannot be folded", error, re.MULTILINE)


def test_the_converter_tells_what_it_took(tool, checkpoints, tmp_path):
    code, told, _ = tool("convert_checkpoint.py", checkpoints / "detector.pth", tmp_path / "out.pth", "--to", "mmpretrain")
    assert code == 0
    assert "detector.pth: took the weights under state_dict.backbone, epoch 2; there are no averaged ones" in told
    assert "no classifier" in told
    code, _, error = tool("convert_checkpoint.py", checkpoints / "two.pth", tmp_path / "out.pth", "--prefix", "pupil")
    assert code == 1
    assert "nothing is under the prefix 'pupil'; there are student" in error


ANY_SIZE = [(1, 33, 33), (3, 64, 64), (2, 97, 131), (5, 40, 211)]


@pytest.mark.long
@every_format(of_maps="torchscript", forms=tuple(name for name, entry in RUNTIMES.items() if entry.free_size))
def test_height_and_width_may_be_free(form, features, model, tmp_path):
    skip_unless_installed(form)
    path = path_of(tmp_path, form)
    assert export(model, path, form, SIZE, features, dynamic_size=True) < 1e-5
    if form == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    run, plain = RUNTIMES[form].open(path), Features(model) if features else model
    for count, *size in ANY_SIZE + [(2, 1, 1), (1, 5, 30)] * RUNTIMES[form].tiny_sizes:
        images = torch.randn(count, 3, *size)
        found, expected = run(images.numpy()), plain(images)
        for one, two in zip(found, expected if features else [expected], strict=True):
            scale = two.abs().max().clamp(min=1)
            assert (torch.as_tensor(one) - two).abs().max() <= 1e-4 * scale
    if form == "torch.export":
        with pytest.raises(ExportError, match=r"refuses images of 1 x 3 x 32 x 64: .*>= 33"):
            run(np.zeros((1, 3, 32, 64), np.float32))


def test_a_size_that_torch_export_cannot_leave_free_is_told(model, tmp_path):
    with pytest.raises(ExportError, match=r"32 x 64: torch\.export with a free size takes at least 33 pixels a side"):
        export(model, tmp_path / "model.pt2", "torch.export", (3, 32, 64), dynamic_size=True)
    with pytest.raises(ExportError, match="expected channels, height and width of at least 1"):
        export(model, tmp_path / "model.pt2", "torch.export", (3, 0, 64))


@pytest.mark.long
def test_every_format_holds_the_names_of_the_classes_that_the_checkpoint_has(tmp_path):
    names = ("blau, hell", "größe")
    checkpoint = tmp_path / "epoch_1.pth"
    state = timm.create_model("gemnet", cell=LITTLE, target_macs=20e6, num_classes=2).state_dict()
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": names}}}, checkpoint)
    named = create("gemnet", str(checkpoint), 2, cell=LITTLE, target_macs=20e6)
    for form in ("onnx", "torchscript", "torch.export"):
        export(named, path_of(tmp_path, form), form, SIZE)
        assert json.loads((tmp_path / beside(path_of(tmp_path, form).name)[0]).read_text(encoding="utf-8"))["classes"] == list(
            names
        )
    held = [onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_modelmeta().custom_metadata_map]
    for load, suffix, how in ((torch.jit.load, ".pt", "_extra_files"), (torch.export.load, ".pt2", "extra_files")):
        held.append({"classes": ""})
        load(str(tmp_path / f"model{suffix}"), **{how: held[-1]})
    assert [json.loads(one["classes"]) for one in held] == [list(names)] * 3
