"""The backbone for MMDetection and MMPretrain, after mmdet's own tests of its backbones."""

import importlib
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from fresh import run_code
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import gemnet
from gemnet.complexity import fit
from gemnet.core.errors import UserError
from gemnet.models import architecture
from gemnet.openmmlab.addresses import resolve
from gemnet.openmmlab.backbone import GEMNet, out_channels
from gemnet.openmmlab.features import FeatureBackbone

HEAD = architecture("gemnet_a").head_width
COMPILED = not isinstance(importlib.import_module("mmcv._ext"), gemnet.openmmlab.mmcv_ops.Extension)


def image(height=65, width=97, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def norms(module):
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize(
    "scope",
    [
        "mmengine",
        "mmpretrain",
        pytest.param(
            "mmdet", marks=pytest.mark.xfail(not COMPILED, strict=True, reason="mmdet alone needs mmcv's compiled operators")
        ),
    ],
)
def test_it_resolves_by_name_with_nothing_imported_before(scope):
    code = (
        f"from {scope}.registry import MODELS; b = MODELS.build(dict(type='gemnet.GEMNet', arch='a')); "
        "print(type(b).__module__, b.out_channels)"
    )
    result = run_code(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"gemnet.openmmlab.backbone {tuple(out_channels('a'))}"


@pytest.mark.parametrize("arch", ["a", "b"])
def test_the_maps_have_the_promised_channels_and_strides_on_odd_images(arch):
    backbone = MODELS.build({"type": "gemnet.GEMNet", "arch": arch, "out_indices": (0, 1, 2, 3, 4, 5)})
    outputs = backbone(image())
    assert [tuple(o.shape[2:]) for o in outputs] == [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4), (3, 4)]
    assert [o.shape[1] for o in outputs] == list(backbone.out_channels) == out_channels(arch, range(6))


def test_a_cell_file_with_a_budget_builds_what_timm_builds(tmp_path):
    cell = gemnet.Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2)))
    cell.save(tmp_path / "mine.json")
    backbone = GEMNet(cell=tmp_path / "mine.json", target_macs=200e6)
    network = timm.create_model("gemnet", cell=tmp_path / "mine.json", target_macs=200e6)
    own, theirs = backbone.state_dict(), network.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith("classifier")}
    assert list(backbone.out_channels) == out_channels(fit(cell, 200e6).architecture)
    plain, residual = (GEMNet(cell=tmp_path / "mine.json", target_macs=200e6, residual=r).eval() for r in (False, True))
    network = timm.create_model("gemnet", cell=cell, target_macs=200e6, residual=True).eval()
    for model in (plain, residual):
        model.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(residual(image())[-1], network.forward_features(image()))
        assert not torch.equal(plain(image())[-1], residual(image())[-1])


