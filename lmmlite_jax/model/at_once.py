"""How much is worked on together: what stays in a CPU's cache, or what fills an accelerator.

Where that was too much, it is half as much from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import jax

from lmmlite_jax.model.threads import on_cpu

__all__ = ["AtOnce", "Product", "at_once", "for_accelerator", "halve", "halved_if_full"]

A = TypeVar("A")

Product: TypeAlias = Literal["single", "coarse", "fused"]
"""How a screen multiplies: in single precision, of numbers rounded to bfloat16, or of these in a
kernel that keeps the largest alone."""

FUSED = ("NVIDIA H100", "NVIDIA H200")
"""Devices that use the kernel: it was measured to be faster on the first, and the second has the
same processor."""

LEAST_MEMORY = 2**32
"""Bytes that an accelerator is taken to have where it does not say."""

BYTES_OF_A_GENOTYPE = 12
"""As it came, up to eight, and rotated in single precision."""

ARRAYS_OF_STATISTICS = 12
"""Four that are kept, and what they are made of."""

SMALLEST = 64
"""What no number of markers, traits or the like is halved below."""

_halvings = 0
"""How often memory did not suffice in this process."""


class AtOnce(NamedTuple):
    """What is worked on together.

    Attributes
    ----------
    traits : int
        Traits of a block: enough to fill a matrix product, few enough to stay in cache.
    markers : int
        Markers of a block.
    statistics : int
        Pairs of which all statistics are made together, times the squared columns of a marker.
    waiting : int
        Genotypes that are screened before the pairs left are tested: the more, the fewer are left.
    maxima : int
        Numbers that screens may leave on the device until then.
    screened : int
        Markers whose products with a block of traits are written before they are reduced.
    groups : int
        Groups of markers that a screen looks into together.
    decided : int
        Markers that are rotated together in double precision for the pairs that a screen leaves.
    permuted : int
        Numbers of permuted traits that are held while all markers pass.
    product : Product
        How a screen multiplies.
    """

    traits: int
    markers: int
    statistics: int
    waiting: int
    maxima: int
    screened: int
    groups: int
    decided: int
    permuted: int
    product: Product

    def halved(self, times: int) -> AtOnce:
        """Half as much of everything, so many times."""
        sizes = self._asdict()
        del sizes["product"]
        return self._replace(**{name: max(size >> times, SMALLEST) for name, size in sizes.items()})


CPU = AtOnce(
    traits=1024,
    markers=512,
    statistics=2**23,
    waiting=2**23,
    maxima=2**27,
    screened=1024,
    groups=128,
    decided=256,
    permuted=2**23,
    product="single",
)


def at_once() -> AtOnce:
    """What is worked on together on the device that JAX computes on."""
    return _of_device().halved(_halvings)


def halve(error: jax.errors.JaxRuntimeError) -> None:
    """Work on half as much together from now on, and say so, if a device had too little memory.

    Raises
    ------
    MemoryError
        If it is as little as can be.
    jax.errors.JaxRuntimeError
        The error, if it is another one.
    """
    global _halvings
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    before = at_once()
    if before.traits == before.markers == SMALLEST:
        raise MemoryError(
            f"The device has too little memory even for {SMALLEST} markers × {SMALLEST} traits: "
            "use one with more, or leave individuals or covariates out."
        ) from error
    _halvings += 1
    after = at_once()
    logging.getLogger("lmmlite_jax").warning(
        "The device has too little memory for %s markers × %s traits at once: going on with "
        "%s × %s.",
        *(f"{size:,}" for size in (before.markers, before.traits, after.markers, after.traits)),
    )


def halved_if_full(work: Callable[[], A]) -> A:
    """Result of some work, done again with half as much at once while memory does not suffice."""
    while True:
        try:
            return work()
        except jax.errors.JaxRuntimeError as error:
            halve(error)


def _of_device() -> AtOnce:
    if on_cpu():
        return CPU
    device = jax.default_device.value
    if device is None or isinstance(device, str):
        device = jax.devices(device)[0]
    stats = device.memory_stats()
    product: Product = "fused" if device.device_kind.startswith(FUSED) else "coarse"
    return for_accelerator(stats["bytes_limit"] if stats else LEAST_MEMORY, product)


@lru_cache
def for_accelerator(memory: int, product: Product = "coarse") -> AtOnce:
    """For an accelerator of so many bytes, of which an eighth is for any one purpose."""
    eighth = max(memory, LEAST_MEMORY) // 8
    return AtOnce(
        traits=8192,
        markers=8192,
        statistics=_power_of_two(eighth / (8 * ARRAYS_OF_STATISTICS)),
        waiting=_power_of_two(eighth / BYTES_OF_A_GENOTYPE),
        maxima=_power_of_two(eighth / 4),
        screened=8192,
        groups=1024,
        decided=4096,
        permuted=_power_of_two(eighth / 8),
        product=product,
    )


def _power_of_two(most: float) -> int:
    return 1 << (int(most).bit_length() - 1)
