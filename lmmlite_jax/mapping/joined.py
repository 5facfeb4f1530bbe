"""Traits observed in different individuals, tested together where one rotation serves them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lmmlite_jax.mapping.effects import effects_among_more
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.statistics import Pairs, tests_of_effects
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.tested_traits import AmongMore, Traits
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["JoinedTraits", "are_joined"]

TRAITS_JOINED = 64
"""Most traits that are tested together: more of them fill the cores by themselves."""


def are_joined(block: TraitBlock) -> bool:
    """Whether the traits are tested together with those of other blocks."""
    return block.individuals.wider is not None or block.traits.size <= TRAITS_JOINED


class _Part(NamedTuple):
    """Numbers of traits, -1 beyond the last, the individuals of each, and what tests need."""

    traits: Int[np.ndarray, " T"]
    n: Float[np.ndarray, " T"]
    among: AmongMore


class JoinedTraits:
    """Traits of some blocks that one rotation serves, joined without the blocks' empty places.

    Blocks are of the individuals of the rotation, who leave nobody out, or have them as ``wider``.
    """

    def __init__(self, blocks: Sequence[TraitBlock]) -> None:
        self._blocks = list(blocks)
        columns = list(zip(*map(_columns, blocks), strict=True))
        traits, n, dof, rss, weights, weighted = (np.concatenate(x, axis=-1) for x in columns[:6])
        q, s = len(weighted), max((len(left_out) for left_out in columns[6]), default=0)
        left_out = np.concatenate(
            [np.broadcast_to(of, (s, q, of.shape[-1])) for of in columns[6]], axis=-1
        )
        size = min(traits.size, TRAITS_JOINED)
        self._parts = []
        for start in range(0, traits.size, size or 1):
            beyond = max(start + size - traits.size, 0)
            some = slice(start, start + size)
            of_part = Traits(
                _padded(weighted[:, some], beyond, 0.0),
                _padded(weights[:, some], beyond, 0.0),
                _padded(rss[some], beyond, np.nan),
                _padded(dof[some], beyond, 2.0),
            )
            among = AmongMore(of_part, _padded(left_out[..., some], beyond, 0.0))
            numbers = np.pad(traits[some], (0, beyond), constant_values=-1)
            self._parts.append(_Part(numbers, np.pad(n[some], (0, beyond), "edge"), among))

    def are_of(self, blocks: Sequence[TraitBlock]) -> bool:
        """Whether these are the blocks."""
        return list(map(id, self._blocks)) == list(map(id, blocks))

    def tests(
        self, markers: Markers, method: Method
    ) -> Iterator[tuple[Int[np.ndarray, " T"], Pairs]]:
        """Numbers of traits, -1 for one whose tests would not be exact, and all their tests."""
        for part in self._parts:
            effects, exact = effects_among_more(markers, part.among)
            tests = tests_of_effects(effects, part.among.traits.dof, part.n, method)
            yield np.where(exact, part.traits, -1), tests


def _padded(values: Float[np.ndarray, "*of T"], beyond: int, fill: float) -> Array:
    """On the device, with some more traits that are never asked for."""
    width = [(0, 0)] * (values.ndim - 1) + [(0, beyond)]
    return jnp.asarray(np.pad(values, width, constant_values=fill) if beyond else values)


def _columns(block: TraitBlock) -> tuple[np.ndarray, ...]:
    """What a block has of each of its traits: none where it has to be tested by itself."""
    among, alone = block.among_more, block.individuals.wider is None
    used = np.flatnonzero((block.traits >= 0) & (alone or among is not None))
    traits = block.at_null if among is None else among.traits
    left_out = np.zeros((1, 1, block.traits.size)) if among is None else np.asarray(among.left_out)
    arrays = (
        block.traits,
        np.full(block.traits.size, float(block.n)),
        np.full(block.traits.size, float(block.dof)),
        np.asarray(traits.rss),
        np.asarray(traits.weights),
        np.asarray(traits.weighted),
        left_out,
    )
    return tuple(values[..., used] for values in arrays)
