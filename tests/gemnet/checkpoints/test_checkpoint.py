"""Where a checkpoint keeps a network's weights: containers, prefixes, averaged and raw ones."""

from types import SimpleNamespace

import pytest
import safetensors.torch
import timm
import torch
from mmengine.hooks import EMAHook
from torch import nn
from torch.optim.swa_utils import AveragedModel

import gemnet
from gemnet.weights import WeightsError, convert, load_classifier, load_features, load_weights

CELL = gemnet.Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2)))


def tiny(**settings):
    return timm.create_model(
        "gemnet", **{"cell": CELL, "target_macs": 40e6, "target_params": 1.2e6, "num_classes": 5, **settings}
    )


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return tiny()


@pytest.fixture(scope="module")
def state(network):
    return network.state_dict()


def below(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


def body(state):
    return {key: value for key, value in state.items() if not key.startswith("classifier")}


def same(model, state):
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def saved(content, tmp_path, name="weights.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


PLACES = {
    **{f"a prefix {prefix}": lambda s, prefix=prefix: below(prefix, s) for prefix in (
        "ema.", "ema_", "ema_model.", "ema_model.module.", "net.", "module.", "_orig_mod.", "model.", "student.",
        "module._orig_mod.model.", "model.net.student.", "anything.at.all.",
    )},
    **{f"a container {name}": lambda s, name=name: {name: s, "epoch": 3} for name in (
        "ema", "ema_model", "net", "module", "model", "student", "weights", "generator",
    )},
    "containers in containers": lambda s: {"checkpoint": {"model": below("module.net.", s)}, "step": 7},
    "beside an optimiser whose state has the same names": lambda s: {"model": s, "optimizer": {"state": zeros(s)}},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_below_any_prefix_and_container(place, state, tmp_path):
    model = tiny()
    load_classifier(model, saved(PLACES[place](state), tmp_path))
    assert same(model, state)
    model = tiny()
    load_weights(model, tmp_path / "weights.pth")
    assert same(model, state)


BOTH = {
    "timm": lambda average, raw: {"state_dict": raw, "state_dict_ema": average, "epoch": 4},
    "torchvision": lambda average, raw: {
        "model": raw,
        "model_ema": {"n_averaged": torch.tensor(3), **below("module.", average)},
    },
    "prefixes": lambda average, raw: {"state_dict": below("model.", raw) | below("ema_model.module.", average)},
    "containers": lambda average, raw: {"net": raw, "ema": average},
    "an average that counts": lambda average, raw: {"net": raw, "second": {"n_averaged": torch.tensor(3), **average}},
}


@pytest.mark.parametrize("form", BOTH)
def test_of_averaged_and_raw_weights_the_averaged_are_taken_unless_the_raw_are_asked_for(form, state, tmp_path):
    file = saved(BOTH[form](state, zeros(state)), tmp_path)
    model = tiny()
    assert "took the averaged weights" in str(load_classifier(model, file))
    assert same(model, state)
    assert "took the raw weights" in str(load_classifier(model, file, weights="raw"))
    assert same(model, zeros(state))


def test_mmengines_averaged_weights_are_told_from_the_raw_ones_that_it_exchanges_them_with(state, tmp_path):
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = tiny(num_classes=0)
            self.head = nn.ModuleDict({"fc": nn.Linear(self.backbone.num_features, 5)})

    model = Classifier()
    hook = EMAHook(momentum=0.5)
    hook.before_run(SimpleNamespace(model=model))
    for _ in range(3):
        nn.init.normal_(model.backbone.stem.conv.weight)
        hook.ema_model.update_parameters(model)
    raw, averaged = model.backbone.stem.conv.weight, hook.ema_model.module.backbone.stem.conv.weight
    assert not torch.equal(raw, averaged)
    checkpoint = {"meta": {"epoch": 3, "iter": 90}, "state_dict": dict(model.state_dict())}
    hook.before_save_checkpoint(None, checkpoint)
    file = saved(checkpoint, tmp_path)
    told = "took the averaged weights under state_dict.backbone, epoch 3, iteration 90; raw ones are under ema_state_dict"
    for asked, expected, line in (
        (None, averaged, told),
        ("averaged", averaged, told),
        ("raw", raw, "took the raw weights under ema"),
    ):
        assert line in str(convert(file, tmp_path / "out.safetensors", "timm", weights=asked))
        assert torch.equal(safetensors.torch.load_file(tmp_path / "out.safetensors")["stem.conv.weight"], expected)


def test_torchs_averaged_model_is_an_average(network, state, tmp_path):
    average = AveragedModel(network, use_buffers=True)
    file = saved({"model": zeros(state), "swa": average.state_dict()}, tmp_path)
    model = tiny()
    assert "took the averaged weights under swa.module" in str(load_classifier(model, file))
    assert same(model, state)


def test_an_average_without_statistics_is_not_taken_for_whole(state, tmp_path):
    partial = {key: torch.zeros_like(value) for key, value in state.items() if "running" not in key}
    model = tiny()
    load_classifier(model, saved({"model": state, "model_ema": partial}, tmp_path))
    assert same(model, state)
    with pytest.raises(WeightsError, match=r"missing: stem\.bn\.running_mean"):
        load_classifier(model, tmp_path / "weights.pth", weights="averaged")


def test_a_kind_that_is_not_there_is_told(state, tmp_path):
    with pytest.raises(WeightsError, match=r"holds no averaged weights; there are model \(\d+ weights\)"):
        load_classifier(tiny(), saved({"model": state}, tmp_path), weights="averaged")
    with pytest.raises(WeightsError, match="weights='best': expected averaged or raw"):
        load_classifier(tiny(), tmp_path / "weights.pth", weights="best")


def test_several_networks_are_told_with_their_places_and_a_prefix_chooses(state, tmp_path):
    file = saved({"state_dict": below("student.", state) | below("teacher.", zeros(state))}, tmp_path)
    for load in (load_classifier, load_features, load_weights):
        with pytest.raises(
            WeightsError, match=r"several .*state_dict\.student \(\d+ .*state_dict\.teacher .*--prefix state_dict\.s"
        ):
            load(tiny(), file)
    with pytest.raises(WeightsError, match=r"several"):
        convert(file, tmp_path / "out.pth", "timm")
    for prefix, expected in (("student.", state), ("student", state), ("state_dict.teacher", zeros(state))):
        model = tiny()
        load_classifier(model, file, prefix)
        assert same(model, expected)
    with pytest.raises(WeightsError, match=r"nothing is under the prefix 'teach'; there are state_dict\.student"):
        load_classifier(tiny(), file, "teach")


def test_equal_weights_at_several_places_are_no_question(state, tmp_path):
    model = tiny()
    load_classifier(
        model, saved(below("a.", state) | below("b.", {key: value.clone() for key, value in state.items()}), tmp_path)
    )
    assert same(model, state)


def test_a_fused_models_checkpoint_is_told(network, tmp_path):
    file = saved(gemnet.fused(network).state_dict(), tmp_path)
    for load in (load_classifier, load_features, load_weights):
        with pytest.raises(WeightsError, match=r"saved from a fused model .* take the checkpoint that it was fused from"):
            load(tiny(), file)
    with pytest.raises(WeightsError, match="saved from a fused model"):
        convert(file, tmp_path / "out.pth", "mmpretrain")
    again = gemnet.fused(tiny())
    load_weights(again, file)
    assert same(again, torch.load(file))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_that_share_memory_are_converted(suffix, state, tmp_path):
    storage = torch.cat([value.flatten() for value in body(state).values() if value.is_floating_point()])
    shared, start = {}, 0
    for key, value in state.items():
        if key in body(state) and value.is_floating_point():
            shared[key] = storage[start : start + value.numel()].view(value.shape)
            start += value.numel()
        else:
            shared[key] = value
    shared["stem.bn.bias"] = shared["stem.bn.running_mean"]  # one tensor under two names
    converted = convert(saved(shared, tmp_path), tmp_path / f"out{suffix}", "timm")
    model = tiny()
    load_classifier(model, tmp_path / f"out{suffix}")
    assert same(model, shared)
    assert converted.count == len(shared)
    assert (tmp_path / f"out{suffix}").stat().st_size < 1.2 * sum(value.nbytes for value in state.values()) + 1e5


def test_a_detectors_checkpoint_is_no_classifiers(state, tmp_path):
    detector = {"meta": {}, "state_dict": below("backbone.", body(state)) | {"neck.conv.weight": torch.zeros(3)}}
    file, model = saved(detector, tmp_path), tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"no classifier is in it \(classifier\.weight, classifier\.bias are missing\).*--features"
    ):
        load_classifier(model, file)
    assert same(model, before)
    load_features(model, file)
    assert torch.equal(model.stem.conv.weight, state["stem.conv.weight"])
    bare = tiny(num_classes=0)
    load_classifier(bare, file)
    assert torch.equal(bare.head_conv.conv.weight, state["head_conv.conv.weight"])


@pytest.mark.parametrize(("form", "told"), [("timm", "num_classes=0"), ("mmpretrain", "a head of its own"), ("mmdet", None)])
def test_a_conversion_without_a_classifier_says_so(form, told, state, tmp_path):
    converted = convert(saved(below("backbone.", body(state)), tmp_path), tmp_path / "out.pth", form)
    assert (f"no classifier, for {tmp_path / 'weights.pth'} has none" in str(converted)) == (told is not None)
    assert (told or "") in str(converted)


def test_a_detector_without_the_last_stages_gives_the_maps_that_it_has(state, tmp_path):
    kept = {k: v for k, v in body(state).items() if not k.startswith(("head_conv", "stages.4"))}
    model = tiny()
    _, left_out = load_features(model, saved(below("backbone.", kept), tmp_path))
    assert left_out == ["stages.4", "head_conv"]
    assert len(model.stages) == 4
    assert isinstance(model.head_conv, nn.Identity)
    with pytest.raises(WeightsError, match=r"missing: stages\.4"):
        load_classifier(tiny(), tmp_path / "weights.pth")


def test_other_image_channels_are_told_with_the_remedy(state, tmp_path):
    with pytest.raises(WeightsError, match=r"for images of 3 channels and the model for 1: set in_chans \(3\)"):
        load_classifier(tiny(in_chans=1), saved(state, tmp_path))


@pytest.mark.parametrize("trained", [True, False])
def test_residual_connections_that_the_config_in_a_checkpoint_tells_are_compared(trained, state, tmp_path):
    config = f"model = dict(backbone=dict(type='gemnet.GEMNet', cell='mine.json', residual={trained}), head=dict(type='x'))"
    file = saved({"meta": {"cfg": config}, "state_dict": state}, tmp_path)
    load_classifier(tiny(residual=trained), file)
    with pytest.raises(WeightsError, match=f"trained with residual={trained}, but the model has residual={not trained}"):
        load_classifier(tiny(residual=not trained), file)


class TestThroughTimm:
    def load(self, file, **settings):
        return tiny(pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **settings)

    def test_a_checkpoint_of_another_library_is_loaded(self, state, tmp_path):
        content = below("backbone.", body(state)) | {"head.fc." + k: state["classifier." + k] for k in ("weight", "bias")}
        assert same(self.load(saved({"state_dict": content}, tmp_path)), state)

    def test_a_classifier_that_fits_is_not_thrown_away_for_the_number_in_the_config(self, state, tmp_path):
        assert same(self.load(saved(state, tmp_path), num_classes=5), state)

    def test_a_detectors_backbone_starts_a_classifier_of_other_classes(self, state, tmp_path):
        model = self.load(saved(below("backbone.", body(state)), tmp_path), num_classes=7)
        assert all(torch.equal(value, state[key]) for key, value in body(model.state_dict()).items())

    def test_another_network_is_refused_though_the_classes_differ(self, tmp_path):
        file = saved(timm.create_model("gemnet_b").state_dict(), tmp_path)
        with pytest.raises(WeightsError, match="another network"):
            self.load(file, num_classes=7)
        file = saved(timm.create_model("resnet10t").state_dict(), tmp_path)
        with pytest.raises(WeightsError, match="no weights of a GEMNet"):
            self.load(file, num_classes=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head_conv.conv.weight"), r"incomplete: 1 .* first head_conv\.conv\.weight"),
        (lambda state: state.pop("head_conv.bn.running_var"), r"incomplete: 1 .* first head_conv\.bn\.running_var"),
        (lambda state: state.update({"head_conv.conv.weight": torch.full((2, 2), torch.nan)}), "NaN or infinity in 1 of"),
    ],
)
def test_a_part_of_a_layer_and_weights_of_a_training_that_diverged_are_told(change, message, state, tmp_path):
    content = dict(state)
    change(content)
    with pytest.raises(WeightsError, match=message):
        convert(saved(content, tmp_path), tmp_path / "out.safetensors", "timm")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(path)), "a TorchScript file"),
        (lambda path: torch.save(nn.Linear(2, 2), path), r"holds no weights as tensors; .*model\.state_dict\(\)"),
    ],
)
def test_files_of_other_kinds_are_told_by_what_they_are(make, message, tmp_path):
    make(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message):
        convert(tmp_path / "a.pth", tmp_path / "out.pth", "timm")


def test_a_target_that_cannot_be_written_is_an_error_of_the_system_that_names_it(state, tmp_path):
    for suffix in (".pth", ".safetensors"):
        with pytest.raises(OSError, match=rf"out\{suffix}'$"):
            convert(saved(state, tmp_path), f"/proc/out{suffix}", "timm")
