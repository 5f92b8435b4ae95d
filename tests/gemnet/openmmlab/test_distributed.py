"""Processes, synchronised normalisation and mixed precision without a GPU."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from commands import fork_server
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from gemnet.cli.running import reported
from gemnet.openmmlab.distributed import (
    CPUSyncBatchNorm,
    DistributedDataParallel,
    LaunchError,
    init_processes,
    leave_processes,
)
from gemnet.openmmlab.engine import load_config
from gemnet.openmmlab.features import FeatureBackbone

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def in_two(function, *arguments):
    """What `function(rank, *arguments, results)` puts into `results` in two processes."""
    context = fork_server()
    results = context.Manager().dict()
    mp.start_processes(function, (*arguments, results), nprocs=2, start_method=context.get_start_method())
    return dict(results)


@pytest.fixture
def environment(monkeypatch):
    for name in [*VARIABLES, *(name for name in os.environ if name.startswith("SLURM_"))]:
        monkeypatch.setenv(name, "")  # so that what the launcher sets is undone
        monkeypatch.delenv(name)
    return monkeypatch


def one_of_two(rank, file, x, weights, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    norm = CPUSyncBatchNorm(5)
    norm.load_state_dict(weights)
    shares = x.chunk(2) if len(x) % 2 == 0 else (x[:2], x[2:])  # unequal batches count by their size
    share = shares[rank].clone().requires_grad_()
    y = norm(share)
    coefficients = torch.linspace(-1, 1, x.numel()).reshape(x.shape)
    (y * (coefficients[: len(shares[0])] if rank == 0 else coefficients[len(shares[0]) :])).square().sum().backward()
    gradients = [norm.weight.grad, norm.bias.grad]
    for gradient in gradients:
        dist.all_reduce(gradient)
    results[rank] = (y.detach(), share.grad, *gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked)
    for index, settings in enumerate(SETTINGS):
        norm = CPUSyncBatchNorm(5, **settings)
        results[rank, index] = (norm(share).detach(), norm(share + 1).detach(), norm.running_mean, norm.running_var)
    dist.destroy_process_group()


SETTINGS = ({"affine": False, "momentum": None}, {"track_running_stats": False})
"""Of batch normalisation: without weights, the running statistics the mean of all batches'; without running statistics."""


@pytest.mark.parametrize("batch", [4, 5])
def test_two_processes_normalise_as_one_with_the_whole_batch(batch, tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(batch, 5, 6, 7, generator=generator)
    whole = nn.BatchNorm2d(5)
    nn.init.normal_(whole.weight, generator=generator)
    weights = {key: value.clone() for key, value in whole.state_dict().items()}
    inputs = x.clone().requires_grad_()
    expected = whole(inputs)
    (expected * torch.linspace(-1, 1, x.numel()).reshape(x.shape)).square().sum().backward()

    results = in_two(one_of_two, str(tmp_path / "meet"), x, weights)
    first, second = results[0], results[1]
    torch.testing.assert_close(torch.cat([first[0], second[0]]), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), inputs.grad, rtol=1e-4, atol=1e-5)
    for result in (first, second):
        for found, wanted in zip(result[2:], (whole.weight.grad, whole.bias.grad, whole.running_mean, whole.running_var)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert result[6] == whole.num_batches_tracked == 1
    for index, settings in enumerate(SETTINGS):
        whole = nn.BatchNorm2d(5, **settings)
        expected = [whole(x), whole(x + 1), whole.running_mean, whole.running_var]
        for place, wanted in enumerate(expected):
            found = [results[rank, index][place] for rank in range(2)]
            found = torch.cat(found) if place < 2 else found[0]
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def wrapped_of_two(rank, file, x, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(0)
    backbone = FeatureBackbone("timm/mobilenetv2_140", ["blocks.0", "blocks.1"], sync_bn=True).train()
    results[rank] = tuple(y.detach() for y in backbone(x.chunk(2)[rank]))
    dist.destroy_process_group()


def test_a_wrapped_model_normalises_over_two_processes_and_keeps_its_activations(tmp_path):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    results = in_two(wrapped_of_two, str(tmp_path / "meet"), x)
    torch.manual_seed(0)
    alone = FeatureBackbone("timm/mobilenetv2_140", ["blocks.0", "blocks.1"], sync_bn=True).train()
    for first, second, whole in zip(results[0], results[1], alone(x)):
        torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-4, atol=1e-4)


def command_of_two(rank, port, results):
    torch.set_num_threads(1)
    os.environ.update(dict(zip(VARIABLES, (str(rank), str(rank), "2", "2", "localhost", str(port)))))

    def task():
        init_processes("pytorch")
        model = DistributedDataParallel(nn.Linear(3, 2))
        model.itself = [model]  # as in a runner: only the garbage collector finds that it is not in use
        model(torch.ones(4, 3)).sum().backward()
        dist.broadcast_object_list([{"metric": 1.0}] if rank == 0 else [None])
        results[f"during {rank}"] = gloo_threads()

    def train_and_leave():  # as gemnet train does
        task()
        leave_processes()

    results[rank] = reported("train", train_and_leave, "here"), gloo_threads()


def gloo_threads():
    return sum("gloo" in file.read_text() for file in Path("/proc/self/task").glob("*/comm"))


def test_a_command_of_two_processes_leaves_no_thread_to_the_end_of_the_interpreter():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    results = in_two(command_of_two, port)
    assert results["during 0"]
    assert results["during 1"]
    assert results[0] == results[1] == (0, 0)


def retinanet_step(share=slice(None)):
    """Losses and mean gradients of RetinaNet with GEMNet-A in double precision, on a share of four made images."""
    torch.set_default_dtype(torch.float64)
    config = load_config(str(Path(__file__).parents[3] / "configs/retinanet_gemnet_a.py"))
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.double().train()
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(4, 3, 64, 64, generator=random)
    samples = []
    for count in (1, 3, 2, 5):  # unequal numbers of boxes, so that each process has another number of positive anchors
        corners = 40 * torch.rand(count, 2, generator=random)
        sample = DetDataSample(metainfo={"img_shape": (64, 64), "pad_shape": (64, 64), "batch_input_shape": (64, 64)})
        boxes = torch.cat([corners, corners + 10 + 10 * torch.rand(count, 2, generator=random)], 1)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(0, 80, (count,), generator=random))
        samples.append(sample)
    loss, logged = model.parse_losses(model(inputs[share], samples[share], mode="loss"))
    loss.backward()
    torch.set_default_dtype(torch.float32)
    return {name: value.item() for name, value in logged.items()}, {n: p.grad for n, p in model.named_parameters()}


