"""Proxy evaluation: what is trained, that it learns, that it repeats, and where it stops."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gemnet.cell import Cell
from gemnet.complexity import cell_statistics
from gemnet.network import GEMNet
from search.core.types import EvaluationError, Job, SearchError
from search.evaluation.data import ProxyData, build_data
from search.evaluation.proxy import ProxySettings, _learning_rates, _optimizer, _PlacedData, build_evaluator
from search.spaces.dag import DagSpace

CPU = torch.device("cpu")
CELL = Cell(("input", "sepconv3x3", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 3), (2, 3)))
SMALL = {"width": 4, "stem_width": 8, "epochs": 3, "batch_size": 50}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> ProxyData:
    return build_data("digits", train_per_class=20, val_per_class=20)


def made_data(channels: int = 3, size: int = 6, count: int = 40) -> ProxyData:
    """Images without a black pixel, so that black is what an augmentation brings in."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return ProxyData("made", ("a", "b"), images, labels, images, labels)


def augmented(data: ProxyData, settings: ProxySettings) -> tuple[torch.Tensor, torch.Tensor]:
    """One epoch in grey levels [N, C, H, W], rounded, and its labels."""
    placed = _PlacedData(data, settings.shift, CPU)
    batches = list(placed.batches(settings, torch.Generator().manual_seed(1)))
    images = torch.cat([images for images, _ in batches])
    levels = images * placed.std.view(-1, 1, 1) + placed.mean.view(-1, 1, 1)
    return levels.round().to(torch.int16), torch.cat([labels for _, labels in batches])


def test_a_small_cell_learns_the_digits_in_seconds():
    evaluator = build_evaluator(build_data("digits", val_per_class=30))
    evaluation = evaluator.evaluate(Job(0, CELL, seed=0))
    assert evaluation.accuracy > 0.7  # chance is 0.1
    assert evaluation.curve[-1] == evaluation.accuracy
    assert len(evaluation.curve) == 4
    assert not evaluation.stopped
    assert evaluation.seconds > 0


