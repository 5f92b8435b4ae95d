"""A model more is one entry, for all that knows models by name."""

import inspect
import pickle
from pathlib import Path

import pytest
import timm
import torch
from doc_examples import run_page
from extensions import registries_restored
from fresh import run_code
from mmdet.registry import MODELS as MMDET_MODELS

import gemnet
from gemnet import models
from gemnet.bench import benchmark
from gemnet.core.errors import UserError
from gemnet.deploy.export import ExportError, create
from gemnet.model_table import MODELS, ModelEntry
from gemnet.openmmlab.backbone import out_channels
from search.experiments.trial.trial import shipped_cells

ROOT = Path(__file__).parents[2]
CELL = gemnet.Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (0, 2), (1, 2)))
NETWORK = {"widths": (4, 8, 16, 24, 32), "depths": (1, 1, 2, 1, 1), "head_width": 48, "stem_width": 8, "residual": False}


@pytest.fixture(autouse=True)
def restored():
    with registries_restored():
        yield
    for name in ("gemnet_c", "gemnet_d"):
        vars(models).pop(name, None)
        vars(gemnet).pop(name, None)


@pytest.fixture
def model(tmp_path):
    CELL.save(tmp_path / "c.json")
    gemnet.register_model(
        "gemnet_c", cell=tmp_path / "c.json", macs=30e6, params=1e6, title="GEMNet-C", source="a test", **NETWORK
    )
    return gemnet.Architecture(CELL, **NETWORK)


def test_timm_lists_builds_and_pickles_a_model_that_was_registered(model):
    assert {"gemnet", "gemnet_a", "gemnet_c"} <= set(timm.list_models("gemnet*"))
    network = timm.create_model("gemnet_c", num_classes=7, in_chans=1)
    assert network.architecture == model
    assert network(torch.randn(2, 1, 64, 64)).shape == (2, 7)
    assert network.pretrained_cfg["architecture"] == "gemnet_c"
    assert network.pretrained_cfg["input_size"] == (3, 224, 224)
    assert pickle.loads(pickle.dumps(models.gemnet_c)) is models.gemnet_c is gemnet.gemnet_c
    assert inspect.getdoc(gemnet.gemnet_c) == "GEMNet-C, within 1 M params and 30 M MACs at 224x224 (a test)."
    assert timm.create_model("gemnet_c", features_only=True).feature_info.channels() == list(model.stage_channels)


def test_mmdetection_builds_it_by_its_name_and_by_its_short_name(model):
    for arch in ("c", "gemnet_c"):
        backbone = MMDET_MODELS.build({"type": "gemnet.GEMNet", "arch": arch, "out_indices": (2, 3)})
        assert backbone.out_channels == model.stage_channels[2:4]
    assert out_channels("c", (2, 3)) == list(model.stage_channels[2:4])
    with pytest.raises(UserError, match=r"arch='z': expected 'a' or 'b' or 'a_small' or 'c'"):
        MMDET_MODELS.build({"type": "gemnet.GEMNet", "arch": "z"})


def test_export_benchmark_and_trial_offer_it(model):
    assert create("gemnet_c", features=True).architecture == model
    with pytest.raises(ExportError, match="expected gemnet_a, gemnet_b, gemnet_a_small, gemnet_c or gemnet"):
        create("gemnet_z")
    cost = gemnet.network_cost(model)
    assert benchmark.ours() == ["timm/gemnet_a", "timm/gemnet_b", "timm/gemnet_a_small", "timm/gemnet_c"]
    assert benchmark.cost("timm/gemnet_c") == (cost.params, cost.macs)
    assert shipped_cells() == {**{name: gemnet.Cell.shipped(name) for name in ("gemnet_a", "gemnet_b")}, "gemnet_c": CELL}


def test_models_of_one_cell_are_one_in_the_trial():
    gemnet.register_model("gemnet_d", cell="gemnet_a", macs=200e6)
    assert list(shipped_cells()) == ["gemnet_a", "gemnet_b"]
    assert gemnet.network_cost(models.architecture("gemnet_d")).macs == pytest.approx(200e6, rel=0.05)


def test_an_entry_in_the_table_is_all_that_the_package_wants():
    """In a process of its own: the table is read when timm's models are registered."""
    script = (
        "from gemnet.model_table import MODELS, ModelEntry\n"
        "MODELS['gemnet_c'] = ModelEntry('gemnet_c', 'GEMNet-C', 'gemnet_b', macs=100e6)\n"
        "import timm, gemnet\n"
        "from gemnet.openmmlab.backbone import GEMNet\n"
        "assert 'gemnet_c' in timm.list_models('gemnet*')\n"
        "timm.create_model('gemnet_c', num_classes=0)\n"
        "GEMNet(arch='c'), gemnet.gemnet_c\n"
    )
    result = run_code(script, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "resnet18"}, "name='resnet18' is taken"),
        ({"name": "gemnet"}, "name='gemnet' is taken"),
        ({"name": "default_cfgs"}, "name='default_cfgs' is taken"),
        ({"name": "gemnet-c"}, "name='gemnet-c': expected letters, digits and underscores"),
        ({"name": "gemnet_c", "width": 3}, "unknown 'width'; expected widths, depths, head_width or stem_width"),
    ],
)
def test_a_model_that_cannot_be_registered_is_refused(given, told):
    with pytest.raises(UserError) as caught:
        gemnet.register_model(**{"cell": "gemnet_a", "macs": 1e8, **given})
    assert told in str(caught.value)
    assert list(MODELS) == ["gemnet_a", "gemnet_b", "gemnet_a_small"]


def test_an_unknown_model_is_told_with_those_there_are():
    with pytest.raises(UserError, match="no model is called 'gemnet_z'; expected one of gemnet_a, gemnet_b, gemnet_a_small"):
        models.architecture("gemnet_z")


def test_every_entry_is_within_its_budget_and_its_cell_ships():
    for name, entry in MODELS.items():
        assert isinstance(entry, ModelEntry)
        cost = gemnet.network_cost(models.architecture(name))
        assert cost.macs <= entry.macs
        assert cost.params <= entry.params
        assert gemnet.Cell.shipped(entry.cell)


@pytest.mark.long
def test_the_page_on_models_does_what_it_says(tmp_path, capsys):
    page = run_page("docs/extending/model.md", tmp_path)
    told = capsys.readouterr().out
    assert 0.95 * 150e6 <= page["macs"] <= 150e6
    assert "differs by" in told
    assert (tmp_path / "gemnet_c.onnx").stat().st_size > 1e6
