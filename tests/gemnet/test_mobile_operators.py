"""Blocks of mobile networks as cells: equal to timm's, priced exactly, exported, fused and trained like any other."""

import copy
import random
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual, UniversalInvertedResidual
from torch import nn

import gemnet
from gemnet import operators
from gemnet.cell import Cell, CellError
from gemnet.complexity import CellStatistics, cell_cost, cell_statistics, network_cost, operator_cost
from gemnet.counting import counted
from gemnet.fusion import fused
from gemnet.mobile_layers import SqueezeExcite
from gemnet.mobile_operators import FAMILIES, SPECS
from gemnet.network import CellModule
from gemnet.openmmlab.backbone import GEMNet as Backbone

NETWORKS = (
    "mobilenetv1_100", "mobilenetv2_100", "mnasnet_100", "semnasnet_100", "efficientnet_b0", "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
)  # fmt: skip
MIXED = Cell(
    (
        *("input", "dsconv3x3", "mbconv3x3_e1", "mbconv5x5_e3_se", "extradw3x3_5x5_e2", "convnext3x3_e2", "ffn_e2"),
        *("identity", "squeeze_excite", "pool_max3x3", "pool_avg3x3", "sepconv7x7"),
    ),
    (*((v, v + 1) for v in range(11)), (0, 3), (0, 7), (0, 8), (0, 9), (2, 10)),
)
"""Every kind of block, as one with a residual connection and as one without."""
X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def side(conv):
    """Height of a kernel."""
    return conv.kernel_size[0]


def name_of(block):
    """The operator that a block of timm's is."""
    if isinstance(block, ConvBnAct):
        return f"conv{side(block.conv)}x{side(block.conv)}"
    se = "_se" * (not isinstance(block.se, nn.Identity))
    if isinstance(block, DepthwiseSeparableConv):
        k = side(block.conv_dw)
        return f"dsconv{k}x{k}" if block.has_pw_act else f"mbconv{k}x{k}_e1{se}"
    if isinstance(block, InvertedResidual):
        k, e = side(block.conv_dw), block.conv_pw.out_channels // block.conv_pw.in_channels
        return f"mbconv{k}x{k}_e{e}{se}"
    e = block.pw_exp.conv.out_channels // block.pw_exp.conv.in_channels
    start, kernel = (getattr(part, "conv", None) for part in (block.dw_start, block.dw_mid))
    if start is not None and kernel is not None:
        return f"extradw{side(start)}x{side(start)}_{side(kernel)}x{side(kernel)}_e{e}"
    if start is not None:
        return f"convnext{side(start)}x{side(start)}_e{e}"
    return f"ffn_e{e}" if kernel is None else f"mbconv{side(kernel)}x{side(kernel)}_e{e}"


