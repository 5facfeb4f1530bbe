"""The devices of one process, and pieces of work that are spread over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax

from lmmlite_jax.model.precision import double_precision
from lmmlite_jax.model.threads import cores, on_cpu

__all__ = ["devices", "one_ahead", "spread"]

A = TypeVar("A")
B = TypeVar("B")


def devices() -> list[jax.Device]:
    """Those that JAX computes on here: all of the default kind, or the one that was chosen."""
    chosen = jax.default_device.value
    if chosen is None:
        return jax.local_devices()
    return jax.local_devices(backend=chosen)[:1] if isinstance(chosen, str) else [chosen]


def one_ahead(results: Iterator[A]) -> Iterator[A]:
    """Results of JAX's work, each handed over when the next one has been started."""
    waiting: deque[A] = deque()
    for result in results:
        waiting.append(result)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def spread(
    work: Callable[[jax.Device | None, A], B], pieces: Iterable[A], *, overlapping: bool = False
) -> Iterator[B]:
    """Results of pieces of work in their order, each done on the next of several devices.

    ``work`` gets the device, or None where there is but one, and a piece. A thread for each device
    does one piece at a time; where the only one is a CPU and pieces are ``overlapping``, two
    threads do, so that one prepares what is next while the other multiplies.
    """
    several: list[jax.Device | None] = [*devices()]
    if len(several) == 1:
        several = [None] * (2 if overlapping and on_cpu() and cores() > 1 else 1)
    if len(several) == 1:
        yield from (work(None, piece) for piece in pieces)
        return
    settings = jax.default_device.value

    def on(device: jax.Device | None, piece: A) -> B:
        # Settings are a thread's own.
        with double_precision(), jax.default_device(settings if device is None else device):
            return work(device, piece)

    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(len(several)) as pool:
        for number, piece in enumerate(pieces):
            if len(waiting) == len(several):
                yield waiting.popleft().result()
            waiting.append(pool.submit(on, several[number % len(several)], piece))
        while waiting:
            yield waiting.popleft().result()
