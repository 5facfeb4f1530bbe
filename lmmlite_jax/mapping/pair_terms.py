"""The likelihoods of pairs of a marker and a trait, as sums over the nodes of a skeleton."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.profile import Derivatives, Profile, Weights

__all__ = [
    "FEW_PAIRS",
    "NOTHING",
    "MarkerProfile",
    "PairProfile",
    "PairSums",
    "PairTerms",
    "PairValues",
    "pair_sums",
]

NOTHING = 1e-12
"""Part of a sum of squares that is rounding."""

NODES_AT_ONCE = 4
"""Nodes of a skeleton whose terms are added in one pass over the pairs."""

FEW_PAIRS = 512
"""Pairs up to which less is compiled: a pass takes one node, whose sums stay in cache."""

CLOSE_TO_ONE = 1e-5
"""δ = (1-h)/h, over the smallest positive eigenvalue, from which a likelihood that is regular at
h = 1 hardly changes, while the null space's parts of its derivatives, over δ², still cancel."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class MarkerProfile(Profile):
    """The log likelihood of P pairs: that of the trait, with a marker among the covariates.

    Attributes
    ----------
    absorbs : (P,)
        Whether the marker explains all that the trait has in the null space of K. With as many
        independent columns there as that has dimensions, the restricted likelihood has none of it
        left: h = 1 is a point like any other, known by one a little before, `CLOSE_TO_ONE`.
    restricted : () 0 or 1
        Whether the marker's part of log|X'V⁻¹X| belongs to the likelihood.
    """

    absorbs: Bool[Array, " P"]
    restricted: Float[Array, ""]

    @property
    def spike(self) -> Bool[Array, " P"]:
        """Whether the likelihood grows without bound towards h = 1 because the marker absorbs."""
        return self.absorbs & (self.restricted == 0)

    @property
    def last(self) -> Float[Array, ""]:
        """Heritability that stands for 1 where a marker absorbs."""
        return 1 / (1 + CLOSE_TO_ONE * jnp.min(self.skeleton.nodes))

    def before_one(self, hsq: Float[Array, "*m"]) -> Float[Array, " P"]:
        """Heritabilities of the pairs, where a marker absorbs not too close to 1."""
        return jnp.where(self.absorbs, jnp.minimum(hsq, self.last), hsq)

    def loglik(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Log likelihood, less a constant."""
        return super().loglik(self.before_one(hsq))

    def slope_and_curvature(
        self, hsq: Float[Array, "*m"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """`slope` and `curvature`."""
        if hsq.ndim:
            return super().slope_and_curvature(self.before_one(hsq))
        beyond = self.absorbs & (hsq > self.last)
        of_one, of_all = map(super().slope_and_curvature, (self.last, hsq))
        pairs = zip(of_one, of_all, strict=True)
        slope, curvature = (jnp.where(beyond, at_one, own) for at_one, own in pairs)
        return slope, curvature


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PairProfile(MarkerProfile):
    """The log likelihood of P pairs, of a marker of one column.

    Attributes
    ----------
    null_rss, null_product, null_square : (P,)
        Parts in the null space of K of a, b and d.
    product, square : (r, P)
        Coefficients of b = Σ w g̃ ỹ and d = Σ w g̃².
    """

    null_rss: Float[Array, " P"]
    null_product: Float[Array, " P"]
    null_square: Float[Array, " P"]
    product: Float[Array, "r P"]
    square: Float[Array, "r P"]

    def sums_of(self, weights: Weights) -> tuple[Derivatives, Derivatives, Derivatives]:
        """A, b and d."""
        return (
            weights.sum(self.rss, self.null_rss),
            weights.sum(self.product, self.null_product),
            weights.sum(self.square, self.null_square),
        )

    def sums(self, hsq: Float[Array, "*m"]) -> tuple[Array, Array, Array]:
        """A, b and d."""
        a, b, d = self.sums_of(self.weights(hsq))
        return a.value, b.value, d.value

    def residual_squares(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Residual sum of squares with the marker in the model."""
        a, b, d = self.sums(hsq)
        return a - b**2 / d

    def log_determinant(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """log|V|, less a constant, with the marker among the covariates."""
        return super().log_determinant(hsq) + self.restricted * jnp.log(self.sums(hsq)[2])

    def squares_of(self, weights: Weights) -> Derivatives:
        """Residual sum of squares with the marker in the model."""
        a, b, d = self.sums_of(weights)
        effect = b.value / d.value
        change = (b.first - effect * d.first) / d.value
        return Derivatives(
            a.value - effect * b.value,
            a.first - 2 * effect * b.first + effect**2 * d.first,
            a.second
            - 2 * (effect * b.second + change * b.first)
            + effect * (2 * change * d.first + effect * d.second),
        )

    def determinant_of(self, weights: Weights) -> tuple[Float[Array, " ..."], Float[Array, " ..."]]:
        """Derivatives of log|V| with the marker among the covariates."""
        slope, curvature = super().determinant_of(weights)
        d = self.sums_of(weights)[2]
        growth = d.first / d.value
        return (
            slope + self.restricted * growth,
            curvature + self.restricted * (d.second / d.value - growth**2),
        )


class PairTerms(NamedTuple):
    """Coefficients, as in `RefitTraits`, of traits, markers and their pairs.

    Of all pairs of T traits and B markers, ``a`` and ``absorbed`` have an axis of length one for
    the markers, and ``d`` for the traits. ``slopes`` are those of log|V|. For the restricted
    likelihood, log d belongs to log|V|.
    """

    nodes: Float[Array, " nodes"]
    a: Float[Array, "nodes ..."]
    b: Float[Array, "nodes *pairs"]
    d: Float[Array, "nodes ..."]
    slopes: Float[Array, " nodes"]
    dof: Float[Array, ""]
    restricted: Float[Array, ""]
    absorbed: Bool[Array, "..."]

    def some(self, pairs: Int[Array, " P"]) -> PairTerms:
        """Some of P pairs, by their numbers."""
        own = (values[:, pairs] for values in (self.a, self.b, self.d))
        a, b, d = own
        return self._replace(a=a, b=b, d=d, absorbed=self.absorbed[pairs])


class PairSums(NamedTuple):
    """Sums over the nodes at the heritabilities of pairs, and how they change with these.

    Σ c w sʲ for j = 0 to 3, where w is the weight of a node and s = d log w / dh: the sum itself,
    its derivative, and its derivatives over j!. Those of ``a``, ``b``, ``d`` and of the slope of
    log|V|, ``trace``; of d alone for j = 3.
    """

    value: tuple[Array, Array, Array, Array]
    first: tuple[Array, Array, Array, Array]
    second: tuple[Array, Array, Array, Array]
    third: Array

    def newton_step(self, terms: PairTerms) -> Array:
        """Newton's step to the maximum in h; infinite where the likelihood is convex."""
        (a, b, d, logdet), (a1, b1, d1, logdet1) = self.value, self.first
        a2, b2, d2 = (2 * half for half in self.second[:3])
        effect, growth = b / d, d1 / d
        effect1 = (b1 - effect * d1) / d
        rss = a - effect * b
        rss1 = a1 - 2 * effect * b1 + effect**2 * d1
        rss2 = a2 - 2 * effect * b2 - 2 * effect1 * b1 + 2 * effect * effect1 * d1 + effect**2 * d2
        slope = logdet + terms.restricted * growth + terms.dof * rss1 / rss
        curvature = logdet1 + terms.restricted * (d2 / d - growth**2)
        curvature = curvature + terms.dof * (rss2 / rss - (rss1 / rss) ** 2)
        return jnp.where(curvature > 0, -slope / curvature, jnp.inf)

    def after(self, step: Array) -> PairValues:
        """What they are after a step in h that is short: its cube is left out of values."""
        a, b, d, trace = (
            value + step * (first + step * second)
            for value, first, second in zip(self.value, self.first, self.second, strict=True)
        )
        (_, _, d1, trace1), (_, _, d2, trace2) = self.first, self.second
        return PairValues(
            a=a,
            b=b,
            d=d,
            d1=d1 + step * (2 * d2 + 3 * step * self.third),
            half_d2=d2 + 3 * step * self.third,
            trace=trace,
            trace1=trace1 + 2 * step * trace2,
        )


class PairValues(NamedTuple):
    """Of pairs at their heritabilities: sums, and derivatives of d and of the slope of log|V|."""

    a: Float[Array, "*pairs"]
    b: Float[Array, "*pairs"]
    d: Float[Array, "*pairs"]
    d1: Float[Array, "*pairs"]
    half_d2: Float[Array, "*pairs"]
    trace: Float[Array, "*pairs"]
    trace1: Float[Array, "*pairs"]


def pair_sums(terms: PairTerms, hsq: Float[Array, "*pairs"]) -> PairSums:
    """`PairSums` at the heritabilities of pairs.

    In a loop over the nodes, through which XLA cannot fuse: it would repeat all that led to h² for
    every node, and take long to compile all nodes at once.
    """

    def add(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        node = terms.nodes[k]
        # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
        variance = hsq * node + (1 - hsq)
        weight = jnp.where(variance > 0, 1 / variance, 0.0)
        slope = -weight * (node - 1)  # of log weight
        rows = (terms.a[k], terms.b[k], terms.d[k], terms.slopes[k])
        first = [row * weight for row in rows]
        second = [x * slope for x in first]
        third = [x * slope for x in second]
        of_node = (*first, *second, *third, third[2] * slope)
        return tuple(total + x for total, x in zip(sums, of_node, strict=True))

    together = 1 if terms.b[0].size <= FEW_PAIRS else NODES_AT_ONCE
    start = (jnp.zeros_like(hsq),) * 13
    sums = lax.fori_loop(0, len(terms.nodes), add, start, unroll=together)
    return PairSums(sums[:4], sums[4:8], sums[8:12], sums[12])
