"""A quantised network is small and still right, and what it costs is measured."""

import copy
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image
from sklearn.datasets import load_digits

from gemnet import Architecture, Cell
from gemnet.core.extras import MissingExtraError
from gemnet.deploy.classifier_runner import prepare
from gemnet.deploy.export import ExportError, Features, beside, export
from gemnet.deploy.int8.classifiers import export_int8, quantize
from gemnet.deploy.int8.images import calibration_files, read_batches
from gemnet.deploy.int8.layers import QuantizationError, relative_error
from gemnet.deploy.int8.measuring import top1
from gemnet.deploy.int8.targets import TARGETS, target
from gemnet.fusion import fused
from gemnet.network import GEMNet
from gemnet.openmmlab.engine import load_config
from gemnet.openmmlab.images import DataError

ROOT = Path(__file__).parents[3]
SIZE = (3, 16, 16)
CELL = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """scikit-learn's digits, 8x8 pixels, as train/<class>/*.png and val/<class>/*.png."""
    root = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    for index, (image, label) in enumerate(zip(images[:1200], labels)):
        folder = root / ("val" if index % 6 == 0 else "train") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 15).astype(np.uint8)).save(folder / f"{index:04}.png")
    return root


def train(digits, **layers):
    """A small GEMNet, trained for a few epochs."""
    torch.manual_seed(0)
    architecture = Architecture(CELL, (16, 64, 128), (1, 1, 1), stem_width=16, stem_stride=1, head_width=512)
    network = GEMNet(architecture, num_classes=10, **layers)
    files = sorted((digits / "train").rglob("*.png"))
    images = torch.from_numpy(np.concatenate(list(read_batches(files, 16, 16))))
    labels = torch.tensor([int(file.parent.name) for file in files])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        for batch in torch.randperm(len(files)).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def model(digits):
    return train(digits)


def weighted(model):
    """Name, kind and number of weights of each layer in its folded form."""
    for name, module in fused(model).named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            size = "x".join(map(str, getattr(module, "kernel_size", ())))
            kind = {"": "linear", "1x1": "pointwise"}.get(size, f"convolution {size}")
            yield name, f"depthwise {size}" if getattr(module, "groups", 1) > 1 else kind, module.weight.numel()


@pytest.fixture(scope="module")
def files(model, digits, tmp_path_factory):
    """The float file and the int8 file."""
    folder = tmp_path_factory.mktemp("files")
    export(model, folder / "float.onnx", "onnx", SIZE)
    quantize(folder / "float.onnx", folder / "int8.onnx", digits / "train")
    return folder / "float.onnx", folder / "int8.onnx"


def answers(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0].argmax(1)


@pytest.mark.slow  # with the default activation: all that follows
def test_a_network_with_another_activation_answers_alike_in_int8(digits, tmp_path):
    network = train(digits, act_layer="hard_swish")
    found = export_int8(network, tmp_path / "int8.onnx", digits / "train", data=digits / "val", input_size=SIZE)
    assert found.top1.agreement > 0.95
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(tmp_path / "int8.onnx").graph.node)


@pytest.mark.long
def test_the_script_beside_an_int8_file_gives_the_files_own_answer(model, digits, tmp_path):
    export_int8(model, tmp_path / "int8.onnx", digits / "train", 32, input_size=SIZE)
    described, script = (tmp_path / name for name in beside("int8.onnx"))
    photo = next((digits / "val/3").iterdir())
    done = subprocess.run([sys.executable, script, photo], capture_output=True, text=True, check=True)
    pixels = prepare(Image.open(photo), json.loads(described.read_text(encoding="utf-8"))["preprocessing"])
    assert done.stdout.split("\t")[:2] == [str(photo), str(answers(tmp_path / "int8.onnx", pixels)[0])]


def skip_unless_installed(ending):
    try:
        target(f"int8{ending}").check()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.long
