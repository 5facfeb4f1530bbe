"""Random orders of residuals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

__all__ = ["permuted"]


def permuted(real: int, size: int, permutations: int, seed: int) -> Int[np.ndarray, "P size"]:
    """Permutations (P, size) of the first ``real`` elements: the others are padding."""
    rng = np.random.default_rng(seed)
    first = rng.permuted(np.tile(np.arange(real, dtype=np.int32), (permutations, 1)), axis=1)
    rest = np.broadcast_to(np.arange(real, size, dtype=np.int32), (permutations, size - real))
    return np.concatenate([first, rest], axis=1)
