import copy
import os
import random
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.layers import calculate_drop_path_rates
from timm.models._features import FeatureGetterNet, FeatureListNet, feature_take_indices

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.fusion import fused
from gemnet.layer_names import POOLS
from gemnet.network import CellModule, GEMNet, take_indices

CELL = Cell(
    ("input", "conv1x1", "sepconv3x3", "conv3x3", "sepconv5x5", "conv1x1", "conv3x3"),
    ((0, 1), (0, 2), (0, 4), (1, 2), (1, 3), (2, 4), (4, 5)),
)  # two leaves, a concatenation, and a node that is dropped
ARCHITECTURE = Architecture(CELL, (4, 6, 8), (1, 2, 1), 5, 12)


def with_statistics(network):
    """`network` in evaluation mode, with BatchNorm statistics as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return with_statistics(GEMNet(ARCHITECTURE, num_classes=7))


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 37, 52, generator=torch.Generator().manual_seed(1))


def agree(one, two, tolerance=1e-5):
    return one.shape == two.shape and (one - two).abs().max() <= tolerance * max(1.0, one.abs().max())


def interpreted(cell: Cell, module: CellModule, x: torch.Tensor) -> torch.Tensor:
    """The paper's section 3.2 word by word, with the weights of `module`: no pruning beforehand, no shared code."""
    values, weights = {0: x}, iter(module.nodes)
    for v in range(1, len(cell.nodes)):
        inputs = [values[u] for u in range(v) if (u, v) in cell.edges and u in values]
        if not inputs:
            continue  # zero in-degree: dropped
        layer = next(weights).operator
        y = torch.cat(inputs, 1)
        if cell.nodes[v].startswith("sep"):
            kernel = layer.depthwise.weight
            y = F.conv2d(y, kernel, padding=kernel.shape[-1] // 2, groups=y.shape[1])
        y = F.conv2d(y, layer.conv.weight, padding=layer.conv.weight.shape[-1] // 2)
        bn = layer.bn
        values[v] = F.relu(F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.1, bn.eps))
    assert next(weights, None) is None
    leaves = [v for v in values if not any(u == v and w in values for u, w in cell.edges)]
    return torch.cat([values[v] for v in leaves], 1)


def test_a_cell_computes_what_the_paper_says(random_cell):
    rng = random.Random(0)
    for _ in range(40):
        cell = random_cell(rng, rng.randint(2, 15), rng.uniform(0.05, 0.5))
        module = with_statistics(CellModule(cell, 5, 4))
        x = torch.randn(2, 5, 9, 8)
        assert agree(interpreted(cell, module, x), module(x))


def test_a_network_is_stem_stages_with_pools_between_head_and_classifier(network, images):
    x = network.stem(images)
    for i, (stage, depth) in enumerate(zip(network.stages, ARCHITECTURE.depths, strict=True)):
        if i:
            x = F.max_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-float("inf")), 2)
        assert len(stage.cells) == depth
        for cell in stage.cells:
            x = interpreted(CELL, cell, x)
    x = network.head_conv(x).mean((2, 3))
    assert agree(network(images), x @ network.classifier.weight.T + network.classifier.bias)


def test_a_residual_cell_adds_its_input_where_channels_agree():
    x = torch.randn(1, 4, 5, 5)
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    with_it = CellModule(cell, 4, 4, residual=True).eval()
    without = CellModule(cell, 4, 4).eval()
    without.load_state_dict(with_it.state_dict())
    assert torch.allclose(with_it(x), without(x) + x)
    assert not CellModule(cell, 4, 6, residual=True).residual
    assert not CellModule(cell, 4, 4).residual


