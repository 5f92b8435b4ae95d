import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

import gemnet
from gemnet.complexity import network_cost

TINY = {"target_macs": 60e6, "target_params": 2e6}


@pytest.fixture(scope="module")
def cell_file(tmp_path_factory):
    cell = gemnet.Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2)))
    path = tmp_path_factory.mktemp("cell") / "mine.json"
    cell.save(path)
    return str(path)


@pytest.mark.parametrize(("name", "params", "macs"), [("gemnet_a", 4.3e6, 463e6), ("gemnet_b", 4.5e6, 563e6)])
def test_shipped_models_are_within_1_percent_below_the_papers_table_1(name, params, macs):
    model = timm.create_model(name)
    cost = network_cost(model.architecture)
    assert 0.99 * params <= sum(p.numel() for p in model.parameters()) == cost.params <= params
    assert 0.99 * macs <= cost.macs <= macs


@pytest.mark.parametrize("name", ["gemnet_a", "gemnet_b"])
def test_shipped_cells_say_where_they_come_from(name):
    provenance = gemnet.Cell.shipped(name).provenance
    assert {"search", "seed", "accuracy", "macs", "score"} <= set(provenance)


def test_any_cell_file_builds_at_any_budget(cell_file):
    model = timm.create_model("gemnet", cell=cell_file, **TINY)
    cost = network_cost(model.architecture)
    assert cost.macs <= 60e6
    assert cost.params <= 2e6
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_the_budget_counts_1000_classes_whatever_the_classifier_so_that_backbones_match(cell_file):
    one, two = (timm.create_model("gemnet", cell=cell_file, num_classes=n, **TINY) for n in (10, 1000))
    assert one.architecture == two.architecture


def test_features_at_every_stride(cell_file):
    model = timm.create_model("gemnet", cell=cell_file, features_only=True, out_indices=(1, 2, 3, 4), **TINY)
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    features = model(torch.randn(1, 3, 100, 75))
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    assert [f.shape[2:] for f in features] == [(25, 19), (13, 10), (7, 5), (4, 3)]


def test_input_channels_classes_pooling_and_dropout(cell_file):
    model = timm.create_model("gemnet", cell=cell_file, in_chans=1, num_classes=5, drop_rate=0.3, global_pool="max", **TINY)
    assert model(torch.randn(2, 1, 40, 40)).shape == (2, 5)
    assert model.head_drop.p == 0.3
    assert (
        timm.create_model("gemnet", cell=cell_file, num_classes=0, **TINY)(torch.randn(2, 3, 40, 40)).shape[1]
        == model.num_features
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_comes_back(cell_file, tmp_path, suffix):
    torch.manual_seed(0)
    model = timm.create_model("gemnet", cell=cell_file, **TINY)
    path = str(tmp_path / f"weights{suffix}")
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    again = timm.create_model("gemnet", cell=cell_file, checkpoint_path=path, **TINY)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


def test_layer_decay_orders_layers_from_stem_to_classifier(cell_file):
    from timm.models import group_parameters

    model = timm.create_model("gemnet", cell=cell_file, **TINY)
    groups = group_parameters(model, model.group_matcher())
    layer = {name: i for i, names in groups.items() for name in names}
    assert set(layer) == {name for name, _ in model.named_parameters()}
    order = [layer[n] for n in ("stem.conv.weight", "stages.0.cells.0.nodes.0.operator.conv.weight", "head_conv.conv.weight")]
    order.append(layer["classifier.weight"])
    assert order == sorted(order)
    assert order[0] < order[1] < order[2]


def test_the_eager_and_the_scripted_gemnet_a_agree_at_224():
    model = timm.create_model("gemnet_a").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(model(x), torch.jit.script(model)(x), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"cell": "gemnet_z"}, gemnet.CellError, "no shipped cell is named 'gemnet_z'; expected one of gemnet_a, gemnet_b"),
        ({"cell": "nowhere.json"}, gemnet.CellError, r"nowhere\.json: cannot be read"),
        ({"target_macs": 1e3}, gemnet.BudgetError, "it reaches from"),
        ({"output_stride": 16}, ValueError, "output_stride=16 is not offered"),
        ({"pretrained": True}, RuntimeError, "pretrained"),
    ],
)
def test_what_is_not_offered_is_refused_clearly(settings, error, message):
    with pytest.raises(error, match=message):
        timm.create_model("gemnet", **settings)


def test_importing_gemnet_imports_neither_mm_packages_nor_what_only_drawing_and_the_search_need():
    code = "import sys, gemnet; print([m for m in ('mmengine', 'mmcv', 'mmdet', 'matplotlib', 'networkx', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr
