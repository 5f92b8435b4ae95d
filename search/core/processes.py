"""Calls in several processes, and word of how far each of them is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from typing import Any

from gemnet.core.signals import ENDING
from search.core.types import Progress, SearchError

TELL_SECONDS = 1.0
"""How often a call tells how far it is."""
WATCH_SECONDS = 0.5

_news: SimpleQueue | None = None


def in_processes(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    jobs: int,
    name: str,
    told: Callable[[str, int, int, str], None] | None = None,
) -> Generator[Any, None, None]:
    """Yields what `function(*call)` gives for each of `calls`, in the order in which they end, `jobs` at a time.

    All that is passed must be picklable. Close the generator (`contextlib.closing`) to end all processes at once, so after
    Ctrl-C. told: called here with title, done, total and note of the bars that a call shows with `RemoteBars`. Raises what a
    call raises, and SearchError, beginning with `name`, where a process dies.
    """
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue() if told else None
    pool = ProcessPoolExecutor(jobs, context, _begin, (news, os.getpid()))
    try:
        waiting = {pool.submit(function, *call) for call in calls}
        while waiting:
            done, waiting = wait(waiting, TELL_SECONDS if told else None, FIRST_COMPLETED)
            while news and told and not news.empty():
                told(*news.get())
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise SearchError(f"{name}: a process died, perhaps for want of memory; go on with fewer --jobs") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():  # none has work left but after an error or Ctrl-C
            process.kill()


class RemoteBars:
    """Bars of a call of `in_processes`: what `search.core.display.Display` is in this process, told to that one."""

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Yields a callback (done, total, note)."""
        last = -TELL_SECONDS

        def report(done: int, total: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if _news is not None and (done == total or now - last >= TELL_SECONDS):
                last = now
                _news.put((title, done, total, note))

        yield report


def _begin(news: SimpleQueue | None, parent: int) -> None:
    """Ctrl-C and its like reach the whole group of processes; the first one decides. Where it is killed, this one ends too."""
    global _news
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    _news = news


def end_with(parent: int) -> None:
    """Watch over this process from now on: it ends when its parent is gone, even by SIGKILL. parent: its id, as the parent
    itself told it, for the parent may be gone already."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
