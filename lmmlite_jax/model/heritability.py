"""Estimated heritability straight from a kinship matrix, with derivatives in all of it.

They follow by the implicit function theorem from those of the log likelihood's slope, in the basis
of the eigenvectors, none of which is differentiated.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Never

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lmmlite_jax.model.derivatives import derivative_along
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.precision import (
    AnyArray,
    in_double,
    in_working_precision,
    is_traced,
    whole_products,
)
from lmmlite_jax.model.spectral_fit import spectral_fit
from lmmlite_jax.model.study import as_complete
from lmmlite_jax.model.traits import fit_traits

__all__ = ["heritability"]


def heritability(
    K: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame | None = None, reml: bool = True
) -> Float[AnyArray, "*m"]:
    """Estimated heritability ĥ², differentiable in the kinship, the phenotypes and the covariates.

    The derivative is that of the implicit function theorem, forward and reverse, and costs about
    what the fit does, for thousands of traits at once.

    Parameters
    ----------
    K, y, X, reml
        As in `log_likelihood`.

    Returns
    -------
    hsq : () or (m,)
        The global maximum over [0, 1], as in `fit_traits`; NaN where there is none. Its derivative
        is zero where the maximum is at 0 or 1 and stays there when the data change a little, and
        for a trait without a fit, whose NaN does not spread to what other traits say of K.

    Raises
    ------
    ValueError
        If K, y or X cannot be used at all, as in `eigen_rotation`.
    NotImplementedError
        If second derivatives are asked for: `log_likelihood` has them.

    Notes
    -----
    dĥ² = -(∂²ll/∂h²)⁻¹ ∂²ll/∂h∂θ dθ (docs/method.md).

    Examples
    --------
    >>> import jax
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=100, m=3, hsq=[0.0, 0.4, 0.8], seed=4)
    >>> print(lmm.heritability(cohort.kinship, cohort.pheno, cohort.covar).round(3))
    [0.    0.385 0.582]
    >>> with jax.enable_x64(True):
    ...     total = lambda K: lmm.heritability(K, cohort.pheno, cohort.covar).sum()
    ...     print(jax.grad(total)(cohort.kinship).shape)
    (100, 100)
    """
    values = as_complete(K, y, X)
    if not is_traced(*values):
        kinship, traits, covariates = values
        hsq = fit_traits(kinship, traits, covariates, reml=reml).hsq
        return hsq if traits.ndim == 2 else hsq[0]
    return in_working_precision(partial(_heritabilities, reml), *values)


class _WithDerivative(NamedTuple):
    """Heritabilities (m,), and what their derivatives are made of.

    With E = U'dK U, T = U'dX R⁻¹ and dỹ = U'dy, U = ``basis.T`` (n, q) and R⁻¹ = ``to_beta``,

        dĥ = Σ_i spectral_i (E_ii - 2 Σ_j T_ij cross_ij)
             + Σ_i [outer_i (dỹ - T effects)_i + weighted_i (E inner)_i - curved_i (T drift)_i],

    of which ``spectral`` belongs to `full_basis` (n, n) and E alone in ML. All are zero for a trait
    without an interior maximum.
    """

    hsq: Float[Array, " m"]
    basis: Float[AnyArray, "q n"]
    to_beta: Float[Array, "p p"]
    cross: Float[AnyArray, "q p"]
    full_basis: Float[Array, "n n"] | None
    spectral: Float[Array, "_ m"]
    outer: Float[Array, "q m"]
    weighted: Float[Array, "q m"]
    inner: Float[Array, "q m"]
    curved: Float[Array, "q m"]
    effects: Float[AnyArray, "p m"]
    drift: Float[AnyArray, "p m"]

    def change(
        self, dK: Float[Array, "n n"], dy: Float[Array, "n m"], dX: Float[Array, "n p"]
    ) -> Float[Array, " m"]:
        """dĥ, linear in all three."""
        E = self.basis @ dK @ self.basis.T
        T = self.basis @ dX @ self.to_beta
        if self.full_basis is None:
            levels = jnp.diagonal(E) - 2 * jnp.sum(T * self.cross, axis=1)
        else:
            levels = jnp.sum((self.full_basis @ dK) * self.full_basis, axis=1)
        change = self.outer * (self.basis @ dy - T @ self.effects)
        change = change + self.weighted * (E @ self.inner) - self.curved * (T @ self.drift)
        return levels @ self.spectral + jnp.sum(change, axis=0)


@partial(jax.jit, static_argnums=0)
def _heritabilities(
    reml: bool, K: Float[Array, "n n"], y: Float[Array, "n *m"], X: Float[Array, "n p"]
) -> Float[Array, "*m"]:
    return _heritability(reml, (K + K.T) / 2, y.reshape(len(y), -1), X).reshape(y.shape[1:])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heritability(
    reml: bool, K: Float[Array, "n n"], y: Float[Array, "n *m"], X: Float[Array, "n p"]
) -> Float[Array, "*m"]:
    return _with_derivative(reml, K, y, X).hsq


@partial(_heritability.defjvp, symbolic_zeros=True)
@whole_products()
def _heritability_jvp(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    fitted = _with_derivative(reml, *primals)
    return fitted.hsq, derivative_along(fitted.change, primals, tangents)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_derivative(
    reml: bool, K: Float[Array, "n n"], y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> _WithDerivative:
    return in_double(partial(_fit, reml))(K, y, X)


@_with_derivative.defjvp
def _no_second_derivative(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> Never:
    raise NotImplementedError(
        "heritability has first derivatives only: differentiate log_likelihood for higher ones."
    )


def _fit(
    reml: bool, K: Float[Array, "n n"], y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> _WithDerivative:
    """Fit as `fit_traits` does, and prepare the theorem's quotient from the spectrum itself."""
    fit = spectral_fit(reml, K, y, X, jnp.ones(len(K)))
    projection, found = fit.projection, fit.hsq
    hsq = jnp.where((found > 0) & (found < 1), found, 0.5)
    at = fit.moments(hsq)
    interior = (found > 0) & (found < 1) & (at.curvature < 0)
    scale = jnp.where(interior, 0.5 / jnp.where(interior, at.curvature, 1.0), 0.0)
    of_slope = -scale * fit.dof / at.squares
    of_squares = -of_slope * at.slope
    cross = projection.cross
    return _WithDerivative(
        hsq=found,
        basis=projection.Kve_t,
        to_beta=fit.to_beta,
        cross=cross,
        full_basis=fit.full_basis,
        spectral=scale * at.levels**2,
        outer=2 * (of_slope * at.bent + of_squares * at.weighted),
        weighted=at.weighted,
        inner=(of_slope - of_squares * hsq) * at.weighted - 2 * of_slope * hsq * at.bent,
        curved=2 * of_slope * at.weighted,
        effects=projection.Q_t @ y - hsq * (cross.T @ at.weighted),
        drift=cross.T @ (at.weights * at.weighted),
    )
