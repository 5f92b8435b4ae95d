"""What machine this is, for what is measured on it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name."""
    return _told(CPUINFO, "model name") or platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(cpu: Path = CPUINFO) -> bool | None:
    """Whether the CPU has instructions for bfloat16, by the flags that Linux tells; None where it tells none."""
    flags = _told(cpu, "flags|Features")
    return None if flags is None else bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split()))


def _told(cpu: Path, name: str) -> str | None:
    """What the first line of that name says, a pattern, of a file like Linux's /proc/cpuinfo; None without one."""
    try:
        found = re.search(rf"^(?:{name})\s*:(.*)$", cpu.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else found[1].strip()