def retinanet_of_two(rank, file, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    logged, gradients = retinanet_step(slice(2 * rank, 2 * rank + 2))
    for gradient in gradients.values():
        dist.all_reduce(gradient)
        gradient /= 2
    results[rank] = logged, gradients
    dist.destroy_process_group()


@pytest.mark.long
def test_two_processes_have_the_losses_and_gradients_of_one_with_the_doubled_batch(tmp_path):
    results = in_two(retinanet_of_two, str(tmp_path / "meet"))
    logged, gradients = retinanet_step()
    for name, value in logged.items():  # mmdet adds 1.2e-7 to each normaliser, else it would be 1e-14
        assert (results[0][0][name] + results[1][0][name]) / 2 == pytest.approx(value, rel=1e-8)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().clamp(min=1e-6)
        assert (results[0][1][name] - gradient).abs().max() < 1e-7 * scale, name


@pytest.mark.parametrize("training", [True, False])
def test_one_process_normalises_as_batch_normalisation_does(training):
    norm, plain = CPUSyncBatchNorm(5).train(training), nn.BatchNorm2d(5).train(training)
    x = torch.randn(3, 5, 4, 4)
    assert torch.equal(norm(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(norm.state_dict().values(), plain.state_dict().values()))


@pytest.mark.parametrize(
    ("launcher", "variables", "message"),
    [
        ("pytorch", {}, "RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set; start it with tools/dist_train.sh"),
        ("slurm", {}, "SLURM_PROCID, SLURM_LOCALID, SLURM_NTASKS not set; start it with tools/slurm_train.sh"),
        ("mpi", {}, "expected pytorch .* or slurm"),
    ],
)
def test_a_launch_without_a_launcher_is_told(launcher, variables, message, environment):
    with pytest.raises(LaunchError, match=message):
        init_processes(launcher)


def test_more_processes_than_gpus_are_told(environment):
    environment.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in zip(VARIABLES, ("0", "0", "2", "2", "localhost", "1")):
        environment.setenv(name, value)
    with pytest.raises(LaunchError, match="2 processes on this machine, but 1 GPU: start at most 1"):
        init_processes("pytorch")


def test_a_slurm_task_with_a_gpu_of_its_own_uses_that(environment):
    joined = []
    environment.setattr(torch.cuda, "device_count", lambda: 1)
    environment.setattr(torch.cuda, "set_device", joined.append)
    environment.setattr(dist, "init_process_group", lambda backend: joined.append(backend))
    variables = {"SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}
    for name, value in {**variables, "MASTER_ADDR": "here"}.items():
        environment.setenv(name, value)
    init_processes("slurm")
    assert joined == [0, "nccl"]
    assert (os.environ["RANK"], os.environ["LOCAL_RANK"], os.environ["WORLD_SIZE"]) == ("3", "0", "8")


def test_slurm_without_scontrol_asks_for_the_address(environment):
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"):
        environment.setenv(name, "1")
    environment.setenv("PATH", "")
    with pytest.raises(LaunchError, match="set MASTER_ADDR"):
        init_processes("slurm")
