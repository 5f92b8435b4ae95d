"""Training on several processes, with GPUs or without: process group, wrapper, synchronised normalisation, mixed precision.

mmengine's own assume a GPU for each process; these fall back to gloo, the CPU and bfloat16 where there is none.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import MODEL_WRAPPERS, MODELS, OPTIM_WRAPPERS


class LaunchError(UserError):
    """The processes do not fit the machine."""


def init_processes(launcher: str) -> None:
    """Join the process group that the launcher (`pytorch` for torchrun, or `slurm`) has made: NCCL, or gloo without a GPU.

    With the launcher `none` there is one process, and nothing to join.

    Raises LaunchError where a GPU is there, but not one for each process of this machine.
    """
    if launcher == "none":
        return
    if launcher == "slurm":
        _slurm_to_torchrun()
    elif launcher != "pytorch":
        raise LaunchError(f"launcher {launcher!r}: expected pytorch (torchrun) or slurm")
    missing = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise LaunchError(f"launcher {launcher}: {', '.join(missing)} not set; start it with tools/dist_train.sh, or torchrun")
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
    if launcher == "slurm" and gpus == 1:  # Slurm shows each task its own GPU alone
        local = 0
        os.environ["LOCAL_RANK"] = "0"
    elif gpus and processes > gpus:
        raise LaunchError(
            f"{processes} processes on this machine, but {gpus} GPU{'s' * (gpus > 1)}: start at most {gpus}, "
            "or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    if gpus:
        torch.cuda.set_device(local)
    dist.init_process_group(backend="nccl" if gpus else "gloo")


def leave_processes() -> None:
    """Leave the process group, if any, once nothing of the run is in use any more.

    Gloo's threads end with the group's last reference, which a model's wrapper, part of a cycle, may hold. One that frees a
    tensor while the interpreter ends aborts the process (`terminate called without an active exception`).
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def _slurm_to_torchrun() -> None:
    """Slurm's variables under torchrun's names."""
    names = {"SLURM_PROCID": "RANK", "SLURM_LOCALID": "LOCAL_RANK", "SLURM_NTASKS": "WORLD_SIZE"}
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise LaunchError(f"launcher slurm: {', '.join(missing)} not set; start it with tools/slurm_train.sh, or srun")
    for theirs, ours in names.items():
        os.environ[ours] = os.environ[theirs]
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        nodes = ["scontrol", "show", "hostnames", os.environ.get("SLURM_NODELIST", "")]
        try:
            os.environ["MASTER_ADDR"] = subprocess.run(nodes, check=True, capture_output=True, text=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError) as error:
            raise LaunchError(f"launcher slurm: scontrol does not tell the first machine ({error}); set MASTER_ADDR") from error
    if "SLURM_NTASKS_PER_NODE" in os.environ:
        os.environ["LOCAL_WORLD_SIZE"] = os.environ["SLURM_NTASKS_PER_NODE"]


@MODEL_WRAPPERS.register_module()
class DistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model on the CPU as well, where a device must not be named."""

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs: Any) -> None:
        on_gpu = next(module.parameters()).is_cuda
        super().__init__(module=module, device_ids=device_ids if on_gpu else None, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """As mmengine's; the losses to be logged are the means of all processes, not those of the first."""
        logged = super().train_step(data, optim_wrapper)
        names = sorted(logged)
        means = torch.stack([torch.as_tensor(logged[name], dtype=torch.float32).detach() for name in names])
        means = means.to(next(self.parameters()).device)
        dist.all_reduce(means)
        return dict(zip(names, means / dist.get_world_size()))


class CPUSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all processes on the CPU, which torch's SyncBatchNorm cannot do.

    The sums travel by a differentiable all-reduce. On one process, and in evaluation, it is plain batch normalisation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_full((1,), x.numel() / x.shape[1])
        mean = all_reduce(torch.cat([x.sum((0, 2, 3)), count]))
        total = mean[-1].detach()
        mean = mean[:-1] / total
        centred = x - mean[:, None, None]
        var = all_reduce(centred.square().sum((0, 2, 3))) / total
        self._track(mean.detach(), (var * total / (total - 1)).detach())
        scale = torch.rsqrt(var + self.eps)
        if not self.affine:
            return (centred * scale[:, None, None]).to(input.dtype)
        return (centred * (self.weight * scale)[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Take a batch's statistics [C] into the running ones, if there are any."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


class CPUSyncBatchNormAct(CPUSyncBatchNorm):
    """The same in place of timm's BatchNormAct2d, whose dropout and activation it keeps."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


def synchronised(module: nn.Module) -> nn.Module:
    """`module` with synchronised batch normalisation if several processes train; its weights keep their names.

    Of plain BatchNorm2d and timm's BatchNormAct2d.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return module
    if torch.cuda.is_available():
        return convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            kind = CPUSyncBatchNormAct if isinstance(child, BatchNormAct2d) else CPUSyncBatchNorm
            norm = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            norm.load_state_dict(child.state_dict())
            if isinstance(child, BatchNormAct2d):
                norm.drop, norm.act = child.drop, child.act
            setattr(module, name, norm)
        else:
            synchronised(child)
    return module


# torch's own where there are GPUs; mmengine makes it plain batch normalisation where there is one process.
MODELS.register_module("SyncBN", module=nn.SyncBatchNorm if torch.cuda.is_available() else CPUSyncBatchNorm)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, which needs no loss scaling, on any device."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
