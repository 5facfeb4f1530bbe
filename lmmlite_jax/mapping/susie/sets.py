"""Credible sets: the fewest markers that hold an effect with the probability asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["CredibleSet", "credible_sets"]

FEW = 64


class CredibleSet(NamedTuple):
    """Markers of which one has the effect.

    Attributes
    ----------
    effect : int
        Which of the L effects, from 1.
    members : (size,)
        Places of the markers, ascending.
    coverage : float
        Posterior probability that the effect is one of theirs.
    min_abs_corr, mean_abs_corr, median_abs_corr : float
        Of the whitened markers, two by two: how alike they are to the model.
    """

    effect: int
    members: Int[np.ndarray, " size"]
    coverage: float
    min_abs_corr: float
    mean_abs_corr: float
    median_abs_corr: float


def credible_sets(
    posterior: Float[np.ndarray, "L S"],
    some: Bool[np.ndarray, " L"],
    columns: Callable[[Int[np.ndarray, " size"]], Float[np.ndarray, "size q"]],
    coverage: float,
    min_abs_corr: float,
) -> list[CredibleSet]:
    """Credible sets of the effects that there are, by effect.

    Parameters
    ----------
    posterior : (L, S)
        Probability of each marker that an effect is its own.
    some : (L,)
        Effects whose prior variance is not 0.
    columns : function
        Whitened markers in some places.
    coverage, min_abs_corr : float
        Least probability; and least |correlation| of any two markers, without which a set says
        nothing. Of equal sets the first is kept.
    """
    found: list[CredibleSet] = []
    seen: set[bytes] = set()
    for effect in np.flatnonzero(some).tolist():
        probability = posterior[effect]
        order = np.argsort(-probability, kind="stable")
        reached = np.cumsum(probability[order])
        size = min(int(np.searchsorted(reached, coverage)) + 1, order.size)
        members = np.sort(order[:size])
        if members.tobytes() in seen:
            continue
        seen.add(members.tobytes())
        correlations = _correlations(columns, members, order[:size], min_abs_corr)
        if correlations is not None:
            found.append(CredibleSet(effect + 1, members, float(reached[size - 1]), *correlations))
    return found


def _correlations(
    columns: Callable[[Int[np.ndarray, " size"]], Float[np.ndarray, "size q"]],
    members: Int[np.ndarray, " size"],
    order: Int[np.ndarray, " size"],
    least: float,
) -> tuple[float, float, float] | None:
    """Smallest, mean and median |correlation| of any two members; None where one is too small.

    ``order`` has the members from the likeliest to the least.
    """
    if members.size == 1:
        return 1.0, 1.0, 1.0
    # The likeliest marker with some others first: a set without an effect can have thousands.
    first = columns(np.concatenate([order[:1], order[-FEW:]]))
    if np.abs(_unit(first) @ _unit(first)[0]).min() < least:
        return None
    values = _unit(columns(members))
    pairs = np.abs(values @ values.T)[np.triu_indices(members.size, 1)]
    if pairs.min() < least:
        return None
    return float(pairs.min()), float(pairs.mean()), float(np.median(pairs))


def _unit(values: Float[np.ndarray, "size q"]) -> Float[np.ndarray, "size q"]:
    return values / np.linalg.norm(values, axis=1, keepdims=True)
