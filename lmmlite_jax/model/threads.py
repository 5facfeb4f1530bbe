"""Threads: those of BLAS, of XLA, and of whoever calls.

BLAS's go on spinning after every call and take the cores from XLA's own. XLA's are few, and a
batch of LAPACK calls waits on one of them for the others (jaxlib 0.10.2): as many batches at a
time as there are cores, be it in one program or in several, wait for good. No program here has one
on a CPU, therefore: matrices are decomposed one after the other, on as many threads as there are
cores.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock, Semaphore
from typing import Any, TypeVar

import jax
from threadpoolctl import ThreadpoolController

from lmmlite_jax.model.precision import double_precision

__all__ = [
    "Workers",
    "cores",
    "few_blas_threads",
    "on_all_cores",
    "on_cpu",
    "side_by_side",
]

MOST_FOR_ONE_THREAD = 600
"""Largest matrix whose decomposition gains less by threads than what follows loses by them."""

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def few_blas_threads(n: int) -> Iterator[None]:
    """Decompose n × n matrices on one thread if they are small."""
    if n > MOST_FOR_ONE_THREAD:
        yield
        return
    _ONE_BLAS_THREAD.take()
    try:
        yield
    finally:
        _ONE_BLAS_THREAD.release()


class _OneBlasThread:
    """The process's limit, set by the first of the threads that want it, lifted by the last.

    If each restored what it had found, one of two that overlap would leave the limit in place.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._limit: Any = None

    def take(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._limit = _libraries().limit(limits=1, user_api="blas")
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._limit.restore_original_limits()


_ONE_BLAS_THREAD = _OneBlasThread()


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def on_cpu() -> bool:
    """Whether JAX computes on the CPU here, where its matrix decompositions are LAPACK's."""
    device = jax.default_device.value
    if device is None:
        return jax.default_backend() == "cpu"
    return getattr(device, "platform", device) == "cpu"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Threads for JAX's work that is begun before it is wanted.

    JAX does what one thread asks for in order, and not all of it keeps every core busy. Elsewhere
    than on a CPU, and where not ``several`` are wanted, there are none.

    Attributes
    ----------
    together : int
        How much is worked on together.
    """

    def __init__(self, several: bool = True) -> None:
        self.together = cores() if several and on_cpu() else 1
        self._threads = ThreadPoolExecutor(self.together) if self.together > 1 else None
        self._room = Semaphore(2 * self.together)

    def begin(self, function: Callable[[A], B], part: A) -> Callable[[], B]:
        """Begin with some work, and return what waits for its result.

        Waits where as much again is waiting for a thread, so that an interrupt finds little begun.
        Of what is begun after work that fails, no more is done.
        """
        if self._threads is None:
            found = function(part)
            return lambda: found
        self._room.acquire()
        begun = self._threads.submit(_for_threads(function), part)
        begun.add_done_callback(lambda _: self._room.release())

        def result() -> B:
            if begun.exception() is not None:
                self.close()
            return begun.result()

        return result

    def close(self) -> None:
        """Wait for the work that threads are at, and do no other."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def on_all_cores(function: Callable[[A], B], parts: Sequence[A]) -> Iterator[B]:
    """Results of JAX's work on each part, that keeps one core busy, in their order.

    On a CPU as many are at work as there are cores, while one of them is taken.
    """
    workers, begun = Workers(several=len(parts) > 1), deque[Callable[[], B]]()
    if workers.together == 1:
        yield from map(function, parts)
        return
    try:
        for part in parts:
            begun.append(workers.begin(function, part))
            if len(begun) > workers.together:
                yield begun.popleft()()
        for result in begun:
            yield result()
    finally:
        workers.close()


def side_by_side(function: Callable[[A], B], parts: Sequence[A]) -> list[B]:
    """Results of JAX's work on each part, each on a thread of its own, in double precision.

    Threads that want the same program wait for the first of them to compile it.
    """
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(_for_threads(function), parts))


def _for_threads(function: Callable[[A], B]) -> Callable[[A], B]:
    """A function of JAX's for other threads, finished when it returns, with this one's device."""
    device = jax.default_device.value

    def work(part: A) -> B:
        with double_precision(), jax.default_device(device):  # settings are a thread's own
            return jax.block_until_ready(function(part))

    return work
