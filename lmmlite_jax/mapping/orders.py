"""Random orders of residuals."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int

__all__ = ["orders_in_parts"]

AT_ONCE = 1024
"""Permutations whose products with a block of markers stay in cache."""


@lru_cache(maxsize=8)
def orders_in_parts(
    real: int, size: int, permutations: int, seed: int
) -> Int[np.ndarray, "C width size"]:
    """Permutations of the first ``real`` elements, the others being padding.

    They come in C parts of one width; those beyond the number asked for repeat the first.
    """
    rng = np.random.default_rng(seed)
    first = rng.permuted(np.tile(np.arange(real, dtype=np.int32), (permutations, 1)), axis=1)
    rest = np.broadcast_to(np.arange(real, size, dtype=np.int32), (permutations, size - real))
    parts = -(-permutations // AT_ONCE)
    width = -(-permutations // parts)
    return np.resize(np.concatenate([first, rest], axis=1), (parts, width, size))
