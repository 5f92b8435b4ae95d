"""The form for inference computes what the network computes, with fewer operations."""

import copy
import random
import warnings
from functools import partial

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm, freeze_batch_norm_2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

import gemnet
from gemnet.core.errors import UserError
from gemnet.deploy.export import Features
from gemnet.fusion import fold_batch_norm, fused
from gemnet.openmmlab.distributed import CPUSyncBatchNorm
from gemnet.operators import OPERATORS


@pytest.fixture
def network_of(settled):
    def build(operators, edges, **settings):
        cell = gemnet.Cell(("input", *operators), edges)
        return settled(timm.create_model("gemnet", cell=cell, target_macs=60e6, num_classes=10, **settings)).double()

    return build


def counts(model):
    """Convolutions and concatenations of one pass."""
    graph = torch.fx.symbolic_trace(model).graph
    modules = dict(model.named_modules())
    convolutions = sum(n.op == "call_module" and isinstance(modules[n.target], nn.Conv2d) for n in graph.nodes)
    return convolutions, sum(n.target is torch.cat for n in graph.nodes)


@pytest.mark.parametrize("seed", range(6))
def test_the_fused_form_changes_no_output_of_random_cells_in_double_precision(seed, random_cell, settled):
    cell = random_cell(random.Random(seed), 9, 0.4, tuple(OPERATORS))
    network = settled(timm.create_model("gemnet", cell=cell, target_macs=100e6, num_classes=10)).double()
    found, x = fused(network), torch.randn(2, 3, 50, 70, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-11, atol=1e-11)
        for ours, theirs in zip(Features(found)(x), Features(network)(x)):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


