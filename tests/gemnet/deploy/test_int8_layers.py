"""A layer that int8 would break is found and kept float, and no more layers than a limit of the loss asks for."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from gemnet.core.extras import MissingExtraError
from gemnet.deploy.int8.choosing import write_within
from gemnet.deploy.int8.graph import NetworkGraph
from gemnet.deploy.int8.layers import QuantizationError, Step, int8_steps
from gemnet.deploy.int8.mixed_precision import Trial, fewest_float
from gemnet.deploy.int8.onnx_files import OnnxQuantizer
from gemnet.deploy.int8.records import PAGE, read_rows, written_page
from gemnet.deploy.runtimes.table import RUNTIMES

ROOT = Path(__file__).parents[3]
BROKEN = "depthwise"
LAYERS = [
    ("stem", "convolution 3x3", 216), ("depthwise", "depthwise 3x3", 72), ("pointwise", "pointwise", 64),
    ("classifier", "linear", 32),
]  # fmt: skip
"""Name, kind and number of weights."""


class Network(nn.Module):
    """A few layers; what one channel of the depthwise one gives is a thousand times as large as the others."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.classifier = nn.Linear(8, 4)
        if broken:
            with torch.no_grad():
                self.depthwise.weight[0] *= 1000
                self.depthwise.bias[0] *= 1000
                self.pointwise.weight[:, 0] /= 1000

    def forward(self, images):
        found = self.pointwise(self.depthwise(self.stem(images).relu())).relu()
        return self.classifier(found.mean((2, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The network as it is, and with a broken layer that leaves its answers as they are."""
    folder = tmp_path_factory.mktemp("networks")
    for name in ("sound", BROKEN):
        torch.manual_seed(0)
        network = Network(name == BROKEN).eval()
        batch = torch.export.Dim("batch", min=1, max=64)
        torch.onnx.export(
            network, (torch.zeros(2, 3, 12, 12),), folder / f"{name}.onnx", input_names=["images"],
            dynamic_shapes=({0: batch},), dynamo=True, verbose=False, external_data=False,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def feeds():
    random = np.random.default_rng(0)
    return [{"images": random.normal(size=(8, 3, 12, 12)).astype(np.float32)} for _ in range(4)]


def outputs(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


class Disturbed:
    """A measurement: points lost are hundredths of the logits' deviation."""

    def __init__(self, found, expected):
        self.lost = 100 * float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def test_the_layers_are_named_as_in_pytorch_with_their_kinds(files):
    layers = NetworkGraph(files / "sound.onnx").layers
    assert [(layer.name, layer.kind, layer.weights) for layer in layers] == LAYERS


def test_the_layer_that_int8_breaks_is_the_most_sensitive_and_stays_float(files, feeds, tmp_path):
    expected = outputs(files / f"{BROKEN}.onnx", feeds)
    np.testing.assert_allclose(outputs(files / "sound.onnx", feeds), expected, atol=1e-3)
    quantizer = OnnxQuantizer(files / f"{BROKEN}.onnx", feeds)
    errors = quantizer.errors(feeds)
    assert set(sorted(errors, key=errors.get)[-2:]) == {BROKEN, "pointwise"}  # its outputs are what the next one takes
    assert errors[BROKEN] > 5 * OnnxQuantizer(files / "sound.onnx", feeds).errors(feeds)[BROKEN]
    chosen = write_within(quantizer, tmp_path / "int8.onnx", feeds, lambda path: Disturbed(outputs(path, feeds), expected), 6)
    precisions = {layer.name: layer.precision for layer in chosen.layers}
    assert precisions[BROKEN] == "float"
    assert precisions["stem"] == "int8"
    assert chosen.trials[0].lost > 6 >= chosen.measured.lost
    assert chosen.measured.lost == Disturbed(outputs(tmp_path / "int8.onnx", feeds), expected).lost
    assert [file.name for file in tmp_path.iterdir()] == ["int8.onnx"]
    weights = {value.name: value.data_type for value in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert weights["depthwise.weight"] == onnx.TensorProto.FLOAT
    assert "stem.weight" not in weights


def executorch(network, feeds, folder):
    skip_unless_installed("executorch")
    from gemnet.deploy.int8.executorch_files import ExecutorchQuantizer

    return ExecutorchQuantizer(network, feeds)


def litert(network, feeds, folder):
    skip_unless_installed("litert")
    from gemnet.deploy.int8.litert_files import LitertQuantizer

    source = folder / "float.tflite"
    RUNTIMES["litert"].write(network, torch.zeros(2, 3, 12, 12), source, {})
    return LitertQuantizer(source, network, ({"images": image[None]} for feed in feeds for image in feed["images"]))


def skip_unless_installed(name):
    try:
        RUNTIMES[name].check()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("quantizer_of", [executorch, litert])
def test_it_stays_float_in_other_runtimes_too(quantizer_of, feeds, tmp_path):
    torch.manual_seed(0)
    network, ending = Network(broken=True).eval(), RUNTIMES[quantizer_of.__name__].ending
    images = np.concatenate([feed["images"] for feed in feeds])
    expected = network(torch.from_numpy(images)).detach().numpy()
    quantizer, run = quantizer_of(network, feeds, tmp_path), RUNTIMES[quantizer_of.__name__].open
    assert [(layer.name, layer.kind, layer.weights) for layer in quantizer.layers] == LAYERS
    errors = quantizer.errors(feeds)
    assert set(sorted(errors, key=errors.get)[-2:]) == {BROKEN, "pointwise"}
    folder = tmp_path / "written"
    chosen = write_within(quantizer, folder / f"int8{ending}", feeds, lambda path: Disturbed(run(path)(images)[0], expected), 6)
    precisions = {layer.name: layer.precision for layer in chosen.layers}
    assert (precisions[BROKEN], precisions["stem"]) == ("float", "int8")
    assert chosen.trials[0].lost > 6 >= chosen.measured.lost > 0
    assert [file.name for file in folder.iterdir()] == [f"int8{ending}"]
    quantizer.write(tmp_path / f"all{ending}", list(precisions))
    np.testing.assert_allclose(run(tmp_path / f"all{ending}")(images)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([], ["first", "relu", "join", "second"]),
        (["first"], ["second"]),
        (["second"], ["first", "relu", "join"]),
        (["first", "second"], []),
    ],
)
def test_what_lies_between_layers_is_int8_where_all_before_it_are(kept, expected):
    steps = [
        Step("resize", ()), Step("first", ("resize",), "first"), Step("relu", ("first",)), Step("join", ("relu", "resize")),
        Step("second", ("join",), "second"), Step("boxes", ("second",)),
    ]  # fmt: skip
    assert int8_steps(steps, kept) == expected


def test_with_all_layers_float_nothing_is_lost(files, feeds, tmp_path):
    quantizer = OnnxQuantizer(files / "sound.onnx", feeds)
    quantizer.write(tmp_path / "float.onnx", [layer.name for layer in quantizer.layers])
    np.testing.assert_allclose(outputs(tmp_path / "float.onnx", feeds), outputs(files / "sound.onnx", feeds), atol=1e-6)


def test_a_measurement_that_fails_leaves_no_file(files, feeds, tmp_path):
    def fail(path):
        raise QuantizationError("other classes")

    with pytest.raises(QuantizationError, match="other classes"):
        write_within(OnnxQuantizer(files / "sound.onnx", feeds), tmp_path / "int8.onnx", feeds, fail, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("needed", range(8))
def test_as_few_layers_stay_float_as_the_limit_asks_for(needed):
    names = "abcdefg"
    kept, trials = fewest_float(dict(zip(names, range(7, 0, -1))), lambda kept: float(needed - len(kept)), 0.0)
    assert kept == list(names[:needed])
    assert trials[0] == Trial(0, needed)
    assert len(trials) <= 6


def test_weights_of_other_bits_and_graphs_without_layers_are_told(files, feeds, tmp_path):
    with pytest.raises(QuantizationError, match="weights of 4 bits are not offered; expected 7 or 8"):
        OnnxQuantizer(files / "sound.onnx", feeds, 4)
    empty = copy.deepcopy(onnx.load(files / "sound.onnx"))
    del empty.graph.node[:]
    del empty.graph.initializer[:]
    empty.graph.node.append(onnx.helper.make_node("Identity", ["images"], [empty.graph.output[0].name], "same"))
    del empty.graph.output[0].type.tensor_type.shape.dim[:]
    empty.graph.ClearField("value_info")
    onnx.save(empty, tmp_path / "empty.onnx")
    with pytest.raises(QuantizationError, match="has no convolution and no linear layer to quantise"):
        NetworkGraph(tmp_path / "empty.onnx")


def test_the_page_of_int8_is_made_of_its_record_and_no_limit_is_broken():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    rows = read_rows(ROOT)
    assert written_page(text, rows) == text
    assert rows
    for row in rows:
        assert row["measured"][0]["lost"] <= row["max_loss"], row["name"]
        assert row["layers"]
