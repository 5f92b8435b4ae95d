import json
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import group_parameters, save_for_hf
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

import gemnet
from gemnet.complexity import network_cost
from gemnet.core.errors import UserError

TINY = {"target_macs": 40e6, "target_params": 1.2e6}


@pytest.fixture(scope="module")
def cell_file(tmp_path_factory):
    cell = gemnet.Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2)))
    path = tmp_path_factory.mktemp("cell") / "mine.json"
    cell.save(path)
    return str(path)


@pytest.fixture(scope="module")
def create(cell_file):
    return lambda **settings: timm.create_model("gemnet", **{"cell": cell_file, **TINY, **settings})


@pytest.mark.parametrize(("name", "params", "macs"), [("gemnet_a", 4.3e6, 463e6), ("gemnet_b", 4.5e6, 563e6)])
def test_shipped_models_are_within_9_percent_below_the_papers_table_1(name, params, macs):
    model = timm.create_model(name)
    cost = network_cost(model.architecture)
    assert 0.99 * params <= sum(p.numel() for p in model.parameters()) == cost.params <= params
    assert 0.915 * macs <= cost.macs <= macs  # room is left for the detectors, which are counted at 800 x 1333


@pytest.mark.parametrize("name", ["gemnet_a", "gemnet_b"])
def test_shipped_cells_say_where_they_come_from(name):
    provenance = gemnet.Cell.shipped(name).provenance
    assert {"search", "seed", "accuracy", "macs", "score"} <= set(provenance)


