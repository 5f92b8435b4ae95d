"""Work on many files, in processes where there are many."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from gemnet.core.machine import cores
from gemnet.core.signals import ENDING

FEW = 2000
"""Files that one process has done before others have begun."""
CHUNK = 250
MOST = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in their order. Ctrl-C ends all processes at once."""
    workers = min(cores(), MOST)
    if len(items) < FEW or workers < 2:
        return [function(item) for item in items]
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin, (os.getpid(),))
    try:
        return list(pool.map(function, items, chunksize=CHUNK))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    """A signal reaches the whole group of processes: the first one decides. Where that is killed, this one ends too."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
