"""Log likelihood of h alone, for many traits at once, at a cost that knows neither n nor p.

β and σ² are at their best for each h. What is left of a trait are the coefficients of its
residual sum of squares in the nodes of a `Skeleton`:

    log likelihood = -½ [ log|V| + dof · log rss ],
    rss(h)   = zero_rss / (1-h) + Σ_k S_k w(μ_k; h),
    log|V|   = zeros · log(1-h) + Σ_k T_k log(1 + h(μ_k-1)) / (μ_k-1),

the last because its derivative is such a sum too, of (λ_i - 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lmmlite_jax.model.skeleton import Skeleton

__all__ = ["Profile", "combine", "derivative"]


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
        d = nodes - 1
        # Each form where it has its digits: the first near d = 0, the second near h = 1.
        near = jnp.abs(d) < 0.5
        logarithm = jnp.where(
            near, jnp.log1p(hsq * jnp.where(near, d, 0.0)), jnp.log(hsq * nodes + (1 - hsq))
        )
        integral = jnp.where(d == 0, hsq, logarithm / jnp.where(d == 0, 1.0, d))
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
        rss, rss_slope = jax.jvp(self.residual_squares, (hsq,), (jnp.ones_like(hsq),))
        value = -0.5 * (self.log_determinant_slope(hsq) + self.dof * rss_slope / rss)
        at_one = jnp.where(self.zeros > 0, jnp.inf, value)
        at_one = jnp.where(self.zero_rss > 0, -jnp.inf, at_one)
        return jnp.where(hsq < 1, value, at_one)

    def log_determinant_slope(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """First derivative of `log_determinant`."""
        return combine(self.skeleton.weights(hsq), self.logdet) - self.null(self.zeros, hsq)

    def curvature(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Second derivative of the log likelihood."""
        return derivative(self.slope)(hsq)

    def null(self, amount: Array, hsq: Array) -> Array:
        """What the null space of K adds to a sum: ``amount`` / (1 - h), and nothing at h = 1."""
        gap = jnp.where(hsq < 1, 1 - hsq, 1.0)
        return jnp.where(hsq < 1, amount / gap, 0.0)


def derivative(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Differentiate a function of one heritability, or elementwise one for each trait."""
    return lambda hsq: jax.jvp(function, (hsq,), (jnp.ones_like(hsq),))[1]


def combine(weights: Array, coefficients: Array) -> Array:
    """Skeleton sums of (r, m) at one heritability (weights (r,)) or one a trait (r, m)."""
    if weights.ndim == 1:
        return weights @ coefficients
    return jnp.sum(weights * coefficients, axis=0)
