"""CARAFE and masked convolution through mmcv.ops on the stand-in."""

import numpy as np
import pytest
import torch
from mmcv_ops_cases import DTYPES, gradcheck

CASES = {"one group": (3, 1, 2), "groups": (3, 2, 2), "a large kernel": (5, 2, 1), "three times": (1, 1, 3)}


def draw(kernel, groups, scale, dtype=torch.float64):
    features = torch.randn(2, 4, 3, 4, dtype=dtype)
    return features, torch.rand(2, groups * kernel**2, 3 * scale, 4 * scale, dtype=dtype)


@pytest.mark.parametrize("operator", ["carafe", "carafe_naive"])
@pytest.mark.parametrize("name", CASES)
def test_carafe_is_the_weighed_sum_of_the_neighbours(use, name, operator):
    import mmcv.ops

    kernel, groups, scale = CASES[name]
    features, masks = draw(*CASES[name])
    expected = torch.zeros(2, 4, 3 * scale, 4 * scale, dtype=torch.float64)
    for b, c, y, x in np.ndindex(expected.shape):
        group = c // (4 // groups)
        for place in range(kernel**2):
            row, column = (at // scale + k - kernel // 2 for at, k in zip((y, x), divmod(place, kernel)))
            if 0 <= row < 3 and 0 <= column < 4:
                expected[b, c, y, x] += features[b, c, row, column] * masks[b, group * kernel**2 + place, y, x]
    torch.testing.assert_close(getattr(mmcv.ops, operator)(features, masks, *CASES[name]), expected)


@pytest.mark.parametrize("name", CASES)
def test_carafes_gradients_are_those_of_finite_differences(use, name):
    import mmcv.ops

    parts = [part.requires_grad_() for part in draw(*CASES[name])]
    assert gradcheck(lambda *p: mmcv.ops.carafe(*p, *CASES[name]), parts)


def test_the_upsampler_trains(use):
    from mmengine.registry import MODELS

    upsample = MODELS.build({"type": "carafe", "channels": 8, "scale_factor": 2, "up_group": 2})
    output = upsample(torch.randn(2, 8, 5, 6))
    output.sum().backward()
    assert output.shape == (2, 8, 10, 12)
    assert all(p.grad is not None for p in upsample.parameters())


@pytest.mark.parametrize("kernel", [1, 3, (3, 1)])
def test_masked_convolution_is_convolution_at_the_marked_places_and_0_elsewhere(use, kernel):
    import mmcv.ops

    padding = kernel // 2 if isinstance(kernel, int) else (1, 0)
    layer = mmcv.ops.MaskedConv2d(4, 6, kernel, padding=padding)
    x, mask = torch.randn(1, 4, 5, 7), (torch.rand(1, 5, 7) < 0.4).float()
    with torch.no_grad():
        torch.testing.assert_close(layer(x, mask), layer(x) * mask, rtol=1e-4, atol=1e-5)
        assert not layer(x, torch.zeros(1, 5, 7)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_carafe_in_half_precision_is_near_float32(use, dtype):
    import mmcv.ops

    features, masks = draw(*CASES["groups"], dtype=dtype)
    found = mmcv.ops.carafe(features, masks, *CASES["groups"])
    assert found.dtype == dtype
    exact = mmcv.ops.carafe(features.float(), masks.float(), *CASES["groups"])
    torch.testing.assert_close(found.float(), exact, rtol=DTYPES[dtype], atol=0.05)
