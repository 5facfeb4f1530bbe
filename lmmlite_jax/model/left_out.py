"""Traits observed in fewer individuals than those for whom markers were rotated.

Where traits lack the individuals S of a wider pattern, with P(h) = U diag(w̃) U' as in `Projection`,
theirs is

    P - P E (E'PE)⁻¹ E'P,    E the columns of the identity for S,

as if each of S had a covariate of its own. One rotation g̃ = U'g of a marker serves them as well:
g'Pg loses the squares of s products Dg̃, where D are the rows of U for S, orthonormal with the
weights w̃, times these. Each trait has its own h and hence its own D.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.precision import AnyArray

__all__ = ["among_more", "left_out_of"]

MOST_LEFT_OUT = 8
"""Individuals that may be left out, each of which is a column more for every trait."""

LEAST_OWN = 1e-3
"""Part of an individual that the covariates and the others left out must not explain."""


def left_out_of(
    members: Int[np.ndarray, "P s"], traits: Int[np.ndarray, " P"]
) -> tuple[int, Int[np.ndarray, "P most"]]:
    """Widest of some patterns, and the places there of the individuals that others leave out.

    A row is all -1, as its end is, for a pattern that is not served by the rotation for the widest:
    one that has other individuals, or whose numbers of ``traits`` make its own rotation cheaper.
    """
    own = members >= 0
    everyone = int(members.max()) + 1
    there = np.zeros((len(members), everyone), dtype=bool)
    there[np.nonzero(own)[0], members[own]] = True
    sizes = own.sum(axis=1)
    widest = int(np.argmax(sizes))
    count = sizes[widest] - sizes
    served = ~np.any(there & ~there[widest], axis=1) & (count > 0) & (count <= MOST_LEFT_OUT)
    served &= count * traits <= sizes[widest] // 2
    places = np.full((len(members), int(np.max(count, where=served, initial=0))), -1)
    for k in np.flatnonzero(served):
        absent = np.flatnonzero(~there[k, np.maximum(members[widest], 0)] & own[widest])
        places[k, : absent.size] = absent
    return widest, places


@partial(jax.jit, static_argnames="n")
def among_more(
    own: Pattern,
    wider: Pattern,
    places: Int[Array, " s"],
    weighted: Float[Array, "own_q T"],
    hsq: Float[Array, " T"],
    *,
    n: int,
) -> tuple[Float[Array, "q T"], Float[Array, "s q T"], Bool[Array, ""]]:
    """Traits in the rotation for more individuals, of all n (patterns of leading axis 1).

    Returns w̃ ∘ ỹ, the rows D that take a marker to what the squares lose, and whether these are
    known well.
    """
    own, wider = jax.tree.map(lambda a: a[0], (own, wider))
    U_t = wider.projection.Kve_t
    to = jnp.where(own.members >= 0, own.members, n)
    of_all = jnp.zeros((n, hsq.size)).at[to].set(own.projection.Kve_t.T @ weighted, mode="drop")
    of_wider = U_t @ jnp.where(wider.members[:, None] >= 0, of_all[wider.members], 0.0)
    weights = 1 / (hsq * wider.projection.Kva[:, None] + (1 - hsq))
    directions: list[AnyArray] = []
    known: list[Array] = []
    for place in places:
        column = jnp.where(place >= 0, U_t[:, place], 0.0)[:, None]
        left: AnyArray = jnp.broadcast_to(column, weights.shape)
        for direction in directions:
            left = left - direction * jnp.sum(weights * direction * left, axis=0)
        square = jnp.sum(weights * left**2, axis=0)
        enough = (jnp.sum(column**2) >= LEAST_OWN) & (
            square >= LEAST_OWN * jnp.sum(weights * column**2, axis=0)
        )
        known.append((place < 0) | jnp.all(enough))
        directions.append(left / jnp.sqrt(jnp.where(place >= 0, square, 1.0)))
    return jnp.asarray(of_wider), weights * jnp.stack(directions), jnp.all(jnp.stack(known))
