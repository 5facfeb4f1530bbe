"""Log likelihood of h alone, for many traits at once, at a cost that knows neither n nor p.

β and σ² are at their best for each h. What is left of a trait are the coefficients of its
residual sum of squares in the nodes of a `Skeleton`:

    log likelihood = -½ [ log|V| + dof · log rss ],
    rss(h)   = zero_rss / (1-h) + Σ_k S_k w(μ_k; h),
    log|V|   = zeros · log(1-h) + Σ_k T_k log(1 + h(μ_k-1)) / (μ_k-1),

the last because its derivative is such a sum too, of (λ_i - 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lmmlite_jax.model.skeleton import Skeleton

__all__ = ["Derivatives", "Profile", "Weights", "combine"]

NO_DIFFERENCE = 1e-200
"""For μ - 1 = 0, so that log(1 + h(μ-1)) / (μ-1) is h."""


class Derivatives(NamedTuple):
    """A function of h and its first two derivatives.

    In closed form: XLA takes several times as long to compile what differentiation makes of a sum.
    """

    value: Float[Array, " ..."]
    first: Float[Array, " ..."]
    second: Float[Array, " ..."]


class Weights(NamedTuple):
    """w(μ_k; h) of the nodes, and the weight 1/(1-h) of the null space of K, as functions of h."""

    nodes: Derivatives
    null: Derivatives

    def sum(self, coefficients: Float[Array, "r #m"], null: Float[Array, "#m"]) -> Derivatives:
        """Sum over the nodes and the null space of K."""
        terms = zip(self.nodes, self.null, strict=True)
        return Derivatives(*(combine(w, coefficients) + null * gap for w, gap in terms))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Profile:
    """The log likelihood of m traits as a function of the heritability.

    Arrays with a trait axis may have length one there, for all traits.

    Attributes
    ----------
    skeleton : Skeleton
        The nodes.
    rss : (r, m)
        Coefficients of the residual sum of squares.
    zero_rss : (m,)
        The part of it in the null space of K.
    logdet : (r, m)
        Coefficients of log|V|.
    zeros : (m,)
        Eigenvalues that are exactly zero.
    dof : (m,)
        n for ML, n - p for REML, and a prior's sample size with it.
    prior_squares : ()
        What a prior on σ² adds to the residual sum of squares.
    """

    skeleton: Skeleton
    rss: Float[Array, "r #m"]
    zero_rss: Float[Array, "#m"]
    logdet: Float[Array, "r #m"]
    zeros: Float[Array, "#m"]
    dof: Float[Array, "#m"] | Float[Array, ""] | float = 1.0
    prior_squares: Float[Array, ""] | float = 0.0

    def residual_squares(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Residual sum of squares at one heritability for all, or one for each trait."""
        squares = self.null(self.zero_rss, hsq) + combine(self.skeleton.weights(hsq), self.rss)
        return squares + self.prior_squares

    def log_determinant(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """log|V|, less a constant."""
        nodes = self.skeleton.nodes.reshape(-1, *(1,) * hsq.ndim)
        d = jnp.where(nodes == 1, NO_DIFFERENCE, nodes - 1)
        # log(1 + hd) with all its digits, near d = 0 as near h = 1 with d near -1.
        x = hsq * d
        inverted = x < 0
        logarithm = jnp.log1p(jnp.where(inverted, -x / (hsq * nodes + (1 - hsq)), x))
        integral = jnp.where(inverted, -logarithm, logarithm) / d
        gap = jnp.where(hsq < 1, 1 - hsq, 1.0)
        return self.zeros * jnp.log(gap) + combine(integral, self.logdet)

    def loglik(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Log likelihood, less a constant."""
        value = -0.5 * (self.log_determinant(hsq) + self.dof * jnp.log(self.residual_squares(hsq)))
        # At h = 1 a term in log(1-h) has no bound: rss wins over log|V|.
        at_one = jnp.where(self.zeros > 0, jnp.inf, value)
        at_one = jnp.where(self.zero_rss > 0, -jnp.inf, at_one)
        return jnp.where(hsq < 1, value, at_one)

    def slope(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """First derivative of the log likelihood; at h = 1, its sign in the limit if infinite."""
        return self.slope_and_curvature(hsq)[0]

    def curvature(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Second derivative of the log likelihood."""
        return self.slope_and_curvature(hsq)[1]

    def slope_and_curvature(
        self, hsq: Float[Array, "*m"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """`slope` and `curvature`."""
        weights = self.weights(hsq)
        squares = self.squares_of(weights)
        determinant_slope, determinant_curvature = self.determinant_of(weights)
        drift = squares.first / squares.value
        slope = -0.5 * (determinant_slope + self.dof * drift)
        bend = squares.second / squares.value - drift**2
        curvature = -0.5 * (determinant_curvature + self.dof * bend)
        at_one = jnp.where(self.zero_rss > 0, -jnp.inf, jnp.inf)
        bounded = (hsq < 1) | ((self.zeros == 0) & (self.zero_rss == 0))
        return jnp.where(bounded, slope, at_one), jnp.where(bounded, curvature, 0.0)

    def weights(self, hsq: Float[Array, "*m"]) -> Weights:
        """What `squares_of` and `determinant_of` need of a heritability."""
        w = self.skeleton.weights(hsq)
        slope = w * (1 - self.skeleton.nodes.reshape(-1, *(1,) * hsq.ndim))  # of log w
        # A sum at h = 1 is that of the range of K, see `loglik`.
        gap = jnp.where(hsq < 1, 1 / jnp.where(hsq < 1, 1 - hsq, 1.0), 0.0)
        return Weights(
            Derivatives(w, w * slope, 2 * w * slope**2), Derivatives(gap, gap**2, 2 * gap**3)
        )

    def squares_of(self, weights: Weights) -> Derivatives:
        """Residual sum of squares."""
        squares = weights.sum(self.rss, self.zero_rss)
        return squares._replace(value=squares.value + self.prior_squares)

    def determinant_of(self, weights: Weights) -> tuple[Float[Array, " ..."], Float[Array, " ..."]]:
        """First and second derivative of log|V|."""
        slope = weights.sum(self.logdet, -self.zeros)
        return slope.value, slope.first

    def null(self, amount: Array, hsq: Array) -> Array:
        """What the null space of K adds to a sum: ``amount`` / (1 - h), and nothing at h = 1."""
        gap = jnp.where(hsq < 1, 1 - hsq, 1.0)
        return jnp.where(hsq < 1, amount / gap, 0.0)


def combine(weights: Array, coefficients: Array) -> Array:
    """Skeleton sums of (r, m) at one heritability (weights (r,)) or one a trait (r, m)."""
    if weights.ndim == 1 and coefficients.shape[1] > 1:
        return weights @ coefficients
    # A product of one column would be a program that cannot be part of another.
    weights = weights.reshape(len(weights), -1)
    return jnp.sum(weights * coefficients, axis=0)