def test_every_parameter_gets_a_gradient(images):
    network = GEMNet(ARCHITECTURE, num_classes=7)
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (64, 64), (33, 47)])
def test_any_input_size_works_and_odd_maps_round_up(network, size):
    x = torch.randn(1, 3, *size)
    assert network(x).shape == (1, 7)
    for i, feature in enumerate(network.forward_intermediates(x, intermediates_only=True)):
        assert feature.shape[2:] == tuple(-(-side // 2 ** (i + 1)) for side in size)


@pytest.mark.long
def test_torchscript_trace_and_fx_agree_with_eager(network, images):
    with torch.no_grad():
        eager = network(images)
        assert agree(eager, torch.jit.script(network)(images))
        assert agree(eager, torch.jit.trace(network, images[:1])(images))
        assert agree(eager, torch.fx.symbolic_trace(network)(images))
        assert agree(eager, torch.jit.script(torch.fx.symbolic_trace(network))(images))


def test_a_residual_network_scripts(images):
    network = with_statistics(GEMNet(Architecture(CELL, (4, 4), (3, 1), residual=True), 7))
    assert [cell.residual for stage in network.stages for cell in stage.cells] == [False, True, True, True]
    with torch.no_grad():
        assert agree(network(images), torch.jit.script(network)(images))


def test_torch_export_with_dynamic_batch_agrees_with_eager(network, images):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    with torch.no_grad():
        for count in (1, 2, 3):
            assert agree(network(images[:count]), program.module()(images[:count]))


def test_torch_export_with_fixed_shapes_agrees_with_eager(network, images):
    with torch.no_grad():
        assert agree(network(images), torch.export.export(network, (images,)).module()(images))


def can_compile():
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return any(map(shutil.which, compilers)) and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.parametrize(
    "backend",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("eager", "aot_eager")),
        pytest.param("inductor", marks=pytest.mark.long),
    ],
)  # the last goes through the others
def test_torch_compile_agrees_with_eager_in_one_graph(network, images, backend):
    if backend == "inductor" and not can_compile():
        pytest.skip("torch.compile's inductor needs a C++ compiler and Python.h, and they were not found")
    torch._dynamo.reset()
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    with torch.no_grad():
        assert agree(network(images), compiled(images))


def test_forward_intermediates_are_the_outputs_of_the_stages(network, images):
    with torch.no_grad():
        outputs, x = [], network.stem(images)
        for stage in network.stages:
            x = stage(x)
            outputs.append(x)
        last, features = network.forward_intermediates(images)
        assert all(torch.equal(a, b) for a, b in zip(features, outputs, strict=True))
        assert torch.equal(last, network.forward_features(images))
        for indices, taken in ((1, [2]), (2, [1, 2]), ([0], [0]), ([-2], [1]), ([0, 2], [0, 2])):
            last, features = network.forward_intermediates(images, indices=indices)
            assert all(torch.equal(a, outputs[i]) for a, i in zip(features, taken, strict=True))
            assert torch.equal(last, network.forward_features(images))
            last, features = network.forward_intermediates(images, indices=indices, stop_early=True)
            assert all(torch.equal(a, outputs[i]) for a, i in zip(features, taken, strict=True))
            assert torch.equal(last, network.forward_features(images) if taken[-1] == 2 else outputs[taken[-1]])
    with pytest.raises(ValueError, match="output_fmt NHWC is not offered; expected NCHW"):
        network.forward_intermediates(images, output_fmt="NHWC")


@pytest.mark.parametrize("wrap", [FeatureListNet, FeatureGetterNet])
@pytest.mark.parametrize("out_indices", [(0, 1, 2), (0,), (1,), (0, 2), (-1,)])
def test_timms_feature_extractors_see_the_stages_also_when_scripted(network, images, wrap, out_indices):
    settings = {"flatten_sequential": True} if wrap is FeatureListNet else {}
    with torch.no_grad():
        expected = network.forward_intermediates(images, indices=list(out_indices), intermediates_only=True)
        extractor = wrap(copy.deepcopy(network), out_indices=out_indices, **settings).eval()
        assert extractor.feature_info.channels() == [f.shape[1] for f in expected]
        for features in (extractor(images), torch.jit.script(extractor)(images)):
            assert all(agree(a, b) for a, b in zip(expected, features, strict=True))


@pytest.mark.parametrize("last", [0, 1, 2])
@pytest.mark.parametrize("prune_norm", [False, True])
def test_a_pruned_network_ends_at_the_tap_and_has_no_unused_parameter(network, images, last, prune_norm):
    pruned = copy.deepcopy(network)
    assert pruned.prune_intermediate_layers([last], prune_norm=prune_norm) == [last]
    with torch.no_grad():
        tap = network.forward_intermediates(images, indices=[last], intermediates_only=True)[0]
        assert torch.equal(pruned.forward_features(images), tap)
        assert torch.equal(pruned(images), tap)
        assert agree(tap, torch.jit.script(pruned)(images))
        assert pruned.num_features == pruned.head_hidden_size == tap.shape[1]
    pruned.reset_classifier(4, "avg")
    assert pruned(images).shape == (3, 4)
    pruned(images).sum().backward()
    assert all(p.grad is not None for p in pruned.parameters())


def test_pruning_nothing_but_asking_to_keep_the_head_changes_nothing(network, images):
    pruned = copy.deepcopy(network)
    pruned.prune_intermediate_layers([2], prune_head=False)
    assert torch.equal(pruned(images), network(images))