def blocks_of(network):
    """The blocks of a timm network, each kind of each width once, at stride 1."""
    kinds = {}
    for block in network.blocks.modules():
        if isinstance(block, (ConvBnAct, DepthwiseSeparableConv, InvertedResidual, UniversalInvertedResidual)):
            shape = (name_of(block), *(tuple(value.shape) for value in block.state_dict().values()))
            kinds.setdefault((*shape, getattr(block, "has_skip", False)), block)
    for block in kinds.values():
        block = copy.deepcopy(block)
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        yield block


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_of_a_mobile_network_is_a_cell_of_one_node(name, settled):
    network = settled(timm.create_model(name, num_classes=2)).double()
    seen = set()
    for block in blocks_of(network):
        cell, state = Cell.resolve(name_of(block)), list(block.state_dict().values())
        conv_weights = [value for value in state if value.ndim == 4]
        channels = next(m for m in block.modules() if isinstance(m, nn.Conv2d)).in_channels
        width = conv_weights[-1].shape[0]
        act = next(m for m in block.modules() if type(m) in (nn.ReLU, nn.ReLU6, nn.SiLU))
        module = CellModule(cell, channels, width, act_layer=type(act)).double().eval()
        keys = module.state_dict().keys()
        module.load_state_dict(dict(zip(keys, state, strict=True)))
        x = torch.randn(2, channels, 9, 7, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(module(x), block(x) if has_timms_skip(block, module) else without_skip(block, module, x))
        seen.add(name_of(block))
    assert seen <= operators.BUILT_IN.keys()
    assert seen


def has_timms_skip(block, module):
    """Whether both add their input, or neither: at stride 2, timm's adds none, though channels are equal."""
    return getattr(block, "has_skip", False) == getattr(module.nodes[0].operator, "residual", False)


def without_skip(block, module, x):
    """What a block at stride 2 gives at stride 1, where ours adds the input."""
    assert module.nodes[0].operator.residual
    return block(x) + x


def test_the_blocks_of_the_large_mobilenet_v4_have_names_too():
    with torch.device("meta"):
        network = timm.create_model("mobilenetv4_conv_large", num_classes=2)
    names = {name_of(block) for block in network.blocks.modules() if isinstance(block, UniversalInvertedResidual)}
    assert "extradw5x5_5x5_e4" in names
    assert names <= operators.BUILT_IN.keys()


def expanded(pattern):
    """Every name that a pattern stands for."""
    found = re.search(r"\{(.*?)\}", pattern)
    if found:
        return [name for part in found[1].split(",") for name in expanded(pattern.replace(found[0], part, 1))]
    return [pattern.replace("[_se]", end) for end in ("", "_se")] if "[" in pattern else [pattern]


def test_the_patterns_of_the_page_stand_for_the_names_of_the_families():
    for pattern, specs in FAMILIES.items():
        assert sorted(expanded(pattern)) == sorted(spec.name for spec in specs)
    page = (Path(__file__).parents[2] / "docs/cell-file.md").read_text(encoding="utf-8")
    assert all(f"`{pattern}`" in page for pattern in FAMILIES)
    with pytest.raises(CellError, match="sepconv5x5, sepconv7x7, blocks as mbconv3x3_e6"):
        Cell(("input", "mbconv9x9_e6"), ((0, 1),))


@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
def test_a_mobile_operator_costs_what_its_module_does_for_numbers_and_arrays(name):
    rng = random.Random(name)
    sizes = [(rng.randint(1, 90), rng.randint(1, 90)) for _ in range(6)]
    sizes += [(size, size) for size in (1, 2, 3, 6, 64)] + [(96, 24), (24, 96)]
    costs = []
    for channels, width in sizes:
        module = operators.operator(name).build(channels, width, device="meta").eval()
        _, cost = counted(module, torch.empty(1, channels, 5, 7, device="meta"))
        assert operator_cost(name, channels, width, (5, 7)) == cost
        assert all(type(value) is int for value in vars(operator_cost(name, channels, width, (5, 7))).values())
        costs.append(cost)
    inputs, outputs = np.array(sizes).T
    found = operators.operator(name).cost(inputs, outputs, (5, 7))
    for field in ("params", "macs", "activations"):
        assert getattr(found, field).tolist() == [getattr(cost, field) for cost in costs]


def test_only_what_is_affine_in_the_input_channels_is_said_to_be():
    affine = {spec.name for spec in SPECS if spec.affine}
    assert affine == {"dsconv3x3", "dsconv5x5", "mbconv3x3_e1", "mbconv5x5_e1"}
    for name in affine:
        operators._check_affine(name, operators.operator(name).cost)


def test_cells_of_all_kinds_cost_what_their_modules_do(random_cell):
    rng = random.Random(0)
    for _ in range(12):
        cell = random_cell(rng, rng.randint(3, 9), 0.5, MIXED.nodes[1:])
        channels, width, size = rng.randint(1, 30), rng.randint(1, 20), (rng.randint(1, 9), rng.randint(1, 9))
        _, cost = counted(
            CellModule(cell, channels, width, device="meta").eval(), torch.empty(1, channels, *size, device="meta")
        )
        assert cell_cost(cell, channels, width, size) == cost
        assert isinstance(cell_statistics(cell), CellStatistics)


@pytest.fixture(scope="module")
def model(settled):
    return settled(timm.create_model("gemnet", cell=MIXED, target_macs=150e6, num_classes=5, residual=True))


def test_a_network_of_all_kinds_is_fitted_as_exactly_as_any(model):
    assert 0.95 * 150e6 <= gemnet.fit(MIXED, 150e6).cost.macs <= 150e6
    network = gemnet.GEMNet(model.architecture, 1000, device="meta").eval()
    _, cost = counted(network, torch.empty(1, 3, 224, 224, device="meta"))
    assert cost == network_cost(model.architecture)


@pytest.mark.long
def test_a_network_of_all_kinds_scripts_traces_and_exports_for_any_batch_and_size(model):
    free = {2: torch.export.Dim("height", min=33, max=512), 3: torch.export.Dim("width", min=33, max=512)}
    exported = torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("batch", max=64), **free},)).module()
    other = torch.randn(3, 3, 65, 70)
    with torch.no_grad():
        for form in (torch.jit.script(model), torch.fx.symbolic_trace(model), exported):
            for x in (X, other):
                torch.testing.assert_close(form(x), model(x), rtol=1e-4, atol=1e-5)