def test_eager_and_scripted_gemnet_a_agree_at_224():
    torch.manual_seed(0)
    model = timm.create_model("gemnet_a").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        y = model(x)
        assert y.shape == (1, 1000)
        assert torch.allclose(y, torch.jit.script(model)(x), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemnet_a", "gemnet_b"])
def test_eager_traced_exported_and_compiled_shipped_models_agree_at_224(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = torch.randn(2, 3, 224, 224)
    torch._dynamo.reset()
    with torch.no_grad():
        y = model(x)
        exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", max=64)},)).module()
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        for other in (torch.jit.trace(model, x), torch.fx.symbolic_trace(model), exported, compiled):
            assert torch.allclose(y, other(x), atol=1e-5)


def test_any_cell_builds_at_any_budget_from_a_file_a_cell_or_a_name(create, cell_file):
    cell = gemnet.Cell.load(cell_file)
    for given in (cell_file, cell):
        model = create(cell=given)
        cost = network_cost(model.architecture)
        assert model.architecture.cell == cell
        assert 0.99 * 40e6 <= cost.macs <= 40e6
        assert 0.99 * 1.2e6 <= cost.params <= 1.2e6
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 1000)
    assert create(cell="gemnet_b").architecture.cell == gemnet.Cell.shipped("gemnet_b")


def test_the_budget_counts_1000_classes_whatever_the_classifier_so_that_backbones_match(create):
    one, two = (create(num_classes=n, in_chans=c) for n, c in ((10, 1), (1000, 3)))
    assert one.architecture == two.architecture


def test_a_residual_network_costs_the_same_and_computes_something_else(create):
    plain, residual = create().eval(), create(residual=True, target_macs=40e6).eval()
    assert network_cost(plain.architecture) == network_cost(residual.architecture)
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert any(cell.residual for stage in residual.stages for cell in stage.cells)
    assert not torch.allclose(plain.forward_features(x), residual.forward_features(x))


@pytest.mark.parametrize("feature_cls", ["list", "getter", "fx"])
@pytest.mark.parametrize("out_indices", [(1, 2, 3, 4), (0, 2), (-1,)])
def test_features_at_every_stride(create, feature_cls, out_indices):
    model = create(features_only=True, out_indices=out_indices, feature_cls=feature_cls)
    taken = [range(5)[i] for i in out_indices]
    reductions = [2, 4, 8, 16, 32]
    assert model.feature_info.reduction() == [reductions[i] for i in taken]
    for size in ((224, 224), (33, 47)):
        features = model(torch.randn(1, 3, *size))
        assert [f.shape[1] for f in features] == model.feature_info.channels()
        assert [f.shape[2:] for f in features] == [tuple(-(-s // reductions[i]) for s in size) for i in taken]


def test_a_detector_may_train_the_features_with_gradient_checkpointing(create):
    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for enable in (False, True):
        torch.manual_seed(0)
        model = create(features_only=True).train()
        model.set_grad_checkpointing(enable)
        sum(f.square().mean() for f in model(x)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("in_chans", [1, 4])
def test_input_channels_classes_pooling_and_dropout(create, in_chans):
    model = create(in_chans=in_chans, num_classes=5, drop_rate=0.3, global_pool="max")
    assert model(torch.randn(2, in_chans, 40, 40)).shape == (2, 5)
    assert (model.in_chans, model.num_classes, model.drop_rate, model.head_drop.p) == (in_chans, 5, 0.3, 0.3)
    assert model.global_pool.pool_type == "max"
    assert create(num_classes=0)(torch.randn(2, 3, 40, 40)).shape == (2, model.num_features)
    model.reset_classifier(9, "avg")
    assert model(torch.randn(2, in_chans, 40, 40)).shape == (2, 9)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_comes_back(create, tmp_path, suffix):
    torch.manual_seed(0)
    model = create()
    path = str(tmp_path / f"weights{suffix}")
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    again = create(checkpoint_path=path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_weights_from_a_file_adapt_to_other_input_channels_and_classes(create, tmp_path):
    model = create().eval()
    path = str(tmp_path / "weights.safetensors")
    save_file(model.state_dict(), path)
    other = create(pretrained=True, pretrained_cfg_overlay={"file": path}, in_chans=1, num_classes=3).eval()
    assert torch.allclose(other.stem.conv.weight, model.stem.conv.weight.sum(1, keepdim=True))
    grey = torch.randn(1, 1, 64, 64)
    assert torch.allclose(other.forward_features(grey), model.forward_features(grey.expand(-1, 3, -1, -1)), atol=1e-4)
    features = create(pretrained=True, pretrained_cfg_overlay={"file": path}, features_only=True).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = model.forward_intermediates(x, intermediates_only=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, features(x), strict=True))


@pytest.mark.parametrize("coarse", [False, True])
def test_layer_decay_orders_layers_from_stem_to_classifier(create, coarse):
    model = create()
    groups = group_parameters(model, model.group_matcher(coarse))
    layer = {name: i for i, names in groups.items() for name in names}
    assert set(layer) == {name for name, _ in model.named_parameters()}
    by_cell = {}
    for name, number in layer.items():
        parts = name.split(".")
        cell = (int(parts[1]), 0 if coarse else int(parts[3])) if parts[0] == "stages" else parts[0]
        by_cell.setdefault(cell, set()).add(number)
    cells = sorted(key for key in by_cell if isinstance(key, tuple))
    order = [by_cell[key] for key in ("stem", *cells)]
    assert order == [{i} for i in range(len(order))]
    assert by_cell["head_conv"] == by_cell["classifier"] == {len(order)} or not coarse
    assert max(by_cell["head_conv"]) <= max(by_cell["classifier"])


def test_layer_decay_scales_fall_from_classifier_to_stem_and_norms_do_not_decay(create):
    model = create()
    scale, decay = {}, {}
    for group in param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5):
        for p in group["params"]:
            scale[p], decay[p] = group["lr_scale"], group["weight_decay"]
    assert scale[model.classifier.weight] == 1
    assert min(scale.values()) == scale[model.stem.conv.weight] < scale[model.stages[0].cells[0].nodes[0].operator.conv.weight]
    assert {decay[p] for p in model.parameters() if p.ndim > 1} == {0.05}
    assert {decay[p] for p in model.parameters() if p.ndim == 1} == {0}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"cell": "gemnet_z"}, gemnet.CellError, "no shipped cell is named 'gemnet_z'; expected one of gemnet_a, gemnet_b"),
        ({"cell": "nowhere.json"}, gemnet.CellError, r"nowhere\.json: cannot be read: No such file"),
        ({"cell": 5}, gemnet.CellError, "expected a Cell, a cell file or the name of a shipped cell, found 5"),
        ({"target_macs": 1e3}, gemnet.BudgetError, "it reaches [0-9.]+ M to [0-9.]+ M MACs"),
        ({"target_params": "4.3M"}, UserError, "target_params: expected a number above 0, or None, found '4.3M'"),
        ({"output_stride": 16}, ValueError, "output_stride=16 is not offered: .* expected 32"),
        ({"features_only": True, "output_stride": 8}, ValueError, "output_stride=8 is not offered"),
        ({"pretrained": True}, RuntimeError, "No pretrained weights exist for gemnet"),
        ({"not_a_setting": 1}, TypeError, "not_a_setting"),
    ],
)
def test_what_is_not_offered_is_refused_clearly(create, settings, error, message):
    with pytest.raises(error, match=message):
        create(**settings)


