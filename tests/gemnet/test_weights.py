"""Checkpoints of timm, mmpretrain and mmdet, and files that are none."""

import contextlib
import os
import pickle
from argparse import Namespace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from gemnet.models import architecture
from gemnet.openmmlab.backbone import GEMNet
from gemnet.openmmlab.engine import ConfigError, use_start
from gemnet.openmmlab.features import FeatureBackbone
from gemnet.weights import WeightsError, load_classifier, load_weights, read_checkpoint, read_state_dict

HEAD = architecture("gemnet_a").head_width


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return timm.create_model("gemnet_a")


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


def forms(state):
    """The same weights as timm, mmpretrain, mmdet and a wrapped model save them."""
    inner = {k: v for k, v in state.items() if not k.startswith("classifier")}
    head = {"head.fc.weight": torch.zeros(10, HEAD)}
    neck = {"neck.lateral_convs.0.conv.weight": torch.zeros(256, 80, 1, 1), "bbox_head.retina_cls.bias": torch.zeros(720)}
    return {
        "timm": state,
        "timm nested": {"state_dict": state, "epoch": 3},
        "timm train.py": {
            "state_dict": state,
            "state_dict_ema": None,
            "args": Namespace(model="gemnet_a", opt_betas=(0.9, 0.99)),
        },
        "timm averaged": {"state_dict": zeros(state), "state_dict_ema": state, "epoch": 3},
        "torchvision averaged": {
            "model": zeros(state),
            "model_ema": {"n_averaged": torch.tensor(5), **prefixed(state, "module.")},
            "epoch": 3,
        },
        "a metric that is a tensor": {"state_dict": prefixed(state, "module."), "best_acc1": torch.tensor(76.0)},
        "timm DDP": prefixed(state, "module."),
        "compiled": prefixed(state, "_orig_mod."),
        "mmpretrain": {"meta": {"epoch": 3}, "state_dict": prefixed(inner, "backbone.") | head},
        "mmdet": {"state_dict": prefixed(inner, "backbone.") | neck, "message_hub": {"log": HistoryBuffer([1.0], [1])}},
        "mmdet DDP": {"state_dict": prefixed(prefixed(inner, "backbone.") | neck, "module.")},
    }


@pytest.mark.parametrize("form", list(forms({})))
def test_a_checkpoint_of_any_library_starts_the_backbone(form, network, tmp_path):
    torch.save(forms(network.state_dict())[form], tmp_path / "weights.pth")
    backbone = GEMNet(arch="a", init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")})
    backbone.init_weights()
    expected = network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())


def test_safetensors_and_a_given_prefix_load_too(network, tmp_path):
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(prefixed(network.state_dict(), "student."), file)
    backbone = GEMNet(arch="a", init_cfg={"type": "Pretrained", "checkpoint": str(file), "prefix": "student."})
    backbone.init_weights()
    assert torch.equal(backbone.stem.conv.weight, network.stem.conv.weight)


def test_a_backbone_without_the_last_stages_takes_the_whole_networks_checkpoint(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = GEMNet(arch="a", out_indices=(1, 2))
    load_weights(backbone, tmp_path / "weights.pth", ignore=backbone.unused_weights)
    assert torch.equal(backbone.stem.conv.weight, network.stem.conv.weight)


def test_the_wrapper_takes_the_librarys_checkpoint(tmp_path):
    model = timm.create_model("mobilenetv2_140")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    init = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    backbone = FeatureBackbone("timm/mobilenetv2_140", ["blocks.1", "bn2"], init_cfg=init)
    backbone.init_weights()
    assert torch.equal(backbone.body.conv_head.weight, model.conv_head.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "stem.conv.weight"}, "1 missing: stem.conv.weight"),
        (
            lambda s: s | {"stem.conv.weight": torch.zeros(8, 3, 3, 3)},
            r"of another shape: stem.conv.weight \(8, 3, 3, 3\), exp",
        ),
        (lambda s: s | {"stages.4.cells.2.extra": torch.zeros(1)}, "1 unexpected: stages.4.cells.2.extra"),
        (lambda s: timm.create_model("resnet10t").state_dict(), "missing: stem.conv.weight, .*86 unexpected: conv1.0.weight"),
        (lambda s: timm.create_model("gemnet_b").state_dict(), "another network"),
    ],
)
def test_a_mismatch_names_the_keys_and_changes_nothing(change, message, network, tmp_path):
    torch.save(change(network.state_dict()), tmp_path / "weights.pth")
    backbone = GEMNet(arch="a")
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as error:
        load_weights(backbone, tmp_path / "weights.pth", ignore=backbone.unused_weights)
    assert str(tmp_path / "weights.pth") in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.mkdir, Path.mkdir, eval])
