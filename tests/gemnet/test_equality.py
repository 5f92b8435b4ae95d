"""However a network runs, it computes what its cell says: proven in float64 against a forward pass written here.

The reference knows the architecture and named tensors alone. It shares no module with the network: the graph of the cell,
batch normalisation, pooling and the classifier are written out; convolution is torch's function.
"""

import copy
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gemnet.architecture import Architecture
from gemnet.fusion import fold_batch_norm, fused
from gemnet.models import architecture
from gemnet.network import GEMNet

EXACT, BATCH_STATISTICS = 1e-10, 1e-8
"""Largest differences, relative to the largest value of a tensor: with stored statistics, and with those of the batch."""
EPSILON, MOMENTUM = 1e-5, 0.1
RANDOM = 8


class Reference:
    """The forward pass of `architecture` with `tensors`, by name; in training, `statistics` are those of the batch."""

    def __init__(self, architecture, tensors, training):
        self.architecture, self.tensors, self.training = architecture, tensors, training
        self.statistics = {}

    def __call__(self, images):
        a = self.architecture
        x = self.layer("stem", images, 3, stride=a.stem_stride)
        for stage, depth in enumerate(a.depths):
            if stage:
                x = self.pooled(x)
            for cell in range(depth):
                x = self.cell(f"stages.{stage}.cells.{cell}", x)
        if a.head_width:
            x = self.layer("head_conv", x, 1)
        x = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
        return x @ self.tensors["classifier.weight"].T + self.tensors["classifier.bias"]

    def cell(self, name, x):
        """Node by node: what comes in is concatenated; a node that the input does not reach is not there; leaves go out."""
        cell, values = self.architecture.cell, {0: x}
        for v in range(1, len(cell.nodes)):
            before = [values[u] for u in range(v) if u in values and (u, v) in cell.edges]
            if before:
                place = f"{name}.nodes.{len(values) - 1}.operator"
                y, size = torch.cat(before, 1), int(cell.nodes[v][-1])
                if cell.nodes[v].startswith("sepconv"):
                    y = F.conv2d(y, self.tensors[f"{place}.depthwise.weight"], padding=size // 2, groups=y.shape[1])
                    size = 1
                values[v] = self.layer(place, y, size)
        leaves = [v for v in values if not any(u == v and w in values for u, w in cell.edges)]
        out = torch.cat([values[v] for v in leaves], 1)
        return out + x if self.architecture.residual and out.shape == x.shape else out

    def layer(self, name, x, size, stride=1):
        """size x size convolution, (x - mean) / sqrt(variance + epsilon) * weight + bias, maximum with zero."""
        x = F.conv2d(x, self.tensors[f"{name}.conv.weight"], stride=stride, padding=size // 2)
        if self.training:
            count = x.shape[0] * x.shape[2] * x.shape[3]
            mean = x.sum((0, 2, 3)) / count
            variance = ((x - mean[:, None, None]) ** 2).sum((0, 2, 3)) / count
            self.statistics[f"{name}.bn"] = mean.detach(), variance.detach() * count / (count - 1)
        else:
            mean, variance = self.tensors[f"{name}.bn.running_mean"], self.tensors[f"{name}.bn.running_var"]
        scale = self.tensors[f"{name}.bn.weight"] / (variance + EPSILON).sqrt()
        x = (x - mean[:, None, None]) * scale[:, None, None] + self.tensors[f"{name}.bn.bias"][:, None, None]
        return torch.where(x > 0, x, torch.zeros_like(x))

    def pooled(self, x):
        """The largest of each 2x2 square; odd maps are filled up."""
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-float("inf"))
        corners = [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return torch.stack(corners).amax(0)


def random_architectures(draw_cell):
    rng = random.Random(7)
    for index in range(RANDOM):
        cell = draw_cell(rng, rng.randint(2, 12), rng.uniform(0.1, 0.6))
        yield Architecture(cell, (3, 4, 4), (2, 1, 3), 5, (0, 7)[index % 2], (1, 2)[index // 2 % 2], residual=index % 4 > 0)


def networks(draw_cell):
    """Random small cells and the two shipped models, with statistics and scales as of trained networks, and images."""
    shipped = architecture("gemnet_a"), replace(architecture("gemnet_b"), residual=True)
    for index, a in enumerate((*random_architectures(draw_cell), *shipped)):
        torch.manual_seed(index)
        network = GEMNet(a, num_classes=11).double()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.3, 0.3)
        torch.nn.init.normal_(network.classifier.weight)
        torch.nn.init.normal_(network.classifier.bias)
        size = (3, 3, 19, 14) if index < RANDOM else (2, 3, 48, 48)  # five stages round up twice
        yield network, torch.randn(*size, dtype=torch.float64)


@pytest.fixture(scope="module")
def cases(random_cell):
    return list(networks(random_cell))


def difference(found, expected):
    """The largest difference, relative to the largest value expected."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == torch.float64
    assert expected.abs().max() > 0
    return ((found - expected).abs().max() / expected.abs().max()).item()


def gradients(call, images, leaves):
    """Outputs, and gradients of a fixed random sum of them by the images and by `leaves`."""
    images = images.clone().requires_grad_()
    outputs = call(images)
    weights = torch.randn(outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((outputs * weights).sum(), [images, *leaves.values()])
    return outputs.detach(), dict(zip(["images", *leaves], found, strict=True))


def referred(network, images, training):
    """The reference's outputs, gradients and statistics, with copies of the network's tensors."""
    tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    leaves = {name: tensors[name].requires_grad_() for name, _ in network.named_parameters()}
    reference = Reference(network.architecture, tensors, training)
    return *gradients(reference, images, leaves), reference.statistics


def test_the_cases_have_dropped_nodes_residuals_concatenations_and_every_operator(cases):
    cells = [network.architecture.cell for network, _ in cases]
    assert any(len(cell.live_nodes) < len(cell.nodes) for cell in cells)
    assert any(len(before) > 1 for cell in cells for before in cell.pruned().predecessors)
    assert {cell.nodes[v] for cell in cells for v in cell.live_nodes} == {
        "input",
        "conv1x1",
        "conv3x3",
        "sepconv3x3",
        "sepconv5x5",
    }
    assert sum(any(getattr(module, "residual", False) for module in network.modules()) for network, _ in cases) >= 3
    assert {network.architecture.stem_stride for network, _ in cases} == {1, 2}


@pytest.fixture(scope="module")
def expected(cases):
    """For each case what the reference finds with stored statistics (False) and those of the batch (True)."""
    return [{training: referred(network, images, training) for training in (False, True)} for network, images in cases]


@pytest.mark.long
def test_eager_folded_fused_and_channels_last_outputs_are_the_references(cases, expected):
    for (original, images), reference in zip(cases, expected):
        network = copy.deepcopy(original).eval()
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        images_last = images.to(memory_format=torch.channels_last)
        with torch.no_grad():
            for outputs in (network(images), fold_batch_norm(network)(images), fused(network)(images), last(images_last)):
                assert difference(outputs, reference[False][0]) < EXACT


@pytest.mark.parametrize("way", ["eager", "channels-last", "checkpointed"])
@pytest.mark.parametrize(("training", "tolerance"), [(False, EXACT), (True, BATCH_STATISTICS)])
def test_outputs_and_all_gradients_are_the_references(cases, expected, training, tolerance, way):
    layout = torch.channels_last if way == "channels-last" else torch.contiguous_format
    for (original, images), reference in zip(cases, expected):
        network = copy.deepcopy(original).train(training).to(memory_format=layout)
        network.set_grad_checkpointing(way == "checkpointed")
        outputs, found = gradients(network, images.contiguous(memory_format=layout), dict(network.named_parameters()))
        assert difference(outputs, reference[training][0]) < tolerance
        assert found.keys() == reference[training][1].keys()
        for name, gradient in found.items():
            assert difference(gradient, reference[training][1][name]) < tolerance, name


def test_training_moves_the_statistics_towards_those_of_the_batch(cases, expected):
    for (original, images), reference in zip(cases, expected):
        network, statistics = copy.deepcopy(original).train(), reference[True][2]
        with torch.no_grad():
            network(images)
        modules = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
        assert modules.keys() == statistics.keys()
        for name, module in modules.items():
            before = original.get_submodule(name)
            for buffer, of_batch in zip(("running_mean", "running_var"), statistics[name]):
                moved = (1 - MOMENTUM) * getattr(before, buffer) + MOMENTUM * of_batch
                assert difference(getattr(module, buffer), moved) < EXACT