@pytest.mark.parametrize("ending", [one.runtime.ending for one in TARGETS if one.runtime.name != "onnx"])
def test_an_int8_file_for_another_runtime_is_small_nearly_as_often_right_and_has_a_script(ending, model, digits, tmp_path):
    skip_unless_installed(ending)
    path = tmp_path / f"int8{ending}"
    found = export_int8(model, path, digits / "train", 64, digits / "val", input_size=SIZE)
    assert found.top1.reference > 0.8
    assert found.top1.lost <= 1
    assert found.settings["weight_bits"] == 8
    expected = {name: kind for name, kind, _ in weighted(model)}
    assert {layer.name: layer.kind for layer in found.layers} == expected
    assert [layer for layer in found.layers if not 0 < layer.error < 1] == []
    entry = target(path).runtime
    with_weights = entry.files(path)[-1]  # the text of OpenVINO's other file hardly shrinks
    assert with_weights.stat().st_size < 0.5 * 4 * sum(layer.weights for layer in found.layers)
    assert found.sizes[1] == entry.bytes_of(path) < found.sizes[0]
    assert {file.name for file in tmp_path.iterdir()} == {*(file.name for file in entry.files(path)), *beside(path.name)}
    photo, (described, script) = next((digits / "val/3").iterdir()), beside(path.name)
    done = subprocess.run([sys.executable, tmp_path / script, photo], capture_output=True, text=True, check=True)
    pixels = prepare(Image.open(photo), json.loads((tmp_path / described).read_text(encoding="utf-8"))["preprocessing"])
    (logits,) = entry.open(path)(pixels)
    assert done.stdout.split("\t")[:2] == [str(photo), str(logits[0].argmax())]
    if ending == ".xml":
        with pytest.raises(KeyboardInterrupt):  # not a segmentation fault
            os.kill(os.getpid(), signal.SIGINT)


def test_int8_is_measured_on_a_folder_of_the_models_own_classes_alone(model, files, digits, tmp_path):
    named = copy.deepcopy(model)
    named.class_names = tuple("0123456789")
    export(named, tmp_path / "float.onnx", "onnx", SIZE)
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", digits / "train", 16)
    assert top1(tmp_path / "int8.onnx", digits / "val").accuracy > 0.5
    other = tmp_path / "val"
    shutil.copytree(digits / "val", other)
    (other / "3").rename(other / "three")
    with pytest.raises(DataError, match=r"val has other classes \(0, 1, 2, 4, .*; not 0, 1, 2, 3"):
        top1(tmp_path / "int8.onnx", other)
    with pytest.raises(DataError, match="val has other classes"):
        export_int8(named, tmp_path / "again.onnx", digits / "train", data=other, input_size=SIZE)
    assert not (tmp_path / "again.onnx").exists()