@pytest.mark.parametrize("arch", ["a", "b"])
def test_it_computes_what_the_timm_model_computes(arch):
    network = timm.create_model(f"gemnet_{arch}").eval()
    backbone = GEMNet(arch=arch, out_indices=(1, 2, 3, 4, 5))
    backbone.load_state_dict(network.state_dict(), strict=False)
    x = image()
    with torch.no_grad():
        last, intermediates = network.forward_intermediates(x)
        outputs = backbone.eval()(x)
    for ours, theirs in zip(outputs, [*intermediates[1:], last], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("frozen", [-1, 0, 1, 3, 5])
def test_frozen_stages_mean_what_they_mean_in_resnet(frozen):
    backbone = GEMNet(arch="a", frozen_stages=frozen).train()
    parts = [backbone.stem, *backbone.stages]
    for index, part in enumerate(parts):
        is_frozen = index <= frozen
        assert all(p.requires_grad != is_frozen for p in part.parameters())
        assert all(n.training != is_frozen for n in norms(part))
    assert all(p.requires_grad for p in backbone.head_conv.parameters())
    if frozen < 5:
        sum(o.sum() for o in backbone(image())).backward()
        assert all((p.grad is not None) == p.requires_grad for p in backbone.parameters())


def test_norm_eval_keeps_the_statistics():
    backbone = GEMNet(arch="a", norm_eval=True).train()
    before = [n.running_mean.clone() for n in norms(backbone)]
    backbone(image())
    assert before
    assert all(torch.equal(a, n.running_mean) for a, n in zip(before, norms(backbone)))
    assert all(p.requires_grad for p in backbone.parameters())


def test_checkpointing_changes_no_gradient():
    plain, saving = GEMNet(arch="a", norm_eval=True), GEMNet(arch="a", norm_eval=True, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    for backbone in (plain, saving):
        sum(o.square().mean() for o in backbone.train()(image())).backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize(
    ("norm_cfg", "kind"),
    [({"type": "SyncBN"}, nn.SyncBatchNorm), ({"type": "GN", "num_groups": 8}, nn.GroupNorm), ({"type": "BN"}, nn.BatchNorm2d)],
)
def test_norm_cfg_chooses_the_normalisation(norm_cfg, kind):
    backbone = GEMNet(arch="a", norm_cfg={**norm_cfg, "requires_grad": False})
    found = [m for m in backbone.modules() if isinstance(m, kind)]
    assert len(found) == len(norms(GEMNet(arch="a")))
    assert not any(p.requires_grad for m in found for p in m.parameters())


def test_what_no_output_needs_is_not_built():
    backbone = GEMNet(arch="a", out_indices=(1, 2))
    assert not [key for key in backbone.state_dict() if key.startswith(("stages.3", "head_conv"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of the two"),
        ({"arch": "a", "cell": "gemnet_a"}, "expected one of the two"),
        ({"arch": "c"}, "expected 'a' or 'b' or 'a_small'"),
        ({"arch": "a", "out_indices": (1, 6)}, "from 0 to 5"),
        ({"arch": "a", "out_indices": (1, -7)}, "out_indices=-7.*from 0 to 5"),
        ({"arch": "a", "out_indices": (5, -1)}, "rising"),
        ({"arch": "a", "out_indices": 6}, "out_indices=6"),
        ({"arch": "a", "out_indices": "3"}, "out_indices='3'"),
        ({"arch": "a", "out_indices": (1, "3")}, "out_indices='3'"),
        ({"arch": "a", "out_indices": 3.0}, "out_indices=3.0"),
        ({"arch": "a", "out_indices": (True,)}, "out_indices=True"),
        ({"arch": "a", "out_indices": None}, "out_indices=None"),
        ({"arch": "a", "frozen_stages": True}, "frozen_stages=True"),
        ({"arch": "a", "frozen_stages": 1.0}, "frozen_stages=1.0"),
        ({"arch": "a", "frozen_stages": "1"}, "frozen_stages='1'"),
        ({"arch": "a", "frozen_stages": -2}, "frozen_stages=-2"),
        ({"arch": "a", "norm_eval": "False"}, "norm_eval='False'"),
        ({"arch": "a", "with_cp": 1}, "with_cp=1"),
        ({"arch": "a", "in_channels": 0}, "in_channels=0"),
        ({"arch": "a", "norm_cfg": "BN"}, "norm_cfg='BN'"),
        ({"cell": "gemnet_a", "residual": "yes"}, "residual='yes'"),
        ({"cell": "gemnet_a", "target_macs": "463e6"}, "target_macs='463e6'"),
        ({"cell": "gemnet_a", "target_macs": float("nan")}, "target_macs=nan"),
        ({"cell": "gemnet_a", "target_params": 0}, "target_params=0"),
        ({"arch": "a", "init_cfg": "weights.pth"}, "init_cfg='weights.pth'.*Pretrained"),
        ({"arch": "a", "init_cfg": {"checkpoint": "weights.pth"}}, "type=None is not known"),
        ({"arch": "a", "init_cfg": {"type": "Pretrained"}}, "checkpoint=FILE"),
        ({"arch": "a", "init_cfg": [{"type": "Pretrained", "checkpoint": None}]}, "checkpoint=FILE"),
        ({"arch": "a", "init_cfg": {"type": "Pretrained", "checkpoint": "a.pth", "prefx": "x."}}, "prefx is not known"),
        ({"arch": "a", "out_indices": (3, 1)}, "rising"),
        ({"arch": "a", "out_indices": ()}, "rising"),
        ({"arch": "a", "frozen_stages": 6}, "up to 5 stages"),
        ({"arch": "a", "init_cfg": {"type": "Kaimin"}}, "'Kaimin' is not known; expected one of .*Kaiming"),
        ({"cell": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        GEMNet(**arguments)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, (3,)),
        (-1, (5,)),
        ([1, -1], (1, 5)),
        (np.int64(3), (3,)),
        (np.array([2, 3]), (2, 3)),
        (np.array(3), (3,)),
        (range(1, 4), (1, 2, 3)),
    ],
)
def test_out_indices_are_whole_numbers_of_any_kind_one_or_several(given, expected):
    backbone = GEMNet(arch="a", out_indices=given)
    assert backbone.out_indices == expected
    assert list(backbone.out_channels) == out_channels("a", given) == [o.shape[1] for o in backbone(image())]


def test_numpys_numbers_are_as_good_as_pythons():
    backbone = GEMNet(arch="a", frozen_stages=np.int64(2), norm_eval=np.bool_(True), in_channels=np.int32(3))
    assert backbone.frozen_stages == 2
    assert not any(p.requires_grad for p in backbone.stages[1].parameters())


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a detector with GEMNet-A."""
    state = {f"backbone.{key}": value for key, value in timm.create_model("gemnet_a", num_classes=0).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "detector.pth")
    return tmp_path / "detector.pth", state


@pytest.mark.parametrize(
    "form", ["a dict", "a list of one", "after others", "before others", "the class", "a prefix", "file://"]
)
def test_init_cfg_may_be_one_or_several_and_pretrained_weights_come_last(saved, form):
    file, state = saved
    pretrained = {"type": "Pretrained", "checkpoint": str(file)}
    other = {"type": "Constant", "val": 7.0, "layer": ["Conv2d", "BatchNorm2d"]}
    init_cfg = {
        "a dict": pretrained,
        "a list of one": [pretrained],
        "after others": [other, pretrained],
        "before others": [pretrained, other],
        "the class": {**pretrained, "type": PretrainedInit},
        "a prefix": {**pretrained, "prefix": "backbone."},
        "file://": {**pretrained, "checkpoint": f"file://{file}"},
    }[form]
    backbone = MODELS.build({"type": "gemnet.GEMNet", "arch": "a", "init_cfg": init_cfg})
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[f"backbone.{key}"]), key


def test_other_initialisers_are_mmengines():
    backbone = GEMNet(
        arch="a",
        init_cfg=[
            {"type": "Constant", "layer": "Conv2d", "val": 0.5},
            {"type": "Constant", "layer": "BatchNorm2d", "val": 2.0},
        ],
    )
    backbone.init_weights()
    assert all((m.weight == 0.5).all() for m in backbone.modules() if isinstance(m, nn.Conv2d))
    assert all((m.weight == 2).all() for m in norms(backbone))


@pytest.mark.parametrize("init_cfg", [None, {}, []])
def test_without_an_init_cfg_the_initialisation_of_the_network_stays(init_cfg):
    backbone = GEMNet(arch="a", init_cfg=init_cfg)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_an_initialiser_that_cannot_be_applied_is_told():
    with pytest.raises(UserError, match=r"init_cfg=.*Kaiming.*unexpected"):
        GEMNet(arch="a", init_cfg={"type": "Kaiming", "layer": "Conv2d", "mod": "fan_in"}).init_weights()


def test_mmengines_addresses_of_checkpoints_are_resolved():
    address = resolve("torchvision://mnasnet1_3")
    assert address == "https://download.pytorch.org/models/mnasnet1_3-a4c69d6f.pth"
    assert resolve("modelzoo://mnasnet1_3") == address
    assert resolve("open-mmlab://resnext101_32x4d").startswith("https://")
    assert resolve("openmmlab://resnet50_caffe") == resolve("open-mmlab://detectron/resnet50_caffe")
    assert resolve("mmcls://mobilenet_v2").startswith("https://")
    assert resolve(address) == address
    assert resolve("weights.pth") == "weights.pth"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("torchvision://mnasnet1_33", "mnasnet1_33: no such name; near are mnasnet1_3"),
        ("open-mmlab://nothing", "no such name"),
        ("timm://mobilenetv2_140", "timm:// is not read here.*torchvision://.*pretrained=True"),
        ("s3://bucket/weights.pth", "s3:// is not read here"),
    ],
)
def test_an_address_that_is_not_known_is_told(address, message):
    backbone = GEMNet(arch="a", init_cfg={"type": "Pretrained", "checkpoint": address})
    with pytest.raises(UserError, match=message):
        backbone.init_weights()


@pytest.mark.parametrize("address", ["torchvision://mnasnet1_3", "https://nowhere.invalid/weights.pth"])
def test_without_a_network_the_remedy_is_told(address, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    backbone = FeatureBackbone("torchvision/mnasnet1_3", ["layers.16"], init_cfg={"type": "Pretrained", "checkpoint": address})
    with pytest.raises(UserError, match=r"cannot be fetched \(Name or service not known\); without a network, give a file"):
        backbone.init_weights()


def test_torchvisions_own_weights_come_by_their_address(monkeypatch, tmp_path):
    source = torchvision.models.mnasnet1_3().state_dict()
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda address, file: torch.save(source, file))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    init_cfg = [{"type": "Pretrained", "checkpoint": "torchvision://mnasnet1_3"}]
    backbone = FeatureBackbone("torchvision/mnasnet1_3", "layers.16", init_cfg=init_cfg)
    backbone.init_weights()
    assert all(torch.equal(value, source[key]) for key, value in backbone.body.state_dict().items())


@pytest.mark.parametrize("model", ["timm/mobilenetv2_140", "torchvision/mnasnet1_3"])
def test_the_wrapper_gives_the_librarys_own_features(model):
    node = "bn2" if model.startswith("timm") else "layers.16"
    library, name = model.split("/")
    full = timm.create_model(name) if library == "timm" else __import__("torchvision").models.get_model(name)
    backbone = FeatureBackbone(model, [node])
    backbone.body.load_state_dict({k: v for k, v in full.state_dict().items() if not k.startswith("classifier")})
    x = image(64, 64)
    with torch.no_grad():
        expected = full.eval().forward_features(x) if library == "timm" else full.eval().layers(x)
        (found,) = backbone.eval()(x)
    assert torch.equal(found, expected)
    assert backbone.out_channels == (expected.shape[1],)


def test_the_wrapper_trains_its_normalisation_unless_norm_eval():
    for norm_eval in (False, True):
        backbone = FeatureBackbone("timm/mobilenetv2_140", ["blocks.1"], norm_eval=norm_eval).train()
        before = [n.running_mean.clone() for n in norms(backbone)]
        backbone(image(64, 64))
        assert all(torch.equal(a, n.running_mean) == norm_eval for a, n in zip(before, norms(backbone)))


def test_it_resolves_where_mmdet_is_not_installed():
    code = (
        "import importlib.util as util; find = util.find_spec; "
        "util.find_spec = lambda name, *rest: None if name.startswith('mmdet') else find(name, *rest); "
        "import sys; sys.modules['mmdet'] = None; from mmengine.registry import MODELS; "
        "print(MODELS.build(dict(type='gemnet.GEMNet', arch='a', out_indices=(5,))).out_channels)"
    )
    result = run_code(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"({HEAD},)"


def test_a_library_models_normalisation_keeps_its_momentum_unless_another_is_given():
    kept, given = (FeatureBackbone("torchvision/mnasnet1_0", ["layers.8"], bn_momentum=value) for value in (None, 0.1))
    assert all(norm.momentum == pytest.approx(0.0003) for norm in norms(kept))
    assert all(norm.momentum == 0.1 for norm in norms(given))


def test_the_wrapper_names_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"blocks\.9"):
        FeatureBackbone("timm/mobilenetv2_140", ["blocks.9"])
    with pytest.raises(ValueError, match="timm/NAME or torchvision/NAME"):
        FeatureBackbone("mobilenetv2_140", ["bn2"])
    with pytest.raises(ValueError, match="nonesuch"):
        FeatureBackbone("torchvision/nonesuch", ["bn2"])
    with pytest.raises(ValueError, match="expected names of modules"):
        FeatureBackbone("timm/mobilenetv2_140", [3])
    with pytest.raises(ValueError, match="pretrained='torchvision://mnasnet1_3'"):
        FeatureBackbone("torchvision/mnasnet1_3", ["layers.16"], pretrained="torchvision://mnasnet1_3")
    with pytest.raises(ValueError, match="sync_bn='no'"):
        FeatureBackbone("torchvision/mnasnet1_3", ["layers.16"], sync_bn="no")
    with pytest.raises(ValueError, match="bn_momentum=-1"):
        FeatureBackbone("torchvision/mnasnet1_3", ["layers.16"], bn_momentum=-1)
    with pytest.raises(ValueError, match="dropuot"):
        FeatureBackbone("torchvision/mnasnet1_3", ["layers.16"], dropuot=0.1)


def test_the_wrapper_reads_as_many_channels_as_its_model():
    backbone = FeatureBackbone("timm/mobilenetv2_100", ["blocks.1"], in_chans=1)
    assert backbone(image(32, 32)[:, :1])[0].shape[1] == backbone.out_channels[0]
