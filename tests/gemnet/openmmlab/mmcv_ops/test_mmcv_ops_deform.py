"""Deformable convolution and attention through mmcv.ops on the stand-in, against sums written out in loops."""

import math

import numpy as np
import pytest
import torch
from mmcv_ops_cases import DTYPES, gradcheck

from gemnet.openmmlab.mmcv_ops import OPERATORS

GEOMETRIES = {  # stride, padding, dilation, groups, deform_groups, kernel
    "plain": (1, 1, 1, 1, 1, (3, 3)),
    "stride, padding and dilation of two numbers": ((2, 1), (0, 2), (1, 2), 1, 1, (3, 2)),
    "groups": (1, 1, 1, 2, 1, (3, 3)),
    "deform groups": (2, 0, 1, 1, 2, (2, 2)),
    "both groups": ((1, 2), (1, 0), (2, 1), 4, 2, (2, 3)),
    "depthwise 1x1": (1, 0, 1, 4, 4, (1, 1)),
}


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def draw(geometry, batch=3, size=(6, 7), channels=4, out=8, dtype=torch.float64):
    """Input, offset, mask, weight, bias: offsets of a few pixels, so that some samples lie beside the image."""
    stride, padding, dilation, groups, deform_groups, kernel = geometry
    places = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, pair(padding), pair(dilation), kernel, pair(stride))
    ]
    count = deform_groups * math.prod(kernel)
    return [
        torch.randn(batch, channels, *size, dtype=dtype),
        2.5 * torch.randn(batch, 2 * count, *places, dtype=dtype),
        torch.rand(batch, count, *places, dtype=dtype),
        torch.randn(out, channels // groups, *kernel, dtype=dtype),
        torch.randn(out, dtype=dtype),
    ]


def sample(image, y, x):
    """Bilinear, 0 beside the image."""
    value = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                value += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def written_out(geometry, x, offset, mask, weight, bias):
    """Deformable convolution by its definition (Dai et al., Eq. 2; Zhu et al., Eq. 1)."""
    stride, padding, dilation, groups, deform_groups, kernel = geometry
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    x, offset, mask, weight, bias = (tensor.numpy() for tensor in (x, offset, mask, weight, bias))
    output = np.zeros((len(x), len(weight), *offset.shape[2:]))
    inputs, outputs, deformed = x.shape[1] // groups, len(weight) // groups, x.shape[1] // deform_groups
    for b, o, i, j in np.ndindex(output.shape):
        total = bias[o]
        for c, place in np.ndindex(inputs, math.prod(kernel)):
            channel = o // outputs * inputs + c
            row, column = divmod(place, kernel[1])
            at = channel // deformed * math.prod(kernel) + place
            y = i * stride[0] - padding[0] + row * dilation[0] + offset[b, 2 * at, i, j]
            z = j * stride[1] - padding[1] + column * dilation[1] + offset[b, 2 * at + 1, i, j]
            total += weight[o, c, row, column] * mask[b, at, i, j] * sample(x[b, channel], y, z)
        output[b, o, i, j] = total
    return torch.from_numpy(output)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolution_is_its_definition(use, name, modulated):
    import mmcv.ops

    *geometry, _ = GEOMETRIES[name]
    x, offset, mask, weight, bias = draw(GEOMETRIES[name], batch=2)
    if modulated:
        found = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    else:
        mask, bias = torch.ones_like(mask), torch.zeros_like(bias)
        found = mmcv.ops.deform_conv2d(x, offset, weight, *geometry)
    torch.testing.assert_close(found, written_out(GEOMETRIES[name], x, offset, mask, weight, bias))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("form", ["plain", "modulated", "modulated without a bias"])
def test_its_gradients_are_those_of_finite_differences(use, name, form):
    import mmcv.ops

    *geometry, _ = GEOMETRIES[name]
    x, offset, mask, weight, bias = (t.requires_grad_() for t in draw(GEOMETRIES[name], batch=1, size=(4, 5)))
    if form == "plain":
        assert gradcheck(lambda *parts: mmcv.ops.deform_conv2d(*parts, *geometry), (x, offset, weight))
    elif form == "modulated":
        assert gradcheck(lambda *parts: mmcv.ops.modulated_deform_conv2d(*parts, *geometry), (x, offset, mask, weight, bias))
    else:
        assert gradcheck(lambda *parts: mmcv.ops.modulated_deform_conv2d(*parts, None, *geometry), (x, offset, mask, weight))


def test_offsets_and_masks_that_are_larger_than_the_output_are_read_as_the_compiled_operator_reads_them(use):
    import mmcv.ops

    x, offset, mask, weight, bias = draw(GEOMETRIES["plain"])
    larger = [torch.randn(3, count, 9, 8, dtype=torch.float64).requires_grad_() for count in (18, 9)]
    with torch.no_grad():
        for whole, part in zip(larger, (offset, mask)):
            whole.flatten(1)[:, : part[0].numel()] = part.flatten(1)
    parts = [part.requires_grad_() for part in (offset, mask)]
    outputs = [mmcv.ops.modulated_deform_conv2d(x, *given, weight, bias, 1, 1) for given in (larger, parts)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for whole, part in zip(larger, parts):
        assert torch.equal(whole.grad.flatten(1)[:, : part[0].numel()], part.grad.flatten(1))
        assert not whole.grad.flatten(1)[:, part[0].numel() :].any()


@pytest.mark.parametrize("step", [1, 2, 4, 32])
def test_im2col_step_changes_nothing(use, step):
    import mmcv.ops

    x, offset, _, weight, _ = (t.requires_grad_() for t in draw(GEOMETRIES["plain"], batch=4))
    grads = []
    for im2col_step in (32, step):
        output = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1, 1, 1, 1, False, im2col_step)
        grads.append([output, *torch.autograd.grad(output.square().sum(), (x, offset, weight))])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_the_weight_alone_gets_its_gradient_where_the_rest_is_frozen(use):
    import mmcv.ops

    x, offset, _, weight, _ = draw(GEOMETRIES["groups"])
    (alone,) = torch.autograd.grad(mmcv.ops.deform_conv2d(x, offset, weight.requires_grad_(), 1, 1, 1, 2).sum(), weight)
    parts = x.requires_grad_(), offset.requires_grad_(), weight
    torch.testing.assert_close(alone, torch.autograd.grad(mmcv.ops.deform_conv2d(*parts, 1, 1, 1, 2).sum(), parts)[2])


@pytest.mark.parametrize("kind", ["DCN", "DCNv2"])
def test_layers_without_offsets_are_convolutions(use, kind):
    from mmengine.registry import MODELS

    layer = MODELS.get(kind)(4, 6, 3, stride=2, padding=1)  # offsets start at 0, and masks at 1 / 2
    x = torch.randn(2, 4, 9, 9)
    expected = torch.nn.functional.conv2d(
        x, layer.weight * (0.5 if kind == "DCNv2" else 1), layer.bias if kind == "DCNv2" else None, 2, 1
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_is_near_float32(use, dtype):
    import mmcv.ops

    parts = [part.to(dtype).requires_grad_() for part in draw(GEOMETRIES["plain"], dtype=torch.float32)]
    exact = [part.detach().float().requires_grad_() for part in parts]
    outputs = [mmcv.ops.modulated_deform_conv2d(*p, 1, 1) for p in (parts, exact)]
    assert outputs[0].dtype == dtype
    for output in outputs:
        output.float().sum().backward()
    pairs = [outputs, *((one.grad, other.grad) for one, other in zip(parts, exact, strict=True))]
    for one, other in pairs:
        assert (one.float() - other).abs().max() <= DTYPES[dtype] * other.abs().max()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_deformable_convolution_is_the_compiled_one(compiled, use, name):
    import mmcv.ops

    *geometry, _ = GEOMETRIES[name]
    parts = [part.requires_grad_() for part in draw(GEOMETRIES[name], batch=2, dtype=torch.float32)]
    x, offset, mask, weight, bias = parts

    def both():
        plain = mmcv.ops.deform_conv2d(x, offset, weight, *geometry)
        modulated = mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
        return [plain, modulated, *torch.autograd.grad((plain * modulated).sum(), parts)]

    ours = both()
    use(compiled)
    for one, other in zip(ours, both(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def attention_case(dtype=torch.float64):
    shapes = torch.tensor([[4, 5], [2, 3]])
    value = torch.randn(2, 26, 3, 4, dtype=dtype)
    locations = 1.4 * torch.rand(2, 6, 3, 2, 2, 2, dtype=dtype) - 0.2  # some beside the map
    weights = torch.rand(2, 6, 3, 2, 2, dtype=dtype)
    return value, shapes, locations, weights


def test_the_attention_that_gpus_ask_for_is_its_definition(use):
    value, shapes, locations, weights = attention_case()
    start = torch.tensor([0, 20])
    found = OPERATORS["ms_deform_attn_forward"](value, shapes, start, locations, weights, im2col_step=64)
    expected = torch.zeros(2, 6, 3, 4, dtype=torch.float64)
    for b, q, head, channel in np.ndindex(expected.shape):
        for level, point in np.ndindex(2, 2):
            height, width = shapes[level].tolist()
            image = value[b, int(start[level]) : int(start[level]) + height * width, head, channel].view(height, width)
            x, y = (locations[b, q, head, level, point] * torch.tensor([width, height]) - 0.5).tolist()
            expected[b, q, head, channel] += weights[b, q, head, level, point] * sample(image, y, x)
    torch.testing.assert_close(found, expected.flatten(2))


def test_its_gradients_through_mmcvs_function_are_those_of_finite_differences(use):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    value, shapes, locations, weights = attention_case()
    parts = [part.requires_grad_() for part in (value, locations, weights)]
    assert gradcheck(
        lambda v, at, w: MultiScaleDeformableAttnFunction.apply(v, shapes, torch.tensor([0, 20]), at, w, 64), parts
    )


def test_the_attention_module_runs_on_the_cpu(use):
    import mmcv.ops

    module = mmcv.ops.MultiScaleDeformableAttention(embed_dims=32, num_heads=2, num_levels=2, batch_first=True)
    query, points = torch.randn(1, 26, 32), torch.rand(1, 26, 2, 2)
    shapes = torch.tensor([[4, 5], [2, 3]])
    output = module(query, reference_points=points, spatial_shapes=shapes, level_start_index=torch.tensor([0, 20]))
    output.sum().backward()
    assert output.shape == query.shape
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *DTYPES])
def test_deformable_operators_on_a_gpu_are_those_of_the_cpu(use, gpu, dtype):
    import mmcv.ops
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    parts = draw(GEOMETRIES["both groups"], dtype=torch.float32)
    value, shapes, *rest = attention_case(torch.float32)

    def run(device):
        x, offset, mask, weight, bias, v, at, w = leaves = [
            part.to(device, dtype).requires_grad_() for part in (*parts, value, *rest)
        ]
        *geometry, _ = GEOMETRIES["both groups"]
        outputs = [
            mmcv.ops.deform_conv2d(x, offset, weight, *geometry),
            mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry),
            MultiScaleDeformableAttnFunction.apply(v, shapes.to(device), torch.tensor([0, 20], device=device), at, w, 64),
        ]
        return outputs + list(torch.autograd.grad(sum(output.float().sum() for output in outputs), leaves))

    for one, other in zip(run(gpu), run("cpu"), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=10 * DTYPES.get(dtype, 1e-5), atol=0.1 if dtype in DTYPES else 1e-4)
