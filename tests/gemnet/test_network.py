import random
import shutil

import pytest
import torch
import torch.nn.functional as F

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.network import CellModule, GEMNet

CELL = Cell(
    ("input", "conv1x1", "sepconv3x3", "conv3x3", "sepconv5x5", "conv1x1"),
    ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (0, 4), (5 - 1, 5)),
)
ARCHITECTURE = Architecture(CELL, (4, 6, 8), (1, 2, 1), 5, 12)


@pytest.fixture(scope="module")
def network():
    """A small network with statistics of its own in every BatchNorm, in evaluation mode."""
    torch.manual_seed(0)
    network = GEMNet(ARCHITECTURE, num_classes=7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 37, 52, generator=torch.Generator().manual_seed(1))


def interpreted(cell: Cell, module: CellModule, x: torch.Tensor) -> torch.Tensor:
    """The paper's section 3.2 word by word, with the weights of `module`: no pruning beforehand, no shared code."""
    values, weights = {0: x}, iter(module.nodes)
    for v in range(1, len(cell.nodes)):
        inputs = [values[u] for u in range(v) if (u, v) in cell.edges and u in values]
        if not inputs:
            continue  # zero in-degree: dropped
        layer = next(weights).operator
        y = torch.cat(inputs, 1)
        if cell.nodes[v].startswith("sep"):
            kernel = layer.depthwise.weight
            y = F.conv2d(y, kernel, padding=kernel.shape[-1] // 2, groups=y.shape[1])
        y = F.conv2d(y, layer.conv.weight, padding=layer.conv.weight.shape[-1] // 2)
        bn = layer.bn
        values[v] = F.relu(F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.1, bn.eps))
    assert next(weights, None) is None
    leaves = [v for v in values if not any(u == v and w in values for u, w in cell.edges)]
    return torch.cat([values[v] for v in leaves], 1)


def test_a_cell_computes_what_the_paper_says(random_cell):
    rng = random.Random(0)
    for _ in range(40):
        cell = random_cell(rng, rng.randint(2, 15), rng.uniform(0.05, 0.5))
        module = CellModule(cell, 5, 4).eval()
        x = torch.randn(2, 5, 9, 8)
        assert torch.allclose(module(x), interpreted(cell, module, x), atol=1e-5)


def test_a_residual_cell_adds_its_input_where_channels_agree():
    x = torch.randn(1, 4, 5, 5)
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    with_it = CellModule(cell, 4, 4, residual=True).eval()
    without = CellModule(cell, 4, 4).eval()
    without.load_state_dict(with_it.state_dict())
    assert torch.allclose(with_it(x), without(x) + x)
    assert not CellModule(cell, 4, 6, residual=True).residual


def test_every_parameter_gets_a_gradient(network, images):
    network.zero_grad()
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    network.zero_grad()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (64, 64), (33, 47)])
def test_any_input_size_works_and_odd_maps_round_up(network, size):
    x = torch.randn(1, 3, *size)
    assert network(x).shape == (1, 7)
    for i, feature in enumerate(network.forward_intermediates(x, intermediates_only=True)):
        assert feature.shape[2:] == tuple(-(-side // 2 ** (i + 1)) for side in size)


def agree(one, two, tolerance=1e-5):
    return (one - two).abs().max() <= tolerance * max(1.0, one.abs().max())


def test_torchscript_trace_and_fx_agree_with_eager(network, images):
    with torch.no_grad():
        eager = network(images)
        assert agree(eager, torch.jit.script(network)(images))
        assert agree(eager, torch.jit.trace(network, images[:1])(images))
        assert agree(eager, torch.fx.symbolic_trace(network)(images))


def test_torch_export_with_dynamic_batch_agrees_with_eager(network, images):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    with torch.no_grad():
        for count in (1, 2, 3):
            assert agree(network(images[:count]), program.module()(images[:count]))


@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        "aot_eager",
        pytest.param(
            "inductor",
            marks=pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile's inductor needs a C++ compiler (g++)"),
        ),
    ],
)
def test_torch_compile_agrees_with_eager_in_one_graph(network, images, backend):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    with torch.no_grad():
        assert agree(network(images), compiled(images))


def test_gradient_checkpointing_gives_the_same_gradients(images):
    gradients = []
    for enable in (False, True):
        torch.manual_seed(0)
        network = GEMNet(ARCHITECTURE, 7).train()
        network.set_grad_checkpointing(enable)
        network(images).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients))


def test_an_output_stride_of_its_own_is_accepted_and_others_are_refused():
    GEMNet(ARCHITECTURE, output_stride=8)
    with pytest.raises(ValueError, match="output_stride=16 is not offered.*expected 8"):
        GEMNet(ARCHITECTURE, output_stride=16)


def test_a_network_is_built_on_the_device_and_in_the_dtype_that_are_asked_for():
    network = GEMNet(ARCHITECTURE, device="meta", dtype=torch.float16)
    tensors = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    assert {(t.device.type, t.dtype) for t in tensors} == {("meta", torch.float16)}
