"""How much is worked on together: what stays in a CPU's cache, or what fills an accelerator."""

from __future__ import annotations

from typing import NamedTuple

from lmmlite_jax.model.threads import on_cpu

__all__ = ["AtOnce", "at_once"]


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
    screened : int
        Markers whose products with a block of traits are written before they are reduced.
    groups : int
        Groups of markers that a screen looks into together.
    decided : int
        Markers that are rotated together in double precision for the pairs that a screen leaves.
    """

    traits: int
    markers: int
    statistics: int
    waiting: int
    screened: int
    groups: int
    decided: int


CPU = AtOnce(
    traits=1024,
    markers=512,
    statistics=2**23,
    waiting=2**23,
    screened=1024,
    groups=128,
    decided=256,
)

ACCELERATOR = AtOnce(
    traits=8192,
    markers=2**13,
    statistics=2**26,
    waiting=2**28,
    screened=2**13,
    groups=2**10,
    decided=2**12,
)


def at_once() -> AtOnce:
    """Those of the device that JAX computes on."""
    return CPU if on_cpu() else ACCELERATOR