def test_nothing_in_a_checkpoint_is_executed(function, zipped, network, tmp_path):
    target = tmp_path / "executed"
    argument = {os.mkdir: str(target), Path.mkdir: target, eval: f"__import__('os').mkdir({str(target)!r})"}[function]
    content = {"state_dict": network.state_dict(), "meta": Evil(function, argument)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with contextlib.suppress(WeightsError):  # refused, or read with something inert in its place
        state = read_state_dict(tmp_path / "evil.pth")
        assert torch.equal(state["stem.conv.weight"], network.stem.conv.weight)
    assert not target.exists()


def test_the_weights_that_a_run_starts_from_are_read_without_running_what_is_in_them(network, tmp_path):
    target, path = tmp_path / "executed", tmp_path / "evil.pth"
    torch.save({"state_dict": network.state_dict(), "meta": Evil(os.mkdir, str(target))}, path)
    config = Config({"load_from": str(path)})
    use_start(config)
    with pytest.raises(WeightsError, match=r"evil\.pth: not a checkpoint that can be read safely"):
        CheckpointLoader.load_checkpoint(config.load_from)
    assert not target.exists()
    torch.save({"state_dict": network.state_dict(), "meta": {"epoch": 3}}, path)
    state = CheckpointLoader.load_checkpoint(config.load_from)["state_dict"]
    assert torch.equal(state["stem.conv.weight"], network.stem.conv.weight)
    with pytest.raises(ConfigError, match=r"load_from=none.pth: no such checkpoint"):
        use_start(Config({"load_from": "none.pth"}))


def test_nothing_in_the_arguments_of_a_training_is_executed(network, tmp_path):
    target = tmp_path / "executed"
    content = {"state_dict": network.state_dict(), "args": Namespace(model="gemnet_a", hook=Evil(os.mkdir, str(target)))}
    torch.save(content, tmp_path / "evil.pth.tar")
    with contextlib.suppress(WeightsError):
        assert torch.equal(read_state_dict(tmp_path / "evil.pth.tar")["stem.conv.weight"], network.stem.conv.weight)
    assert not target.exists()


def test_a_checkpoint_that_holds_itself_is_told(tmp_path):
    content = {"epoch": 3}
    content["state_dict"] = content["model"] = content
    torch.save(content, tmp_path / "endless.pth")
    with pytest.raises(WeightsError, match=r"endless\.pth: holds no weights"):
        read_state_dict(tmp_path / "endless.pth")


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.to_sparse, lambda x: x.to("meta"), lambda x: x.to(torch.complex64)],
    ids=["sparse", "without data", "complex"],
)
def test_tensors_that_are_no_weights_are_told(change, network, tmp_path):
    content = network.state_dict()
    content["stem.conv.weight"] = change(content["stem.conv.weight"])
    torch.save({"state_dict": content}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth: stem\.conv\.weight: no weights to load; expected plain tensors"):
        read_state_dict(tmp_path / "odd.pth")


def test_another_number_of_classes_is_told_with_the_remedy(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = timm.create_model("gemnet_a", num_classes=10)
    told = (
        rf"weights\.pth: .*classifier.weight \(1000, {HEAD}\), expected \(10, {HEAD}\)"
        r".*1000 classes and the model for 10: set num_c"
    )
    for load in (load_weights, load_classifier):
        with pytest.raises(WeightsError, match=told):
            load(model, tmp_path / "weights.pth")
    with pytest.raises(RuntimeError, match=r"size mismatch for classifier\.weight"):  # timm's own
        timm.create_model("gemnet_a", num_classes=10, checkpoint_path=str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_checkpoint_is_told_and_changes_nothing(suffix, share, network, tmp_path):
    file, backbone = tmp_path / f"cut{suffix}", GEMNet(arch="a", out_indices=(1,))
    state = network.state_dict()
    safetensors.torch.save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    os.truncate(file, int(share * file.stat().st_size))
    before = backbone.stem.conv.weight.clone()
    with pytest.raises(WeightsError, match=rf"cut{suffix}: not a checkpoint that can be read"):
        load_weights(backbone, file, ignore=backbone.unused_weights)
    assert torch.equal(backbone.stem.conv.weight, before)


def test_the_attack_of_these_tests_works_where_nothing_guards(network, tmp_path):
    torch.save({"meta": Evil(os.mkdir, str(tmp_path / "executed"))}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "executed").exists()


def test_a_checkpoint_of_a_run_keeps_numbers_and_loses_its_objects(tmp_path):
    hub = {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}, "runtime_info": {"best_score": np.float64(0.25), "epoch": 3}}
    torch.save({"state_dict": {"a": torch.ones(2)}, "message_hub": hub, "times": np.arange(3.0)}, tmp_path / "epoch_3.pth")
    found = read_checkpoint(tmp_path / "epoch_3.pth")
    assert found["message_hub"]["runtime_info"] == {"best_score": 0.25, "epoch": 3}
    assert found["times"].tolist() == [0.0, 1.0, 2.0]
    assert not isinstance(found["message_hub"]["log_scalars"]["loss"], HistoryBuffer)


def test_mutated_checkpoints_are_read_or_told(tmp_path):
    rng = np.random.default_rng(0)
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": HistoryBuffer([1.0], [1])}, tmp_path / "whole.pth")
    content = np.frombuffer((tmp_path / "whole.pth").read_bytes(), np.uint8)
    told = 0
    for _ in range(600):
        mutated = content.copy()
        mutated[rng.integers(0, len(content), rng.integers(1, 8))] = rng.integers(0, 256)
        (tmp_path / "mutated.pth").write_bytes(mutated.tobytes())
        try:
            read_state_dict(tmp_path / "mutated.pth")
        except WeightsError as error:
            told += "mutated.pth" in str(error)
    assert told > 100


def test_files_of_one_name_from_two_addresses_are_two(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for number in (1, 2):
        (tmp_path / f"run{number}").mkdir()
        torch.save({"state_dict": {"a": torch.full((2,), float(number))}}, tmp_path / f"run{number}/epoch_1.pth")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    for number in (1, 2):
        state = read_state_dict(f"http://127.0.0.1:{server.server_port}/run{number}/epoch_1.pth")
        assert state["a"].tolist() == [number, number]
    server.shutdown()


def test_files_that_are_no_checkpoints_are_told(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save({"a": torch.zeros(1000)}, whole)
    cases = {
        "missing.pth": None,
        "empty.pth": b"",
        "text.pth": b"hello",
        "cut.pth": whole.read_bytes()[:-500],
        "pickle.pth": pickle.dumps({"a": 1}),
        "none.pth": None,
        "bad.safetensors": b"\xff" * 64,
        "no_weights.pth": "dict",
        "list.pth": [torch.zeros(2)],
        "number.pth": 7,
        "script.pth": torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)),
        "folder.pth": Path.mkdir,
    }
    for name, content in cases.items():
        file = tmp_path / name
        if content == "dict":
            torch.save({"epoch": 3, "state_dict": {}}, file)
        elif isinstance(content, torch.jit.ScriptModule):
            content.save(file)
        elif content is Path.mkdir:
            file.mkdir()
        elif isinstance(content, (list, int)):
            torch.save(content, file)
        elif content is not None:
            file.write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            read_state_dict(file)
