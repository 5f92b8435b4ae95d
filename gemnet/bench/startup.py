"""How much CPU time commands take to start, beside `import torch` in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gemnet.core.errors import UserError

REFERENCE = "import torch"
RECORD = "docs/results/search/nasgem_cifar10.jsonl"
ACTIONS = ("status", "top", "export", "report", "retrain", "settings")


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system time of a command and what it waited for, its output thrown away. Raises UserError where it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr:
        message = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(command)}: ended with {process.returncode}: {message.strip()[-500:]}")
    return usage.ru_utime + usage.ru_stime


def commands(root: Path) -> dict[str, list[str]]:
    """By name: the reference, `import gemnet`, a look at a search's record, and the help of each tool and of its actions."""
    tools = sorted((root / "tools").glob("*.py"))
    found = {code: [sys.executable, "-c", code] for code in (REFERENCE, "import gemnet")}
    for action in ("status", "top"):
        found[f"search.py {action} RECORD"] = [sys.executable, str(root / "tools/search.py"), action, str(root / RECORD)]
    found |= {f"{tool.name} --help": [sys.executable, str(tool), "--help"] for tool in tools}
    found |= {f"search.py {a} --help": [sys.executable, str(root / "tools/search.py"), a, "--help"] for a in ACTIONS}
    return found | {f"{s.name} --help": ["bash", str(s), "--help"] for s in sorted((root / "tools").glob("*.sh"))}


def measure_startup(root: Path, repeats: int = 5) -> dict[str, float]:
    """Median CPU seconds of each command over `repeats` runs, in turns after one run of all to fill the disk's cache."""
    found = commands(root)
    times: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(repeats + 1):
        for name, command in found.items():
            taken = cpu_seconds(command)
            times[name] += [taken] * (turn > 0)
    return {name: statistics.median(taken) for name, taken in times.items()}


def table(seconds: dict[str, float]) -> str:
    """A line a command: CPU seconds, and how often the reference's."""
    width = max(map(len, seconds))
    lines = [f"{name:{width}}  {taken:6.2f} s  {taken / seconds[REFERENCE]:5.2f}" for name, taken in seconds.items()]
    return "\n".join([f"{'CPU time, median':{width}}           x {REFERENCE}", *lines])
