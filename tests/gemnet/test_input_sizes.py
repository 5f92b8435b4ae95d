"""Images of any size: what a detector or a careless caller may give, from a pixel to 1333 x 800."""

import random
import re

import pytest
import timm
import torch

import gemnet
from gemnet.deploy.export import export
from gemnet.openmmlab.backbone import GEMNet

SIZES = [(32, 32), (33, 33), (47, 47), (65, 65), (97, 97), (161, 161), (64, 131), (131, 64), (1, 90), (200, 3), (1, 1)]
LARGE = [(1333, 800), (799, 1333), (1333, 1), (37, 1201)]
SMALL_BUDGET = {"target_macs": 60e6, "target_params": 1.5e6}


def random_network(draw, seed, **settings):
    """A small network of a random cell; the same weights whenever the seed is the same."""
    torch.manual_seed(seed)
    return timm.create_model("gemnet", cell=draw(random.Random(seed), 6, 0.5), **{**SMALL_BUDGET, **settings}).eval()


@pytest.fixture(scope="module")
def networks(random_cell):
    """The shipped models and three random cells', on the CPU, in evaluation mode."""
    torch.manual_seed(0)
    shipped = {name: timm.create_model(name, num_classes=7).eval() for name in ("gemnet_a", "gemnet_b")}
    return shipped | {f"random {seed}": random_network(random_cell, seed, num_classes=7) for seed in (0, 1, 2)}


def image(height, width, batch=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height + 2000 * width))