def test_pre_logits_have_head_hidden_size_channels_for_every_pooling(network, images):
    features = network.forward_features(images)
    assert features.shape[1] == network.num_features == 12
    for pool, width in (("avg", 12), ("max", 12), ("catavgmax", 24)):
        model = GEMNet(ARCHITECTURE, 7, global_pool=pool).eval()
        assert model.head_hidden_size == width
        assert model.forward_head(features, pre_logits=True).shape == (3, width)
        assert model(images).shape == (3, 7)
        model.reset_classifier(5)  # keeps the pooling
        assert model.global_pool.pool_type == pool
        assert model(images).shape == (3, 5)
        model.reset_classifier(0)
        assert model(images).shape == (3, width)
    model.reset_classifier(0, "")
    assert model(images).shape == features.shape
    assert GEMNet(ARCHITECTURE, 0, global_pool="")(images).shape == features.shape


def test_a_network_without_head_convolution_classifies_the_last_stage(images):
    model = GEMNet(Architecture(CELL, (4, 6), (1, 1), head_width=0), 7).eval()
    assert model.num_features == 12
    assert torch.equal(model.forward_intermediates(images)[0], model.forward_intermediates(images)[1][-1])
    assert model(images).shape == (3, 7)


@pytest.mark.parametrize("training", [True, False])
def test_reset_classifier_keeps_device_dtype_and_mode(training):
    model = GEMNet(ARCHITECTURE, 7).to(device="meta", dtype=torch.float64).train(training)
    model.reset_classifier(3)
    assert (model.classifier.weight.device.type, model.classifier.weight.dtype) == ("meta", torch.float64)
    assert model.num_classes == model.get_classifier().out_features == 3
    assert all(module.training == training for module in model.modules())


def test_gradient_checkpointing_gives_the_same_gradients(images):
    gradients = []
    for enable in (False, True):
        torch.manual_seed(0)
        network = GEMNet(ARCHITECTURE, 7).train()
        network.set_grad_checkpointing(enable)
        network(images).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_dropout_before_the_classifier_acts_in_training_alone(images):
    model = GEMNet(ARCHITECTURE, 7, drop_rate=0.5)
    features = model.eval().forward_features(images)
    assert torch.equal(model.forward_head(features), model.forward_head(features))
    model.train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))


def test_an_output_stride_of_its_own_is_accepted_and_others_are_refused():
    GEMNet(ARCHITECTURE, output_stride=8)
    with pytest.raises(ValueError, match=r"output_stride=16 is not offered: .*; expected 8"):
        GEMNet(ARCHITECTURE, output_stride=16)


def test_a_network_is_built_on_the_device_and_in_the_dtype_that_are_asked_for():
    network = GEMNet(ARCHITECTURE, device="meta", dtype=torch.float16)
    tensors = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    assert {(t.device.type, t.dtype) for t in tensors} == {("meta", torch.float16)}
    with torch.device("meta"):
        network = GEMNet(ARCHITECTURE)
    assert {t.device.type for t in (*network.parameters(), *network.buffers())} == {"meta"}


def test_init_weights_sets_every_tensor_of_a_network_without_data(images):
    network = GEMNet(ARCHITECTURE, 7, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    network.init_weights()
    assert all(torch.isfinite(t).all() for t in (*network.parameters(), *network.buffers()))
    assert torch.isfinite(network.eval()(images)).all()


def test_weights_start_with_a_variance_of_2_over_fan_out():
    torch.manual_seed(0)
    network = GEMNet(Architecture(Cell(("input", "conv3x3", "sepconv3x3"), ((0, 1), (1, 2))), (200,), (1,)))
    conv, separable = (node.operator for node in network.stages[0].cells[0].nodes)
    for weight, fan_out in ((conv.conv.weight, 9 * 200), (separable.depthwise.weight, 9), (separable.conv.weight, 200)):
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert network.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)


