"""The end of a command by a signal: SIGTERM and SIGHUP as Ctrl-C, so that what is under way is closed and workers end too."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal, a shell, a scheduler or a service manager sends to end a command."""
PATIENCE = 1.0
"""Seconds in which further signals count as the first one: a terminal that closes sends SIGHUP itself and by its shell."""


@contextmanager
def terminating() -> Iterator[None]:
    """In the body each of ENDING raises KeyboardInterrupt, as Ctrl-C does; one that comes more than PATIENCE later ends the
    process at once.

    What the process ignores, as SIGHUP under nohup, or handles itself stays so. In another thread than the main one, where
    Python hears no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    former = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number, handler in former.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, former[number])


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """After the body, this thread handles signals on the stack that it had for that before.

    OpenVINO names a stack with each network that it opens, and the former one when the network is closed. Of two open networks
    the one that is closed last names the freed stack of the other, and any signal is a segmentation fault. Open each in this
    body. Where the system has no such stack, nothing is done.
    """
    call = getattr(ctypes.CDLL(None), "sigaltstack", None)
    before = _Stack()
    known = call is not None and call(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if call is not None and known:
            call(ctypes.byref(before), None)
