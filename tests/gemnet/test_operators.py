"""Operators of one's own: built, priced, drawn, fused, pickled and refused like those that are built in."""

import importlib
import pickle
import random
import sys
import warnings

import pytest
import timm
import torch
from doc_examples import run_page
from extensions import own_operators_registered
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import gemnet
from gemnet import operators
from gemnet.cell import Cell, CellError
from gemnet.complexity import cell_cost, network_cost, operator_cost
from gemnet.cost import Cost, OperatorError
from gemnet.counting import counted
from gemnet.drawing.colours import KNOWN, operator_colours
from gemnet.fusion import fused
from gemnet.network import CellModule
from gemnet.operators import OPERATORS, register_labels, register_operator, unregister_operator

OWN = ("made_se3x3", "made_rounded3x3", "made_plain1x1")
CELL = (("input", "conv1x1", "conv1x1", "made_se3x3", "made_plain1x1"), ((0, 1), (0, 2), (1, 3), (2, 3), (0, 4)))


@pytest.fixture(autouse=True)
def own():
    """The module of tests/helpers that registers OWN, imported anew."""
    with own_operators_registered() as module:
        yield module


def measured(module, *shape):
    """Params and MACs as torch counts them, activations by hooks."""
    elements = []
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(lambda module, inputs, output: elements.append(output.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *shape, device="meta"))
    return Cost(sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2, sum(elements))


@pytest.mark.parametrize("name", OWN)
def test_an_own_operator_costs_what_its_module_does(name):
    rng = random.Random(name)
    sizes = [(rng.randint(1, 90), rng.randint(1, 90), rng.randint(1, 20), rng.randint(1, 20)) for _ in range(12)]
    for channels, width, *resolution in [*sizes, (640, 320, 7, 7)]:
        module = OPERATORS[name].build(channels, width, device="meta").eval()
        assert operator_cost(name, channels, width, tuple(resolution)) == measured(module, channels, *resolution)


def test_a_cell_with_own_operators_costs_what_its_module_does(random_cell):
    rng = random.Random(0)
    for _ in range(12):
        cell = random_cell(rng, rng.randint(3, 8), 0.5, (*OWN, "conv1x1", "sepconv3x3"))
        channels, width, size = rng.randint(1, 30), rng.randint(1, 20), (rng.randint(1, 20), rng.randint(1, 20))
        module = CellModule(cell, channels, width, device="meta").eval()
        assert cell_cost(cell, channels, width, size) == measured(module, channels, *size)


@pytest.mark.long
def test_the_operators_that_ship_cost_by_counting_what_their_formulas_say():
    for name, operator in operators.BUILT_IN.items():
        by_counting = gemnet.counting.CountedCost(name, operator.build)
        if operator.cost.affine:
            assert by_counting.affine
        for shape in ((3, 5, (7, 9)), (48, 16, (1, 1)), (131, 257, (14, 3))):
            assert by_counting.count(*shape) == operator.cost(*shape)


@pytest.mark.long
def test_a_network_of_own_operators_fits_a_budget_as_exactly_as_any():
    for name in ("made_se3x3", "made_rounded3x3"):
        fitted = gemnet.fit(Cell(("input", name, "conv1x1"), ((0, 1), (0, 2), (1, 2))), 60e6, 1.5e6)
        assert 0.95 * 60e6 <= fitted.cost.macs <= 60e6
        network = gemnet.GEMNet(fitted.architecture, device="meta").eval()
        assert measured(network, 3, 224, 224) == fitted.cost == network_cost(fitted.architecture)


@pytest.mark.long
def test_timm_builds_a_network_of_own_operators_that_trains_scripts_traces_and_exports():
    model = timm.create_model("gemnet", cell=Cell(*CELL), target_macs=40e6, num_classes=5, residual=True)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        for other in (torch.jit.script(model), torch.fx.symbolic_trace(model), torch.export.export(model, (x,)).module()):
            torch.testing.assert_close(other(x), expected, rtol=1e-4, atol=1e-5)