class TestStochasticDepth:
    def test_rates_grow_linearly_over_the_cells_as_timms_do(self):
        network = GEMNet(Architecture(CELL, (4, 4), (3, 2), residual=True), 7, drop_path_rate=0.4)
        found = [getattr(cell.drop_path, "drop_prob", 0.0) for stage in network.stages for cell in stage.cells]
        expected = calculate_drop_path_rates(0.4, 5)
        assert found == [0.0, *expected[1:]]
        network = GEMNet(Architecture(CELL, (4, 6), (2, 2), residual=True), 7, drop_path_rate=0.3)
        found = [getattr(cell.drop_path, "drop_prob", 0.0) for stage in network.stages for cell in stage.cells]
        assert found == [0.0, pytest.approx(0.1), 0.0, pytest.approx(0.3)]  # where a stage begins, nothing passes by

    def test_a_dropped_branch_leaves_the_input_and_a_kept_one_is_scaled(self):
        torch.manual_seed(0)
        cell = CellModule(Cell(("input", "conv1x1"), ((0, 1),)), 4, 4, residual=True, drop_path=0.25)
        x = torch.randn(400, 4, 3, 3)
        branch = cell.nodes[0].operator(x)
        out = cell.train()(x) - x
        dropped = (out == 0).flatten(1).all(1)
        assert 0.15 < dropped.float().mean() < 0.35
        assert torch.allclose(out[~dropped], branch[~dropped] / 0.75, atol=1e-5)

    def test_in_evaluation_it_changes_nothing_however_the_network_is_run(self, images):
        architecture = Architecture(CELL, (4, 4), (3, 1), residual=True)
        network = with_statistics(GEMNet(architecture, 7, drop_path_rate=0.5))
        plain = with_statistics(GEMNet(architecture, 7))
        plain.load_state_dict(network.state_dict())
        with torch.no_grad():
            expected = plain(images)
            exported = torch.export.export(network, (images,)).module()
            for model in (network, fused(network), torch.jit.script(network), torch.fx.symbolic_trace(network), exported):
                assert agree(expected, model(images))

    def test_the_same_seed_drops_the_same_also_when_scripted_and_with_checkpointing(self, images):
        network = GEMNet(Architecture(CELL, (4, 4), (3, 1), residual=True), 7, drop_path_rate=0.5).train()
        outputs = []
        for model in (network, network, torch.jit.script(network)):
            torch.manual_seed(3)
            outputs.append(model(images))
        network.set_grad_checkpointing()
        torch.manual_seed(3)
        outputs.append(network(images))
        assert all(agree(outputs[0], other) for other in outputs[1:])
        assert not torch.equal(network(images), outputs[0])


@pytest.mark.parametrize(("pool", "channels"), [*((name, 12 * (1 + ("cat" in name))) for name in POOLS if name)])
def test_every_pooling_is_built_reset_and_computed_as_its_name_says(pool, channels, network, images):
    features = network.forward_features(images)
    model = GEMNet(ARCHITECTURE, 0, global_pool=pool).eval()
    avg, most = features.mean((2, 3)), features.amax((2, 3))
    kind = pool.removeprefix("fast") or "avg"
    expected = {"avg": avg, "max": most, "avgmax": (avg + most) / 2, "catavgmax": torch.cat([avg, most], 1)}[kind]
    assert agree(model.forward_head(features), expected)
    assert model.head_hidden_size == channels
    model.reset_classifier(5)
    assert model(images).shape == (3, 5)


def test_without_pooling_the_output_is_a_map_and_a_classifier_brings_pooling_back(images):
    network = GEMNet(ARCHITECTURE, 0, global_pool="").eval()
    assert network(images).shape == network.forward_features(images).shape
    with pytest.raises(ValueError, match=r"global_pool='': a classifier of 5 classes .* set num_classes=0"):
        network.reset_classifier(5, "")
    assert network.num_classes == 0
    network.reset_classifier(5)
    assert network.global_pool.pool_type == "avg"
    assert network(images).shape == (3, 5)
    with pytest.raises(ValueError, match="global_pool='mean' is not offered"):
        network.reset_classifier(5, "mean")


@pytest.mark.parametrize("indices", [4, 0, [3], [-4], []])
def test_maps_that_are_not_there_are_told_with_the_range(indices, network, images):
    with pytest.raises(ValueError, match=r"expected .*from -3 to 2"):
        network.forward_intermediates(images, indices=indices)
    with pytest.raises(ValueError, match=r"expected .*from -3 to 2"):
        copy.deepcopy(network).prune_intermediate_layers(indices)


def test_take_indices_are_timms(network):
    for indices in (None, 1, 3, [0], [2, 0], [-1, -3], (1, 1)):
        assert take_indices(3, indices) == feature_take_indices(3, indices)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])  # in one graph: as torch.compile
def test_torch_export_with_named_height_and_width_agrees_with_eager(strict, network, images):
    batch, height, width = (torch.export.Dim(name, min=least) for name, least in (("batch", 1), ("height", 9), ("width", 9)))
    exported = torch.export.export(
        network, (images,), dynamic_shapes=({0: batch, 2: height, 3: width},), strict=strict
    ).module()
    with torch.no_grad():
        for size in ((1, 9, 9), (2, 64, 31), (5, 33, 90), (3, 10, 17)):
            x = torch.randn(size[0], 3, *size[1:])
            assert agree(network(x), exported(x))