def test_an_int8_file_is_valid_small_and_takes_any_batch(files):
    before, after = files
    onnx.checker.check_model(str(after), full_check=True)
    assert after.stat().st_size < 0.5 * before.stat().st_size
    assert {file.name for file in after.parent.iterdir()} == {"float.onnx", "float.onnx.json", "run_float_onnx.py", "int8.onnx"}
    session = onnxruntime.InferenceSession(str(after), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (logits,) = session.run(None, {"images": np.zeros((count, *SIZE), np.float32)})
        assert logits.shape == (count, 10)


def test_every_convolution_has_int8_weights_with_a_scale_for_each_channel(files):
    graph = onnx.load(files[1]).graph
    weights = {value.name: value for value in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 11
    for node in convolutions:
        quantised, scales = (weights[name] for name in made[node.input[1]].input[:2])
        assert quantised.data_type == onnx.TensorProto.INT8
        assert list(scales.dims) == [quantised.dims[0]]


def test_int8_is_nearly_as_right_as_float(files, digits):
    found = top1(files[1], digits / "val", files[0])
    assert found.images == 200
    assert found.reference > 0.8
    assert abs(found.accuracy - found.reference) < 0.03
    assert found.agreement > 0.95


@pytest.mark.parametrize("batch_size", [64, 7])
def test_top1_is_the_share_of_right_and_of_equal_answers(batch_size, files, digits):
    paths = sorted((digits / "val").rglob("*.png"))
    images = np.concatenate(list(read_batches(paths, 16, 16)))
    labels = np.array([int(path.parent.name) for path in paths])
    expected = [answers(path, images) for path in files]
    found = top1(files[1], digits / "val", files[0], batch_size=batch_size)
    assert found.reference == (expected[0] == labels).mean()
    assert found.accuracy == (expected[1] == labels).mean()
    assert found.agreement == (expected[0] == expected[1]).mean()
    alone = top1(onnxruntime.InferenceSession(str(files[0])), digits / "val")
    assert (alone.accuracy, alone.reference, alone.agreement) == (found.reference, None, None)


@pytest.mark.parametrize("shape", [(300, 410), (260, 250), (90, 64)])
def test_images_are_read_as_the_validation_pipeline_reads_them(shape, tmp_path):
    from mmpretrain.models import ClsDataPreprocessor  # not beside the transformers that LiteRT's converter brings

    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    config = load_config(str(ROOT / "configs/gemnet_a_imagenet.py"))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        data = Compose(config.test_pipeline)({"img_path": str(tmp_path / "image.png")})
    settings = {key: value for key, value in config.data_preprocessor.items() if key != "num_classes"}
    expected = ClsDataPreprocessor(**settings)({"inputs": [data["inputs"]]})["inputs"]
    (found,) = read_batches([tmp_path / "image.png"], 224, 224)
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_calibration_images_are_spread_over_the_classes_and_may_lie_flat(digits, tmp_path):
    assert {path.parent.name for path in calibration_files(digits / "train", 20)} == set("0123456789")
    for index in range(20):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{index:02}.png")
    assert len(calibration_files(tmp_path, 20)) == 20


def test_calibration_images_that_are_missing_or_too_few_are_told(digits, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        calibration_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{tmp_path}: no images in this folder"):
        calibration_files(tmp_path)
    with pytest.raises(DataError, match="train: 1000 images, too few to calibrate with 5000; add images or ask for fewer"):
        calibration_files(digits / "train", 5000)
    with pytest.raises(QuantizationError, match="3 calibration images are too few; expected at least 16"):
        calibration_files(digits / "train", 3)


def test_a_broken_image_is_named_and_leaves_no_file(files, tmp_path):
    for index in range(16):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "07.png").write_bytes(b"rubbish")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"07\.png: not an image that can be decoded"):
        quantize(files[0], out / "int8.onnx", tmp_path, count=16)
    assert not out.exists()


def test_images_to_measure_with_that_do_not_fit_are_told(files, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder .* expected images as <folder>/<class>/\*\.jpg"):
        top1(files[0], tmp_path / "nowhere")
    (tmp_path / "one").mkdir()
    with pytest.raises(DataError, match="1 classes; expected a folder for each of two or more"):
        top1(files[0], tmp_path)
    (tmp_path / "two").mkdir()
    with pytest.raises(DataError, match="one: no images in this folder"):
        top1(files[0], tmp_path)
    for name in ("one", "two"):
        Image.new("RGB", (9, 9)).save(tmp_path / name / "image.png")
    with pytest.raises(QuantizationError, match=r"expected logits \[B, 2\]"):
        top1(files[0], tmp_path)


def test_networks_that_do_not_fit_are_told(files, digits, tmp_path):
    with pytest.raises(QuantizationError, match=r"nowhere\.onnx: no such file"):
        top1(tmp_path / "nowhere.onnx", digits / "val")
    (tmp_path / "broken.onnx").write_bytes(b"rubbish")
    with pytest.raises(QuantizationError, match=r"broken\.onnx: not an ONNX network that can be run"):
        quantize(tmp_path / "broken.onnx", tmp_path / "int8.onnx", digits / "train")
    images, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 1, 9, 9]) for name in ("images", "same")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["images"], ["same"])], "grey", [images], [same])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)]), tmp_path / "grey.onnx"
    )
    with pytest.raises(QuantizationError, match=r"grey\.onnx: takes .* expected images \['batch', 3, height, width\]"):
        quantize(tmp_path / "grey.onnx", tmp_path / "int8.onnx", digits / "train")
    with pytest.raises(QuantizationError, match="images resized to 12 pixels do not cover the network's 16x16"):
        top1(files[0], digits / "val", edge=12)
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.long
def test_a_model_is_written_in_int8_and_compared_with_float(model, digits, tmp_path):
    report = export_int8(model, tmp_path / "int8.onnx", digits / "train", 64, digits / "val", input_size=SIZE)
    assert {file.name for file in tmp_path.iterdir()} == {"int8.onnx", *beside("int8.onnx")}
    assert report.sizes[1] == (tmp_path / "int8.onnx").stat().st_size < 0.5 * report.sizes[0]
    assert report.top1.accuracy == top1(tmp_path / "int8.onnx", digits / "val").accuracy > 0.8
    assert report.top1.reference > 0.8
    assert f"float {report.top1.reference:.2%}, int8 {report.top1.accuracy:.2%}: " in str(report)
    with pytest.raises(ExportError, match=r"m\.pt: a file of format int8 ends with \.onnx"):
        export_int8(model, tmp_path / "m.pt", digits / "train")
    with pytest.raises(ExportError, match="leave it out with --features"):
        export_int8(model, tmp_path / "m.onnx", digits / "train", data=digits / "val", features=True)


