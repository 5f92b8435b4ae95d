"""Whether memory was short, from what was raised, and what helps."""

from __future__ import annotations

import torch

REMEDY = (
    "take fewer workers (executor.workers), smaller batches (proxy.batch_size) or narrower networks (proxy.width, proxy.macs)"
)
_GPU = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_MACHINE = ("can't allocate memory", "Cannot allocate memory", "not enough memory")


def gpu_is_full(error: BaseException) -> bool:
    """Whether a GPU's memory was too small: torch says it in an error of its own, CUDA, cuBLAS and cuDNN in their words."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error) for words in _GPU)


def is_short(error: BaseException) -> bool:
    """Whether the memory of a GPU or of the machine was too small."""
    return isinstance(error, MemoryError) or gpu_is_full(error) or any(words in str(error) for words in _MACHINE)