def halved(size, times):
    """`size` divided by 2^times, rounded up."""
    return tuple(-(-side // 2**times) for side in size)


@pytest.mark.parametrize("size", SIZES)
def test_every_network_takes_the_size_and_its_maps_are_rounded_up(size, networks):
    for network in networks.values():
        with torch.no_grad():
            last, maps = network.forward_intermediates(image(*size, batch=2))
            logits = network.forward_head(last)
        assert [tuple(found.shape[2:]) for found in maps] == [halved(size, times) for times in range(1, 6)]
        assert [found.shape[1] for found in maps] == [info["num_chs"] for info in network.feature_info]
        assert last.shape[2:] == maps[-1].shape[2:]
        assert logits.shape == (2, 7)
        assert all(found.isfinite().all() for found in (logits, *maps))


def test_an_image_gives_the_same_alone_as_in_a_batch_at_odd_sizes(networks):
    for network in networks.values():
        images = image(47, 33, batch=3)
        with torch.no_grad():
            together, alone = network(images), network(images[1:2])
        torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4 * alone.abs().max().item())


@pytest.fixture(scope="module")
def pyramids(random_cell):
    """timm's features and MMDetection's backbone of the shipped models and a random cell: shapes alone, without memory."""
    cell = random_cell(random.Random(1), 6, 0.5)
    with torch.device("meta"):
        return [
            *(
                (timm.create_model(f"gemnet_{arch}", features_only=True), GEMNet(arch=arch, out_indices=range(6)))
                for arch in ("a", "b")
            ),
            (
                timm.create_model("gemnet", cell=cell, features_only=True, **SMALL_BUDGET),
                GEMNet(cell=cell, out_indices=range(6), **SMALL_BUDGET),
            ),
        ]


@pytest.mark.parametrize("size", LARGE)
def test_a_detectors_sizes_give_rounded_up_maps_in_timm_and_mmdetection_alike(size, pyramids):
    for features, backbone in pyramids:
        x = torch.empty(1, 3, *size, device="meta")
        with torch.no_grad():
            maps, outputs = features(x), backbone(x)
        expected = [halved(size, times) for times in range(1, 6)]
        assert [tuple(found.shape[2:]) for found in maps] == expected
        assert [tuple(found.shape[2:]) for found in outputs] == [*expected, expected[-1]]
        assert [found.shape[1] for found in maps] == features.feature_info.channels()
        assert [found.shape[1] for found in outputs] == list(backbone.out_channels)


def test_a_long_thin_image_is_really_computed(random_cell):
    network = random_network(random_cell, 0)
    with torch.no_grad():
        maps = network.forward_intermediates(image(1333, 37), intermediates_only=True)
    assert [tuple(found.shape[2:]) for found in maps] == [(667, 19), (334, 10), (167, 5), (84, 3), (42, 2)]
    assert all(found.isfinite().all() for found in maps)


@pytest.mark.parametrize("size", [(33, 65), (47, 1), (161, 97)])
def test_timms_features_and_mmdetections_backbone_agree_at_odd_sizes(size, networks):
    for name in ("gemnet_a", "gemnet_b"):
        network = networks[name]
        weights = {key: value for key, value in network.state_dict().items() if not key.startswith("classifier")}
        features = timm.create_model(name, features_only=True).eval()
        flat = {re.sub(r"^stages\.", "stages_", key): value for key, value in weights.items()}
        features.load_state_dict({key: value for key, value in flat.items() if not key.startswith("head_conv")})
        backbone = GEMNet(arch=name[-1], out_indices=range(6)).eval()
        backbone.load_state_dict(weights)
        x = image(*size)
        with torch.no_grad():
            last, maps = network.forward_intermediates(x)
            for ours, theirs in zip([*maps, last], backbone(x), strict=True):
                assert torch.equal(ours, theirs)
            for ours, theirs in zip(maps, features(x), strict=True):
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [(33, 47), (64, 131)])
def test_a_step_of_training_at_an_odd_size_reaches_every_weight(size, random_cell):
    network = random_network(random_cell, 2, num_classes=7).train()
    network(image(*size, batch=2)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.long
@pytest.mark.parametrize("features", [False, True])
def test_an_onnx_file_of_an_odd_size_computes_what_eager_does(features, tmp_path):
    cell = gemnet.Cell(("input", "conv1x1", "sepconv3x3", "sepconv5x5"), ((0, 1), (0, 2), (1, 2), (1, 3)))
    torch.manual_seed(0)
    network = timm.create_model("gemnet", cell=cell, num_classes=7, **SMALL_BUDGET)
    assert export(network, tmp_path / "odd.onnx", "onnx", (3, 47, 33), features) < 1e-5


@pytest.fixture(scope="module")
def forms():
    return {
        "timm": timm.create_model("gemnet_a", num_classes=7).eval(),
        "features_only": timm.create_model("gemnet_a", features_only=True).eval(),
        "backbone": GEMNet(arch="a").eval(),
    }


@pytest.mark.parametrize("form", ["timm", "features_only", "backbone"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 0, 32), "input size"),
        ((1, 3, 32, 0), "input size"),
        ((2, 3, 0, 0), "input size"),
        ((1, 1, 32, 32), "to have 3 channels, but got 1"),
        ((1, 4, 32, 32), "to have 3 channels, but got 4"),
        ((1, 32, 32, 3), "to have 3 channels, but got 32"),  # channels last by mistake
        ((3, 32, 32), "expected 4D input"),
        ((32, 32), "4D"),
        ((1, 1, 3, 32, 32), "4D"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_by_every_form_of_a_model(shape, message, form, forms):
    with torch.no_grad(), pytest.raises((RuntimeError, ValueError), match=message):
        forms[form](torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_numbers_of_another_type_than_the_weights_are_refused(dtype, forms):
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"(?i)type"):
        forms["timm"](torch.zeros(1, 3, 32, 32, dtype=dtype))


def test_training_on_one_image_of_32_pixels_is_refused_for_it_has_no_statistics():
    network = timm.create_model("gemnet_a", num_classes=7).train()
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        network(image(32, 32))
    assert network(image(32, 32, batch=2)).shape == network(image(33, 47, batch=2)).shape == (2, 7)


def test_an_empty_batch_gives_empty_results(forms):
    with torch.no_grad():
        assert forms["timm"](torch.zeros(0, 3, 33, 33)).shape == (0, 7)
        assert [found.shape[0] for found in forms["backbone"](torch.zeros(0, 3, 33, 33))] == [0] * 4