SIBLINGS = {
    "all leaves": (("conv1x1",) * 4, ((0, 1), (0, 2), (0, 3), (0, 4)), 1, 0),
    "read again together": (("conv3x3", "conv3x3", "sepconv3x3"), ((0, 1), (0, 2), (1, 3), (2, 3)), 3, 0),
    "read again apart": (("conv1x1", "conv1x1", "conv3x3"), ((0, 1), (0, 2), (1, 3)), 2, 1),
    "of two kernels": (("conv1x1", "conv3x3", "conv1x1"), ((0, 1), (0, 2), (0, 3)), 2, 1),
    "separable: left alone": (("sepconv3x3", "sepconv3x3"), ((0, 1), (0, 2)), 4, 1),
}


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", SIBLINGS)
def test_plain_siblings_become_one_convolution_without_copies(shape, residual, network_of):
    operators, edges, convolutions, concatenations = SIBLINGS[shape]
    network = network_of(operators, edges, residual=residual)
    found, x = fused(network), torch.randn(2, 3, 64, 50, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(torch.jit.script(found)(x), network(x), rtol=1e-11, atol=1e-11)
    cells = sum(network.architecture.depths)
    beside = 1 + bool(network.architecture.head_width)  # the stem and the head
    assert counts(found) == (cells * convolutions + beside, cells * concatenations)
    assert counts(fold_batch_norm(network))[0] >= counts(found)[0]


CELL = gemnet.Cell(("input", "conv1x1", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 3)))
IMAGES = torch.randn(2, 3, 50, 34, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def create(norm_layer=nn.BatchNorm2d, **settings):
    return timm.create_model("gemnet", cell=CELL, target_macs=60e6, num_classes=10, norm_layer=norm_layer, **settings)


def trained(network):
    """In double precision, its statistics, of any kind of normalisation, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_mean.data.normal_(std=0.1, generator=generator)
            module.running_var.data.uniform_(0.5, 2, generator=generator)
            if module.weight is not None:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(std=0.1, generator=generator)
    return network.eval().double()


def has_statistics(model):
    return any(getattr(module, "running_var", None) is not None for module in model.modules())


def convolutions(model):
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


def same_outputs(found, network):
    with torch.no_grad():
        torch.testing.assert_close(found(IMAGES), network(IMAGES), rtol=1e-11, atol=1e-11)


class Doubled(nn.BatchNorm2d):
    """Something else than its statistics say."""

    def forward(self, x):
        return 2 * super().forward(x)


class Wrapped(nn.Module):
    def __init__(self, channels, **where):
        super().__init__()
        self.inner = nn.BatchNorm2d(channels, **where)

    def forward(self, x):
        return self.inner(x)


FOLDED = {
    "synchronised": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(create()),
    "synchronised by timm": lambda: convert_sync_batchnorm(create(partial(BatchNormAct2d, act_layer=nn.SiLU))),
    "synchronised on the CPU": lambda: create(CPUSyncBatchNorm),
    "frozen by torchvision": lambda: create(FrozenBatchNorm2d),
    "frozen by timm": lambda: freeze_batch_norm_2d(create()),
    "frozen by timm with an activation": lambda: freeze_batch_norm_2d(create(partial(BatchNormAct2d, act_layer=nn.SiLU))),
    "with an activation": lambda: create(partial(BatchNormAct2d, act_layer=nn.GELU)),
    "with dropout in a sequence": lambda: create(lambda c, **d: nn.Sequential(nn.BatchNorm2d(c, **d), nn.Dropout(0.5))),
    "wrapped": lambda: create(Wrapped),
    "without weights": lambda: create(partial(nn.BatchNorm2d, affine=False)),
    "of instances with statistics": lambda: create(partial(nn.InstanceNorm2d, affine=True, track_running_stats=True)),
}
"""Normalisation that is a scale and a shift a channel in evaluation."""
LEFT = {
    "GroupNorm1": lambda: create("groupnorm1"),
    "LayerNorm2d": lambda: create("layernorm2d"),
    "Doubled": lambda: create(Doubled),
    "BatchNorm2d": lambda: create(partial(nn.BatchNorm2d, track_running_stats=False)),
    "InstanceNorm2d": lambda: create(partial(nn.InstanceNorm2d, affine=True)),
}


@pytest.mark.parametrize("kind", FOLDED)
def test_normalisation_of_every_kind_that_scales_and_shifts_is_folded_in_silence(kind):
    network = trained(FOLDED[kind]())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = fused(network)
    assert not has_statistics(found)
    same_outputs(found, network)


@pytest.mark.parametrize("kind", LEFT)
def test_normalisation_that_cannot_be_folded_stays_and_is_named(kind):
    network = trained(LEFT[kind]())
    for fuse in (fused, fold_batch_norm):
        with pytest.warns(UserWarning, match=rf"\d+ of {kind} cannot be folded and are left as they are: stem\.bn, stages"):
            found = fuse(network)
        same_outputs(found, network)
        assert convolutions(found) == convolutions(network)


def test_normalisation_beside_the_cells_is_named_too():
    detector = nn.Sequential(create(), nn.BatchNorm1d(10))
    with pytest.warns(UserWarning, match=r"1 of BatchNorm1d cannot be folded .*: 1$"):
        fused(detector)


@pytest.mark.parametrize("act_layer", ["silu", "hard_swish", "gelu", "leaky_relu", "prelu", nn.ReLU6])
def test_networks_with_other_activations_are_fused(act_layer):
    network = trained(create(act_layer=act_layer))
    found = fused(network)
    same_outputs(found, network)
    assert (convolutions(found) < convolutions(network)) == (act_layer != "prelu")  # whose siblings have a slope each


def shared_cell(cells):
    cells[2] = cells[1]


def shared_operator(cells):
    cells[2].nodes[0].operator = cells[1].nodes[0].operator


def shared_convolution(cells):
    cells[2].nodes[0].operator.conv = cells[1].nodes[0].operator.conv


def shared_normalisation(cells):
    cells[2].nodes[0].operator.bn = cells[1].nodes[0].operator.bn


def tied_weights(cells):
    cells[2].nodes[0].operator.conv.weight = cells[1].nodes[0].operator.conv.weight


@pytest.mark.parametrize("share", [shared_cell, shared_operator, shared_convolution, shared_normalisation, tied_weights])
def test_what_is_shared_is_folded_once_for_each_place(share):
    network = trained(timm.create_model("gemnet_a", num_classes=3))
    share(network.stages[3].cells)
    before = copy.deepcopy(network.state_dict())
    found = fused(network)
    same_outputs(found, network)
    assert not has_statistics(found)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())  # a copy was fused
    assert len({id(cell) for cell in found.stages[3].cells}) == (4 if share is shared_cell else 5)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_what_wraps_the_model_is_taken_off(wrap):
    network = trained(create())
    found = fused(wrap(network))
    assert not has_statistics(found)
    same_outputs(found, network)


def test_a_scripted_model_is_refused():
    with pytest.raises(UserError, match="fuse the model, then script it"):
        fused(torch.jit.script(create()))


def test_a_model_in_training_is_fused_for_evaluation_and_stays_in_training():
    network = trained(create(residual=True)).train()
    found = fused(network)
    assert network.training
    assert not found.training
    same_outputs(found, network.eval())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_keeps_its_dtype_and_its_outputs_to_its_rounding(dtype):
    network = trained(create()).to(dtype)
    found, images = fused(network), IMAGES.to(dtype)
    assert {parameter.dtype for parameter in found.parameters()} == {dtype}
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(images.double())
        for model in (found, network):
            assert (model(images) - expected).abs().max() < 0.05 * expected.abs().max()


def test_fusing_draws_no_random_numbers():
    network, state = trained(create()), torch.get_rng_state()
    fused(network)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_without_data_is_fused():
    found = fused(create().to("meta"))
    assert not has_statistics(found)
    assert {parameter.device.type for parameter in found.parameters()} == {"meta"}
