"""Permutations of the traits of a block, and the largest share that any marker has of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.effects import largest_share
from lmmlite_jax.mapping.orders import orders_in_parts
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.tested_traits import Traits
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["PermutedBlock", "traits_at_once"]


def traits_at_once(permutations: int, n: int) -> int:
    """Traits of n individuals whose permutations are held while all markers pass."""
    return max(1, at_once().permuted // (permutations * n))


class PermutedBlock:
    """Permutations of the traits of a block, each at a heritability of its own.

    Attributes
    ----------
    places : (traits,)
        Places in the block of the traits that have a test.
    """

    def __init__(self, block: TraitBlock, permutations: int, seed: int, dtype: str) -> None:
        self.places = _tested(block)
        self._permutations = permutations
        orders = orders_in_parts(block.dof, len(block.whitened.residuals), permutations, seed)
        self._traits = [
            [block.permuted(int(place), part, dtype) for part in orders] for place in self.places
        ]

    def largest_shares(
        self, markers: Markers, tested: Bool[np.ndarray, "B T"] | None = None
    ) -> Float[np.ndarray, "traits P"]:
        """Largest share of B markers, of those ``tested`` for a trait; NaN where there is none."""
        all_markers = np.ones(markers.varies.shape[1], dtype=bool)
        shares = [
            _largest_share(markers, all_markers if tested is None else tested[:, place], part)
            for place, parts in zip(self.places, self._traits, strict=True)
            for part in parts
        ]
        found = np.array([np.asarray(share) for share in shares])
        return found.reshape(self.places.size, -1)[:, : self._permutations]


def _tested(block: TraitBlock) -> Int[np.ndarray, " traits"]:
    return np.flatnonzero((block.traits >= 0) & np.isfinite(np.asarray(block.at_null.rss)))


@jax.jit
def _largest_share(
    markers: Markers, tested: Bool[Array, " B"], traits: Traits
) -> Float[Array, " P"]:
    used = markers.varies & tested
    values = jnp.where(used[:, :, None], markers.values, 0.0).astype(traits.weighted.dtype)
    return largest_share(markers._replace(values=values, varies=used), traits)