def test_fusion_folds_every_normalisation_of_mobile_blocks_and_changes_no_output(model):
    network = copy.deepcopy(model).double()
    found, x = fused(network), X.double()
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-10, atol=1e-10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())


def test_every_weight_learns_and_squeezes_start_without_a_preference():
    network = timm.create_model("gemnet", cell=MIXED, target_macs=60e6, num_classes=5)
    squeezes = [module for module in network.modules() if isinstance(module, SqueezeExcite)]
    assert squeezes
    assert not any(conv.bias.any() for squeeze in squeezes for conv in (squeeze.reduce, squeeze.expand))
    network(X).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_every_tensor_is_on_the_device_and_in_the_dtype_that_are_asked_for():
    network = timm.create_model("gemnet", cell=MIXED, target_macs=60e6, device="meta", dtype=torch.bfloat16)
    tensors = [*network.parameters(), *(b for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))]
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors} == {("meta", torch.bfloat16)}


def test_mmdetections_backbone_takes_synchronised_norms_and_checkpointing():
    torch.manual_seed(0)
    backbone = Backbone(cell=MIXED, target_macs=60e6, norm_cfg=dict(type="SyncBN"), out_indices=(2, 4))
    assert not any(type(module) is nn.BatchNorm2d for module in backbone.modules())
    plain = Backbone(cell=MIXED, target_macs=60e6, out_indices=(2, 4))
    saving = Backbone(cell=MIXED, target_macs=60e6, out_indices=(2, 4), with_cp=True)
    saving.load_state_dict(plain.state_dict())
    gradients = []
    for one in (plain.train(), saving.train()):
        sum(out.square().mean() for out in one(X)).backward()
        gradients.append({name: parameter.grad for name, parameter in one.named_parameters() if parameter.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_an_operator_by_its_name_is_the_cell_of_its_node(tmp_path):
    cell = Cell.resolve("mbconv3x3_e6")
    assert cell == Cell(("input", "mbconv3x3_e6"), ((0, 1),))
    network = timm.create_model("gemnet", cell="mbconv3x3_e6", target_macs=300e6, target_params=3.4e6)
    assert network.architecture.cell == cell
    cell.save(tmp_path / "block.json")
    assert Cell.load(tmp_path / "block.json") == cell
    assert cell.digest() != Cell.resolve("mbconv5x5_e6").digest()
    gemnet.draw_cell(MIXED, tmp_path / "cell.svg")
    assert all(name in (tmp_path / "cell.svg").read_text() for name in ("mbconv5x5_e3_se", "pool_max3x3"))
    with pytest.raises(CellError, match="no shipped cell is named 'mbconv9x9'"):
        Cell.resolve("mbconv9x9")
