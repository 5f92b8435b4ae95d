"""The weights that ship: what they are, who takes them, and that no network is needed."""

import json
import socket

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import gemnet
from gemnet.core.errors import UserError
from gemnet.model_table import MODELS, shipped_weights, weights_address, weights_file
from gemnet.weights import WeightsError

LARGEST = 9 * 2**20
"""Bytes of a file."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", shipped_weights())
def test_a_file_is_small_and_tells_how_it_was_made(name):
    file = weights_file(name)
    assert file.stat().st_size <= LARGEST
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["gemnet"])
    assert told["teacher"] == "efficientnet_lite2"
    assert told["model"] == name
    assert {"seed", "image_size", "epochs", "digest", "views"} <= set(told)
    assert "/" not in json.dumps(told)  # no folder of the machine that made it


@pytest.mark.parametrize("name", shipped_weights())
def test_timm_builds_a_model_with_them_without_a_network(name):
    held = load_file(weights_file(name))
    state = timm.create_model(name, pretrained=True).state_dict()
    assert {key for key in state if not key.endswith("num_batches_tracked")} <= set(held)
    assert all(torch.equal(state[key], value.to(state[key].dtype)) for key, value in held.items())
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())


@pytest.mark.parametrize("name", shipped_weights())
def test_they_fit_any_number_of_classes_and_channels_and_features(name):
    whole = timm.create_model(name, pretrained=True).eval()
    other = timm.create_model(name, pretrained=True, num_classes=7, in_chans=1).eval()
    pixels = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert other(pixels).shape == (2, 7)
        found, known = other.forward_features(pixels), whole.forward_features(pixels.expand(-1, 3, -1, -1))
        assert (found - known).abs().max() <= 1e-5 * known.abs().max()
        maps = timm.create_model(name, pretrained=True, features_only=True).eval()(pixels.expand(-1, 3, -1, -1))
        expected = whole.forward_intermediates(pixels.expand(-1, 3, -1, -1), intermediates_only=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(maps, expected, strict=True))


@pytest.mark.parametrize("name", shipped_weights())
def test_they_are_not_mistaken_for_weights_of_imagenet(name):
    (tagged,) = [tag for tag in timm.list_models(f"{name}.*", pretrained=True)]
    assert tagged == f"{name}.{MODELS[name].weights}"
    assert "in1k" not in tagged
    assert "not an ImageNet classifier" in timm.create_model(name).pretrained_cfg["description"]
    assert timm.create_model(f"{name}.untrained").pretrained_cfg.get("file") is None


def test_where_no_weights_ship_it_is_told():
    known = "gemnet_a, gemnet_b, gemnet_a_small"
    with pytest.raises(UserError, match=f"gemnet_c: no weights ship for it; there are weights of {known}"):
        weights_file("gemnet_c")


def test_a_model_of_a_shipped_cell_has_none_of_its_weights():
    gemnet.register_model("gemnet_of_mine", "gemnet_b", macs=60e6)
    try:
        with pytest.raises(RuntimeError, match="No pretrained weights exist"):
            timm.create_model("gemnet_of_mine", pretrained=True)
    finally:
        MODELS.pop("gemnet_of_mine")


def test_a_backbone_takes_them_by_their_address():
    pytest.importorskip("mmdet")
    from gemnet.openmmlab.backbone import GEMNet

    for name in shipped_weights():
        backbone = GEMNet(
            arch=name, out_indices=(2, 3, 4), init_cfg={"type": "Pretrained", "checkpoint": weights_address(name)}
        )
        backbone.init_weights()
        held = load_file(weights_file(name))
        state = backbone.state_dict()
        assert all(torch.equal(value, held[key].to(value.dtype)) for key, value in state.items() if key in held)
        assert set(state) <= {*held, *(key for key in state if key.endswith("num_batches_tracked"))}
    with pytest.raises(WeightsError, match="gemnet://gemnet_c: no such name; near are gemnet_"):
        GEMNet(arch="a", init_cfg={"type": "Pretrained", "checkpoint": "gemnet://gemnet_c"}).init_weights()
    with pytest.raises(WeightsError, match="gemnet_b"):  # of another network
        GEMNet(arch="a", init_cfg={"type": "Pretrained", "checkpoint": "gemnet://gemnet_b"}).init_weights()


@pytest.mark.parametrize("config", ["retinanet_gemnet_a", "faster_rcnn_gemnet_b", "rtmdet_gemnet_a", "gemnet_b_imagenet"])
def test_detectors_and_classifiers_start_from_them_when_asked(config):
    pytest.importorskip("mmdet")
    from gemnet.openmmlab import engine

    settings = engine.load_config(f"gemnet::{config}.py", None, None)
    engine.use_pretrained(settings, None)
    name = "gemnet_b" if "gemnet_b" in config else "gemnet_a"
    assert settings.model.backbone.init_cfg == {"type": "Pretrained", "checkpoint": f"gemnet://{name}"}


def test_another_cell_has_no_weights_of_its_own():
    pytest.importorskip("mmdet")
    from gemnet.openmmlab import engine

    settings = engine.load_config("gemnet::gemnet_cell_imagenet.py", None, None)
    with pytest.raises(UserError, match=r"--pretrained: no weights of this .*GEMNet ship; give a checkpoint"):
        engine.use_pretrained(settings, None)
