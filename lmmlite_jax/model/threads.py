"""Threads of BLAS, which go on spinning after every call and take the cores from XLA's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

__all__ = ["few_blas_threads"]

MOST_FOR_ONE_THREAD = 600
"""Largest matrix whose decomposition gains less by threads than what follows loses by them."""


@contextmanager
def few_blas_threads(n: int) -> Iterator[None]:
    """Decompose n × n matrices on one thread if they are small."""
    if n > MOST_FOR_ONE_THREAD:
        yield
        return
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