def test_the_data_settings_are_imagenets():
    config = timm.data.resolve_data_config(model=timm.create_model("gemnet_a"))
    assert config["input_size"] == (3, 224, 224)
    assert config["mean"] == timm.data.IMAGENET_DEFAULT_MEAN
    assert config["std"] == timm.data.IMAGENET_DEFAULT_STD


class TestCellsAsValues:
    def test_a_cell_comes_as_what_its_file_holds(self, create, cell_file):
        document = json.loads(Path(cell_file).read_text())
        assert create(cell=document).architecture == create(cell=cell_file).architecture
        tuples = {**document, "nodes": tuple(document["nodes"]), "edges": tuple(map(tuple, document["edges"]))}
        assert create(cell=tuples).architecture.cell == gemnet.Cell.load(cell_file)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, "version: expected 1, found 2"),
            ({"edges": [[1, 0]]}, "does not go forward"),
            ({"colour": 1}, "unknown key 'colour'"),
            ({"provenance": {"a": object()}}, "expected JSON values"),
            ({"provenance": {"a": float("nan")}}, "NaN is no JSON number"),
        ],
    )
    def test_a_document_that_is_no_cell_is_told(self, change, message, create, cell_file):
        with pytest.raises(gemnet.CellError, match=message):
            create(cell=json.loads(Path(cell_file).read_text()) | change)

    @pytest.mark.parametrize("form", ["file", "cell", "document", "shipped"])
    def test_a_model_that_timm_saves_comes_back_from_its_folder_alone(self, form, create, cell_file, tmp_path):
        own = tmp_path / "own.json"
        own.write_text(Path(cell_file).read_text())
        cell = {
            "file": str(own),
            "cell": gemnet.Cell.load(own),
            "document": json.loads(own.read_text()),
            "shipped": "gemnet_b",
        }[form]
        settings = {"num_classes": 4, "act_layer": "silu", "residual": True, "in_chans": 1, "target_macs": 50e6}
        model = create(cell=cell, **settings).eval()
        own.unlink()
        given = None if model._model_args else {"cell": json.loads(model.architecture.cell.to_json()), **TINY, **settings}
        save_for_hf(model, str(tmp_path / "saved"), model_args=given, safe_serialization="both")  # an older timm keeps none
        again = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True).eval()
        assert again.architecture == model.architecture
        x = torch.randn(1, 1, 40, 40)
        assert torch.equal(again(x), model(x))
        adapted = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True, num_classes=7, features_only=True)
        assert torch.equal(
            adapted.stages_0.cells[0].nodes[0].operator.conv.weight, model.stages[0].cells[0].nodes[0].operator.conv.weight
        )