def test_the_same_job_gives_the_same_curve_and_leaves_the_random_state_alone(digits):
    evaluator = build_evaluator(digits, **SMALL)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = evaluator.evaluate(Job(0, CELL, seed=5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = pickle.loads(pickle.dumps(evaluator)).evaluate(Job(1, CELL, seed=5))
    assert first.curve == again.curve
    assert first.curve != evaluator.evaluate(Job(2, CELL, seed=6)).curve


def test_a_candidate_below_a_threshold_is_stopped_there(digits):
    evaluator = build_evaluator(digits, **SMALL)
    whole = evaluator.evaluate(Job(0, CELL, seed=5))
    stopped = evaluator.evaluate(Job(0, CELL, seed=5, early_stop_thresholds=((1, 0.0), (2, 1.0))))
    assert stopped.stopped
    assert stopped.curve == whole.curve[:2]
    assert stopped.accuracy == whole.curve[1]


def test_a_candidate_at_a_threshold_or_at_the_end_is_not_stopped(digits):
    evaluator = build_evaluator(digits, **SMALL)
    whole = evaluator.evaluate(Job(0, CELL, seed=5))
    early_stop_thresholds = ((1, whole.curve[0]), (2, whole.curve[1]), (3, 1.0))
    evaluation = evaluator.evaluate(Job(0, CELL, seed=5, early_stop_thresholds=early_stop_thresholds))
    assert evaluation.curve == whole.curve
    assert not evaluation.stopped


def test_a_loss_that_is_not_finite_is_the_candidates_error(digits):
    evaluator = build_evaluator(digits, **{**SMALL, "learning_rate": 1e30, "warmup": 0.0})
    with pytest.raises(EvaluationError, match=r"the loss became .* in epoch 1 of 3; lower learning_rate \(now 1e\+30\)"):
        evaluator.evaluate(Job(0, CELL, seed=0))


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
     RuntimeError("CUDA error: out of memory. Tried to allocate 2.00 GiB"),
     RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`. Tried to allocate 2.00 GiB")],
    ids=["torch", "CUDA", "cuBLAS"],
)  # fmt: skip
def test_gpu_memory_that_runs_out_is_met_with_half_the_batch_once_and_then_is_the_candidates_error(digits, monkeypatch, error):
    evaluator = build_evaluator(digits, **SMALL)
    real, enough, asked = evaluator._train, 25, []

    def train(job, device, settings):
        asked.append(settings.batch_size)
        if settings.batch_size > enough:
            raise error
        return real(job, device, settings)

    monkeypatch.setattr(evaluator, "_train", train)
    found = evaluator.evaluate(Job(0, CELL, seed=0))
    halved = build_evaluator(digits, **{**SMALL, "batch_size": 25, "learning_rate": evaluator.settings.learning_rate / 2})
    assert found.curve == halved.evaluate(Job(0, CELL, seed=0)).curve
    enough = 1
    with pytest.raises(
        EvaluationError, match=r"also with batch_size=25 \(.*Tried to allocate 2.00 GiB\); take narrower networks"
    ):
        evaluator.evaluate(Job(0, CELL, seed=0))
    assert asked == [50, 25, 50, 25]


def test_another_error_is_no_lack_of_memory(digits, monkeypatch):
    def train(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    evaluator = build_evaluator(digits, **SMALL)
    monkeypatch.setattr(evaluator, "_train", train)
    with pytest.raises(RuntimeError, match="device-side assert"):
        evaluator.evaluate(Job(0, CELL, seed=0))


def test_the_analytic_cost_is_that_of_the_network_that_is_trained(digits):
    space = DagSpace(12)
    evaluator = build_evaluator(digits, **SMALL)
    for cell in space.to_cells(space.sample(np.random.default_rng(0), 5)):
        network = evaluator._network(Job(0, cell, 0), torch.device("meta")).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 8, 8, device="meta"))
        cost = evaluator.cost(cell)
        assert cost.params == sum(p.numel() for p in network.parameters())
        assert 2 * cost.macs == counter.get_total_flops()
        assert evaluator.cost(CELL, cell_statistics(cell)) == cost


def test_the_networks_weights_depend_on_the_seed_alone_and_its_output_is_gemnets(digits):
    evaluator = build_evaluator(digits, **SMALL)
    network = evaluator._network(Job(0, CELL, seed=3), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = GEMNet(evaluator.architecture(CELL), num_classes=10, in_chans=1)
    images = torch.randn(7, 1, 8, 8)
    torch.testing.assert_close(network(images), reference(images))


def test_calibrated_statistics_are_those_of_training_images(digits):
    evaluator = build_evaluator(digits, **SMALL)
    network, placed = evaluator._network(Job(0, CELL, seed=3), CPU), _PlacedData(digits, 1, CPU)
    placed.calibrate(network, batch_size=10_000)
    images = (digits.train_images - digits.mean[0]) / digits.std[0]
    network.eval()
    with torch.no_grad():
        calibrated = network(images)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    torch.testing.assert_close(calibrated, network(images).detach(), rtol=0.01, atol=1e-4)  # variance with n - 1, and with n


def test_validation_accuracy_counts_the_right_answers(digits):
    class Answers(nn.Module):
        """The right class for the first 30 images, another for the rest."""

        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            places = torch.arange(self.seen, self.seen + len(images))
            self.seen += len(images)
            return F.one_hot((digits.val_labels[places] + (places >= 30)) % 10, 10).float()

    assert _PlacedData(digits, 1, CPU).accuracy(Answers(), batch_size=64) == 30 / 200


def test_every_image_is_seen_once_an_epoch_unchanged_without_augmentation():
    data = made_data()
    images, labels = augmented(data, ProxySettings(batch_size=8, shift=0))
    source = {image.to(torch.int16).numpy().tobytes(): label for image, label in zip(data.train_images, data.train_labels)}
    assert {image.numpy().tobytes() for image in images} == set(source)
    assert [source[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_shift_and_flip_give_mirrored_crops_of_the_padded_image():
    data = made_data(count=500)
    images, labels = augmented(data, ProxySettings(batch_size=50, shift=2, flip=True))
    padded = F.pad(data.train_images, [2] * 4).to(torch.int16)
    expected = {}
    for index, image in enumerate(padded):
        for top in range(5):
            for left in range(5):
                crop = image[:, top : top + 6, left : left + 6]
                expected[crop.contiguous().numpy().tobytes()] = (index, (top, left, False))
                expected[crop.flip(2).contiguous().numpy().tobytes()] = (index, (top, left, True))
    found = [expected[image.contiguous().numpy().tobytes()] for image in images]
    assert sorted(index for index, _ in found) == list(range(500))
    assert [int(data.train_labels[index]) for index, _ in found] == labels.tolist()
    assert len({how for _, how in found}) == 50  # every place and both directions occur among 500


def test_cutout_sets_a_square_to_the_mean():
    data = made_data(size=8)
    settings = ProxySettings(batch_size=40, shift=0, cutout=3)
    placed = _PlacedData(data, 0, CPU)
    (images, _), (plain, _) = (
        next(placed.batches(s, torch.Generator().manual_seed(4))) for s in (settings, ProxySettings(batch_size=40, shift=0))
    )
    for image, whole in zip(images, plain):
        changed = (image != whole).any(0)
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        assert changed.sum() == len(rows) * len(columns)
        assert 2 <= len(rows) <= 3
        assert 2 <= len(columns) <= 3  # a centre at the edge of the image leaves two of three
        assert (image[:, changed] == 0).all()
    assert (images == 0).all(1).sum() > 5 * 40


def test_a_data_set_smaller_than_a_batch_is_one_batch():
    placed = _PlacedData(made_data(count=6), 1, CPU)
    (only,) = placed.batches(ProxySettings(batch_size=64), torch.Generator())
    assert len(only[0]) == 6


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing():
    rates = _learning_rates(ProxySettings(learning_rate=0.5, warmup=0.2), steps=100)
    peak = int(np.argmax(rates))
    assert len(rates) == 100
    assert peak in (19, 20)
    assert rates[peak] == pytest.approx(0.5, rel=0.03)
    assert rates[0] == pytest.approx(0.0125)
    assert np.all(np.diff(rates[:peak]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert rates[-1] < 0.001
    assert rates[59] == pytest.approx(0.25, rel=0.05)  # half of the peak half-way down


def test_weight_decay_spares_batch_normalisation_and_biases(digits):
    network = build_evaluator(digits, **SMALL)._network(Job(0, CELL, 0), CPU)
    optimizer = _optimizer(network, ProxySettings(weight_decay=0.25))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.0 if ".bn." in name or name.endswith("bias") else 0.25), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 1}, "proxy: unknown setting 'lr'; expected one of width, macs, stem_width, "),
        ({"epochs": 0}, "proxy: epochs: expected a whole number from 1, found 0"),
        ({"batch_size": 1}, "proxy: batch_size: expected a whole number from 2, found 1"),
        ({"learning_rate": -1}, "proxy: learning_rate: expected a number above 0, found -1"),
        ({"learning_rate": "fast"}, "proxy: learning_rate: expected a number above 0, found 'fast'"),
        ({"warmup": 1.0}, "proxy: warmup: expected a number from 0 to below 1, found 1.0"),
        ({"weight_decay": float("nan")}, "proxy: weight_decay: expected a number from 0, found nan"),
        ({"stem_stride": 3}, "proxy: stem_stride: expected 1 or 2, found 3"),
        ({"flip": "yes"}, "proxy: flip: expected True or False, found 'yes'"),
        ({"amp": "fp16"}, "proxy: amp: expected one of auto, native, on, off, found 'fp16'"),
        ({"shift": 8}, "proxy: shift=8: expected less than the images' 8 pixels"),
        ({"cutout": 9}, "proxy: cutout=9: expected less than the images' 8 pixels"),
    ],
)
def test_wrong_settings_are_named(digits, settings, message):
    with pytest.raises(SearchError) as caught:
        build_evaluator(digits, **settings)
    assert message in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_as_well_and_repeats_itself():
    data = build_data("digits", train_per_class=60, val_per_class=50)
    on_cpu = build_evaluator(data).evaluate(Job(0, CELL, seed=0))
    on_gpu = build_evaluator(data).evaluate(Job(0, CELL, seed=0), "cuda")
    assert on_gpu.accuracy == pytest.approx(on_cpu.accuracy, abs=0.1)
    assert on_gpu.curve == build_evaluator(data).evaluate(Job(0, CELL, seed=0), "cuda").curve
