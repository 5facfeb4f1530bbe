"""Interrupts (Ctrl-C) that come where Python ignores exceptions."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["interruptible"]

_PAUSE = 0.02  # seconds, in which the function that ignored an interrupt returns
_LATE = 0.5  # seconds after which an interrupt has come right before a system call, and waits


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in this block at every interrupt, none being lost.

    Python runs signal handlers between any two instructions, those of destructors and of functions
    that garbage collection calls among them, and what is raised there it prints and forgets. JAX
    has such a function. An interrupt that was ignored is therefore sent again, until it arrives:
    one that comes right before a system call waits for its end.

    Outside of the main thread, where no interrupt arrives, and where a program ignores interrupts,
    this does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    handler = signal.default_int_handler if before is signal.SIG_DFL else before
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    # Its `put` may be called from where a lock is held or another `put` is under way.
    ignored: SimpleQueue[bool] = SimpleQueue()
    arrived = threading.Event()
    report = sys.unraisablehook

    def take(number: int, frame: FrameType | None) -> None:
        arrived.set()
        handler(number, frame)

    def notice(exception: UnraisableHookArgs) -> None:
        if issubclass(exception.exc_type, KeyboardInterrupt):
            ignored.put(True)
        else:
            report(exception)

    def send_again() -> None:
        while ignored.get():
            time.sleep(_PAUSE)
            arrived.clear()
            _interrupt_main_thread()
            while not arrived.wait(_LATE):
                _interrupt_main_thread()

    sender = threading.Thread(target=send_again, name="interrupts", daemon=True)
    sender.start()
    sys.unraisablehook = notice
    signal.signal(signal.SIGINT, take)
    try:
        yield
    finally:
        ignored.put(False)
        sender.join()
        sys.unraisablehook = report
        signal.signal(signal.SIGINT, before)


def _interrupt_main_thread() -> None:
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        # To that thread, so that a system call it waits in ends.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