@pytest.mark.parametrize("feature_cls", ["list", "dict", "hook", "fx", "getter"])
@pytest.mark.parametrize("out_indices", [(3, 1), [4, 0, -2], (1, 1), 2])
def test_maps_come_in_timms_order_and_feature_info_has_the_same(feature_cls, out_indices, create):
    model, x = create(features_only=True, out_indices=out_indices, feature_cls=feature_cls), torch.randn(1, 3, 64, 64)
    taken = range(5)[-out_indices:] if isinstance(out_indices, int) else sorted({range(5)[i] for i in out_indices})
    maps = model(x)
    maps = list(maps.values()) if isinstance(maps, dict) else maps
    assert [64 // m.shape[2] for m in maps] == model.feature_info.reduction() == [2 ** (i + 1) for i in taken]
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    theirs = timm.create_model("starnet_s050", features_only=True, out_indices=[-1, 1], feature_cls=feature_cls)(x)
    theirs = list(theirs.values()) if isinstance(theirs, dict) else theirs
    assert theirs[0].shape[2] > theirs[1].shape[2]  # fine to coarse, however they were asked for


@pytest.mark.parametrize("out_indices", [9, 0, -1, (7,), (-6,), (), (1.5,), "12"])
def test_maps_that_are_not_there_are_told_with_their_range(out_indices, create):
    for feature_cls in ("list", "getter"):
        with pytest.raises(
            UserError, match=r"out_indices=.*expected the last 1 to 5 maps as a number, or numbers from -5 to 4"
        ):
            create(features_only=True, out_indices=out_indices, feature_cls=feature_cls)


def test_settings_that_are_not_known_are_told_with_those_that_are(create):
    with pytest.raises(
        TypeError, match=r"takes no drop_pathrate; did you mean drop_path_rate\?; expected cell, .*act_layer, .*features_only"
    ):
        create(drop_pathrate=0.1)
    with pytest.raises(TypeError, match=r"gemnet_a takes no cell.*only of the model gemnet"):
        timm.create_model("gemnet_a", cell="mine.json")
    with pytest.raises(UserError):
        timm.create_model("gemnet_b", colour=1)


def test_an_activation_and_a_normalisation_come_by_name_or_class(create):
    torch.manual_seed(0)
    for act, kind in (
        ("silu", nn.SiLU),
        ("hard_swish", nn.Hardswish),
        (nn.SiLU, nn.SiLU),
        (partial(nn.LeakyReLU, 0.2), nn.LeakyReLU),
    ):
        model = create(act_layer=act)
        assert {type(m.act) for m in model.modules() if hasattr(m, "act")} == {kind}
    for norm, kind in (
        ("batchnorm2d", nn.BatchNorm2d),
        ("groupnorm1", timm.layers.GroupNorm1),
        ("frozenbatchnorm2d", FrozenBatchNorm2d),
    ):
        model = create(norm_layer=norm, num_classes=3)
        assert {type(m.bn) for m in model.modules() if hasattr(m, "bn")} == {kind}
        assert model(torch.randn(2, 3, 40, 40)).shape == (2, 3)
    model = create(act_layer="prelu", norm_layer="frozenbatchnorm2d", device="meta", dtype=torch.float16)
    assert {(t.device.type, t.dtype) for t in (*model.parameters(), *model.buffers())} == {("meta", torch.float16)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"act_layer": "siluu"}, "act_layer='siluu': did you mean 'silu'"),
        ({"act_layer": nn.ReLU()}, "expected a name as 'relu', or a class"),
        ({"norm_layer": "layernorm"}, "did you mean 'layernorm2d'"),
        ({"norm_layer": "groupnorm"}, r"norm_layer='groupnorm': not for \d+ channels"),
        ({"norm_layer": 3}, "expected a name as 'batchnorm2d', or a class"),
        ({"global_pool": "mean"}, "global_pool='mean' is not offered; expected 'avg', 'max'"),
        ({"global_pool": ""}, "a classifier of 1000 classes reads pooled features; set num_classes=0"),
        ({"drop_path_rate": 0.1}, "this network has none; build it with residual=True"),
        ({"drop_path_rate": 1.0, "residual": True}, "drop_path_rate: expected a number from 0 to below 1, found 1.0"),
        ({"drop_path_rate": "0.1"}, "drop_path_rate: expected a number"),
        ({"drop_rate": 2}, "drop_rate: expected a number from 0 to 1, found 2"),
        ({"num_classes": -1}, "num_classes: expected a whole number from 0, found -1"),
        ({"num_classes": 2.5}, "num_classes: expected a whole number from 0, found 2.5"),
        ({"in_chans": 0}, "in_chans: expected a whole number from 1, found 0"),
        ({"features_only": True, "out_indices": (True,)}, r"out_indices=\(True,\): expected"),
    ],
)
def test_layers_that_are_not_offered_are_told_with_those_that_are(settings, message, create):
    with pytest.raises(UserError, match=message):
        create(**settings)


@pytest.mark.parametrize("classes", [2.5, -3, True])
def test_a_classifier_of_no_number_of_classes_is_refused_and_the_one_there_stays(classes, create):
    model = create(num_classes=7)
    with pytest.raises(UserError, match="num_classes: expected a whole number from 0"):
        model.reset_classifier(classes)
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
