"""Permutations of the traits of a block, and the largest share that any marker has of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.effects import largest_share
from lmmlite_jax.mapping.orders import orders_in_parts
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.tested_traits import Traits
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["PermutedBlock", "traits_at_once"]

PERMUTED_AT_ONCE = 2**14
"""Permuted traits that are held while all markers pass."""


def traits_at_once(permutations: int) -> int:
    """Traits whose permutations are held while all markers pass."""
    return max(1, PERMUTED_AT_ONCE // permutations)


class PermutedBlock:
    """Permutations of the traits of a block, each at a heritability of its own.

    Attributes
    ----------
    block : TraitBlock
        The block.
    places : (traits,)
        Places in it of the traits that have a test.
    """

    def __init__(self, block: TraitBlock, permutations: int, seed: int, dtype: str) -> None:
        self.block, self.places = block, _tested(block)
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
        found = np.empty((self.places.size, self._permutations))
        for i, (place, parts) in enumerate(zip(self.places, self._traits, strict=True)):
            own = all_markers if tested is None else tested[:, place]
            shares = [np.asarray(_largest_share(markers, own, part)) for part in parts]
            found[i] = np.concatenate(shares)[: self._permutations]
        return found


def _tested(block: TraitBlock) -> Int[np.ndarray, " traits"]:
    return np.flatnonzero((block.traits >= 0) & np.isfinite(np.asarray(block.at_null.rss)))


@jax.jit
def _largest_share(
    markers: Markers, tested: Bool[Array, " B"], traits: Traits
) -> Float[Array, " P"]:
    used = markers.varies & tested
    values = jnp.where(used[:, :, None], markers.values, 0.0).astype(traits.weighted.dtype)
    return largest_share(markers._replace(values=values, varies=used), traits)
