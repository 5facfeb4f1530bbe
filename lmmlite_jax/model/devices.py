"""The devices of one process, and pieces of work that are spread over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax

from lmmlite_jax.model.precision import double_precision

__all__ = ["devices", "spread"]

A = TypeVar("A")
B = TypeVar("B")


def devices() -> list[jax.Device]:
    """Those that JAX computes on here: all of the default kind, or the one that was chosen."""
    chosen = jax.default_device.value
    if chosen is None:
        return jax.local_devices()
    return jax.local_devices(backend=chosen)[:1] if isinstance(chosen, str) else [chosen]


def spread(work: Callable[[jax.Device | None, A], B], pieces: Iterable[A]) -> Iterator[B]:
    """Results of pieces of work in their order, each done on the next of several devices.

    ``work`` gets the device, or None where there is but one, and a piece. A thread for each device
    does one piece at a time.
    """
    several = devices()
    if len(several) == 1:
        yield from (work(None, piece) for piece in pieces)
        return

    def on(device: jax.Device, piece: A) -> B:
        with double_precision(), jax.default_device(device):  # settings are a thread's own
            return work(device, piece)

    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(len(several)) as pool:
        for number, piece in enumerate(pieces):
            if len(waiting) == len(several):
                yield waiting.popleft().result()
            waiting.append(pool.submit(on, several[number % len(several)], piece))
        while waiting:
            yield waiting.popleft().result()
