"""Scans inside a trace: every statistic a differentiable function of Y, X and G.

K is known, so that its eigenvectors are constants. In their basis the variance of a trait is
diagonal, and generalised least squares of all markers is a few products a trait. h² has its own
derivative, by the implicit function theorem (`global_maximum`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lmmlite_jax.mapping.effects import effects_of_sums
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.statistics import Pairs, tests_of_effects
from lmmlite_jax.model.inputs import COLLINEAR_TOLERANCE
from lmmlite_jax.model.known_kinship import fit_known
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.options import NO_PRIOR, Options
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.result import LMMFit, Status

__all__ = ["differentiable_scan"]


def differentiable_scan(
    null: NullModel, label: str, G: Float[AnyArray, "n M k"], method: Method
) -> tuple[LMMFit, Pairs]:
    """Fits without marker, and statistics of all pairs (M, m), h² fixed at each trait's own."""
    known, Y, X = null.known_kinship(label), null.phenotypes, null.design
    fit = fit_known(known, Y, X, Options(null.reml), tol=null.tol, prior=NO_PRIOR, blup=False)
    (n, p), (_, M, k) = X.shape, G.shape
    columns = known.roots * G.reshape(n, M * k)
    scaled_X, scaled_Y = known.roots * X, known.roots * Y
    Q = jnp.linalg.qr(scaled_X)[0]
    # Ordinary least squares first: generalised least squares then has little left to cancel.
    left = columns - Q @ (Q.T @ columns)
    whole = jnp.sum(lax.stop_gradient(columns) ** 2, axis=0)
    varies = jnp.sum(lax.stop_gradient(left) ** 2, axis=0) > COLLINEAR_TOLERANCE**2 * whole
    left = known.Kve_t @ jnp.where(varies, left, 0.0)
    covariates, traits = known.Kve_t @ Q, known.Kve_t @ (scaled_Y - Q @ (Q.T @ scaled_Y))
    varies = varies.reshape(M, k).T[:, :, None]
    regular = (fit.status == Status.OK) | (fit.status == Status.FLAT)
    hsq = jnp.where(regular & jnp.isfinite(fit.hsq), fit.hsq, 0.0)

    @jax.checkpoint
    def of_trait(one: tuple[Array, Array, Array]) -> Pairs:
        y, h, fitted = one
        weights = 1 / (h * known.Kva + (1 - h))
        factor = jnp.linalg.cholesky(covariates.T @ (weights[:, None] * covariates))

        def whiten(values: AnyArray) -> Array:
            inner = covariates.T @ (weights[:, None] * values)
            return jax.scipy.linalg.solve_triangular(factor, inner, lower=True)

        of_y, of_columns = whiten(y[:, None]), whiten(left)
        weighted = weights[:, None] * left
        b = (y @ weighted - of_y[:, 0] @ of_columns).reshape(M, k).T
        d = jnp.einsum("nbi,nbj->ijb", left.reshape(n, M, k), weighted.reshape(n, M, k))
        inner = of_columns.reshape(p, M, k)
        d = d - jnp.einsum("pbi,pbj->ijb", inner, inner)
        rss = jnp.sum(weights * y**2) - jnp.sum(of_y**2)
        effects = effects_of_sums(
            b[:, :, None],
            d[:, :, :, None],
            jnp.where(fitted, rss, 1.0)[None],
            varies,
            jnp.asarray(float(n - p)),
        )
        tests = tests_of_effects(effects, float(n - p), float(n), method)
        return jax.tree.map(lambda x: jnp.where(fitted, x[:, 0], jnp.nan), tests)

    pairs = lax.map(of_trait, (jnp.where(regular, traits, 0.0).T, hsq, regular))
    return fit, jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), pairs)