def test_fusion_leaves_an_own_operator_exactly_as_it_is(settled):
    model = settled(timm.create_model("gemnet", cell=Cell(*CELL), target_macs=40e6, num_classes=5)).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with pytest.warns(UserWarning, match="fused: .* of BatchNorm2d cannot be folded"):
        found = fused(model)
    with torch.no_grad():
        torch.testing.assert_close(found(x), model(x), rtol=1e-11, atol=1e-11)
    before = [m.state_dict() for m in model.modules() if type(m).__name__ == "SqueezeExciteConv"]
    after = [m.state_dict() for m in found.modules() if type(m).__name__ == "SqueezeExciteConv"]
    assert before
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert len([m for m in found.modules() if isinstance(m, nn.Conv2d)]) < len(
        [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    )  # the plain siblings beside them are merged


class NormBetween(nn.Module):
    """Built of our own units, which it runs in an order of its own."""

    def __init__(self, in_channels, out_channels, **layers):
        super().__init__()
        self.unit = gemnet.layers.ConvNormAct(in_channels, out_channels, 1, **layers)

    def forward(self, x):
        return self.unit.bn(self.unit.conv(x).tanh())


def test_fusion_folds_nothing_in_an_operator_whose_order_it_does_not_know(settled):
    register_operator("made_between")(NormBetween)
    module = settled(CellModule(Cell(("input", "made_between", "conv1x1"), ((0, 1), (1, 2))), 4, 4)).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(fused(module)(x), module(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("change", [{"dilation": (2, 2), "padding": (2, 2)}, {"padding_mode": "circular"}])
def test_siblings_whose_convolutions_work_differently_are_not_merged(change, settled):
    module = settled(CellModule(Cell(("input", "conv3x3", "conv3x3"), ((0, 1), (0, 2))), 4, 4)).double()
    for name, value in change.items():
        setattr(module.nodes[1].operator.conv, name, value)
    module.nodes[1].operator.conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fused(module)(x), module(x), rtol=1e-11, atol=1e-11)


def test_an_operator_with_its_own_initialisation_keeps_it():
    @register_operator("made_zero")
    class Zero(nn.Conv2d):
        def __init__(self, in_channels, out_channels, device=None, dtype=None, **layers):
            super().__init__(in_channels, out_channels, 1, device=device, dtype=dtype)

        def init_weights(self):
            nn.init.zeros_(self.weight)

    model = timm.create_model("gemnet", cell=Cell(("input", "made_zero", "conv1x1"), ((0, 1), (1, 2))), target_macs=30e6)
    first, second = (node.operator for node in model.stages[0].cells[0].nodes)
    assert not first.weight.any()
    assert second.conv.weight.all()


def test_a_pickled_cell_takes_its_operators_to_a_process_that_does_not_know_them():
    cell = Cell(*CELL)
    data = pickle.dumps(cell)
    for name in OWN:
        unregister_operator(name)
    del sys.modules["own_operators"]
    with pytest.raises(CellError, match="unknown operator 'made_se3x3'"):
        Cell(*CELL)
    again = pickle.loads(data)
    assert again == cell == Cell(*CELL)
    CellModule(again, 3, 4)(torch.randn(2, 3, 5, 5))


def test_a_cell_of_built_in_operators_is_pickled_without_anything_else():
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    assert b"own_operators" not in pickle.dumps(cell)
    assert pickle.loads(pickle.dumps(cell)) == cell
    assert pickle.loads(pickle.dumps(OPERATORS["conv1x1"])) is OPERATORS["conv1x1"]


def test_a_cell_file_with_an_unregistered_operator_is_refused_with_the_remedy_and_imports_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somebodys.py").write_text("raise SystemExit('imported')")
    for name in ("unheard_of", "somebodys", "somebodys:Operator"):
        text = f'{{"format": "gemnet.cell", "version": 1, "nodes": ["input", "{name}"], "edges": [[0, 1]]}}'
        with pytest.raises(CellError) as caught:
            Cell.from_json(text, "mine.json")
        assert str(caught.value).startswith(f"mine.json: nodes[1]: unknown operator '{name}'; expected one of conv1x1, ")
        assert "first import the module that registers it (gemnet.register_operator)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("conv1x1", "'conv1x1' is taken, by gemnet.operators:"),
        ("input", "'input' is taken, by the input of every cell"),
        ("skip_connect", "'skip_connect' is taken, by NAS-Bench-201"),
        ("made_se3x3", "'made_se3x3' is taken, by own_operators:SqueezeExciteConv"),
        ("module:name", "expected a name of letters"),
        ("", "expected a name of letters"),
        (nn.Conv2d, "expected a name of letters"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(name, told):
    with pytest.raises(OperatorError, match="operator") as caught:
        register_operator(name)(nn.Identity)
    assert told in str(caught.value)


def test_a_module_that_is_imported_again_registers_its_operators_again(own):
    before = OPERATORS["made_se3x3"]
    importlib.reload(own)
    assert OPERATORS["made_se3x3"].build is own.SqueezeExciteConv is not before.build


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda i, o, **layers: nn.Conv2d(i, o, 3), "makes [1, 8, 5, 5] of [1, 4, 7, 7]; expected [1, 8, 7, 7]"),
        (lambda i, o, **layers: nn.Conv2d(i, i, 1), "makes [1, 4, 7, 7] of [1, 4, 7, 7]; expected [1, 8, 7, 7]"),
        (lambda i, o: nn.Conv2d(i, o, 1), "4 -> 8 channels cannot be counted at 7 x 7 (TypeError: "),
        (lambda i, o, **layers: nn.Conv2d(i, o, 1, groups=3), "4 -> 8 channels cannot be counted at 7 x 7 (ValueError: "),
    ],
)
def test_a_builder_that_makes_no_operator_is_refused_when_it_is_priced(build, told):
    register_operator("made_wrong")(build)
    with pytest.raises(OperatorError) as caught:
        operator_cost("made_wrong", 4, 8, (7, 7))
    assert told in str(caught.value)