def test_what_a_runtime_does_not_offer_or_lacks_is_told(model, digits, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match=r"m\.bin: a file of format int8 ends with \.onnx for ONNX Runtime, "):
        export_int8(model, tmp_path / "m.bin", digits / "train")
    with pytest.raises(ExportError, match=r"m\.pte: the bits of weights are not for choice in ExecuTorch; leave --weight-bits"):
        export_int8(model, tmp_path / "m.pte", digits / "train", weight_bits=8)
    with pytest.raises(QuantizationError, match="images of 1 channels cannot be had from a folder of photos; expected 3"):
        export_int8(model, tmp_path / "m.onnx", digits / "train", input_size=(1, 16, 16))
    monkeypatch.setattr("gemnet.core.extras.find_spec", lambda name: None)
    for module in ("litert_torch", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'is not installed; .* pip install "gemnet\[litert\]"'):
        export_int8(model, tmp_path / "m.tflite", digits / "train")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("ending", [one.runtime.ending for one in TARGETS])
def test_features_are_written_in_int8(ending, model, digits, tmp_path):
    skip_unless_installed(ending)
    path = tmp_path / f"maps{ending}"
    report = export_int8(model, path, digits / "train", 16, input_size=SIZE, features=True)
    images = np.random.default_rng(0).standard_normal((2, *SIZE), np.float32)
    maps = target(path).runtime.open(path)(images)
    assert [m.shape for m in maps] == [(2, 16, 16, 16), (2, 64, 8, 8), (2, 128, 4, 4), (2, 512, 4, 4)]
    with torch.no_grad():
        expected = [one.numpy() for one in Features(model)(torch.from_numpy(images))]
    assert 0 < relative_error(maps, expected) < 0.3
    assert "top-1" not in str(report)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 1, "export: int8 needs images to find the ranges of the activations: give a folder"),
        (["--calibration", "nowhere"], 1, "export: nowhere: no such folder"),
        (
            ["--calibration", "train", "--data", "val", "--num-classes", "2"],
            1,
            "export: val: 10 classes, but the model has 2; expected as many",
        ),
        (
            ["--calibration", "train", "--calibration-images", "16", "--data", "val", "--image-size", "32"],
            0,
            r"int8\.onnx: int8; .*\nsize     float .* x smaller\nlatency  float .* x as fast\n"
            r"top-1    float .* points lost\nanswers  the same on [\d.]+% of 200 images",
        ),
        (["--format", "onnx", "--data", "val"], 2, "--data and --image-size are for --to int8"),
    ],
)
def test_the_tool_writes_int8_and_tells_what_is_wrong(arguments, code, told, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(digits)
    monkeypatch.setattr(sys, "path", list(sys.path))
    CELL.save(tmp_path / "cell.json")
    out = tmp_path / "int8.onnx"
    model = ["gemnet", str(out), "--cell", str(tmp_path / "cell.json"), "--target-macs", "40e6", "--num-classes", "10"]
    monkeypatch.setattr(sys, "argv", ["export.py", *model, "--input-size", "32", "32", "--format", "int8", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    assert stopped.value.code == code
    assert re.search(told, "".join(capsys.readouterr()))
    assert out.exists() == (code == 0)
