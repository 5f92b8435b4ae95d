"""What machine this is, for what is measured on it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(cpu: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the CPU has instructions for bfloat16, by the flags that Linux tells; None where it tells none."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpu.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else bool({"avx512_bf16", "amx_bf16", "bf16"} & set(found[1].split()))