def test_an_operator_for_some_channels_alone_is_priced_for_these():
    register_operator("made_grouped")(lambda i, o, **layers: nn.Conv2d(i, o, 1, groups=4, bias=False))
    assert operator_cost("made_grouped", 8, 16, (5, 5)) == Cost(32, 32 * 25, 16 * 25)
    with pytest.raises(OperatorError, match="6 -> 16 channels cannot be counted"):
        operator_cost("made_grouped", 6, 16, (5, 5))


def test_an_operator_whose_cost_is_not_linear_in_the_positions_is_counted_at_each_resolution():
    class Halving(nn.Module):
        def __init__(self, i, o, **layers):
            super().__init__()
            self.pool, self.conv = nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(i, o, 1, bias=False)

        def forward(self, x):
            return nn.functional.interpolate(self.conv(self.pool(x)), x.shape[2:])

    register_operator("made_halving")(Halving)
    for height, width in ((8, 8), (7, 7), (5, 14)):
        expected = -(-height // 2) * -(-width // 2) * 16 * 24
        assert operator_cost("made_halving", 16, 24, (height, width)).macs == expected


def test_a_cost_that_is_not_affine_though_it_is_said_to_be_is_refused():
    with pytest.raises(OperatorError, match=r"'made_square': its cost at 2 input channels is not affine in them"):
        register_operator("made_square", cost=lambda i, o, resolution: Cost(i * i, i * i, o), affine=True)


def test_an_operator_is_found_by_its_import_path_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_by_path.py").write_text(
        "from torch import nn\nfrom gemnet import register_operator\n"
        "def plain2(i, o, **layers):\n    return nn.Conv2d(i, o, 1)\n"
        "@register_operator('by_path')\ndef other(i, o, **layers):\n    return nn.Conv2d(i, o, 3, padding=1)\n"
    )
    assert operators.load("made_by_path:plain2").name == "plain2"
    assert operators.load("made_by_path:other").name == "by_path"
    assert [operators.NAMES[path].name for path in ("made_by_path:plain2", "made_by_path:other")] == ["plain2", "by_path"]
    for path in ("made_by_path:missing", "no_such_module_here:x", "conv9x9", ":x"):
        with pytest.raises(OperatorError, match=r"cannot be had .*expected module:builder"):
            operators.load(path)


def test_labels_of_ones_own_are_values_of_which_nothing_is_built():
    register_labels("my table", ["made_label"])
    cell = Cell(("input", "made_label"), ((0, 1),))
    assert not cell.buildable
    with pytest.raises(CellError, match="'made_label' is an operator of my table"):
        cell.check_buildable()
    with pytest.raises(OperatorError, match="found 'conv1x1'"):
        register_labels("my table", ["conv1x1"])


def test_own_operators_have_colours_of_their_own_whatever_else_is_registered(tmp_path):
    alone = operator_colours(["made_se3x3"])["made_se3x3"]
    for number in range(20):
        register_operator(f"made_{number}")(nn.Identity)
    colours = operator_colours([*OPERATORS, *operators.LABELS, "input"])
    assert len(set(colours.values())) == len(colours)
    assert {name: colours[name] for name in KNOWN} == KNOWN
    assert colours["made_se3x3"] == alone
    assert list(operator_colours(["made_se3x3", "output", "conv1x1", "input"])) == ["input", "conv1x1", "made_se3x3", "output"]
    gemnet.draw_cell(Cell(*CELL), tmp_path / "cell.svg")
    assert alone in (tmp_path / "cell.svg").read_text()


@pytest.mark.long
def test_the_page_on_operators_does_what_it_says(tmp_path, capsys):
    page = run_page("docs/extending/operator.md", tmp_path)
    fitted, model = page["fitted"], page["model"]
    assert fitted.summary() in capsys.readouterr().out
    assert model.architecture == fitted.architecture
    assert measured(gemnet.GEMNet(fitted.architecture, device="meta").eval(), 3, 224, 224) == fitted.cost
    assert operator_colours(["irse3x3"])["irse3x3"] in (tmp_path / "mine.svg").read_text()
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(torch.jit.script(model.eval())(x), model(x), rtol=1e-4, atol=1e-5)
    module = page["linear"](16, 24, device="meta")
    assert measured(module, 16, 5, 7) == page["cost"](16, 24, (5, 7))


def test_counting_gives_what_a_forward_pass_gives_and_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    outputs, cost = counted(nn.Sequential(nn.Conv2d(3, 8, 3, device="meta")), torch.empty(2, 3, 5, 5, device="meta"))
    assert (outputs.shape, cost) == ((2, 8, 3, 3), Cost(8 * 27 + 8, 2 * 9 * 27 * 8, 2 * 8 * 9))
    operator_cost("made_rounded3x3", 24, 24, (7, 7))
    assert torch.equal(state, torch.get_rng_state())
