"""Estimated heritability straight from a kinship matrix, with derivatives in all of it.

They follow by the implicit function theorem from those of the log likelihood's slope, in the basis
of the eigenvectors, none of which is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Never

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lmmlite_jax.model.decomposition import Sample
from lmmlite_jax.model.engine import make_engine
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.options import Options
from lmmlite_jax.model.precision import (
    AnyArray,
    in_double,
    in_working_precision,
    is_traced,
    whole_products,
)
from lmmlite_jax.model.study import as_complete
from lmmlite_jax.model.traits import fit_traits

__all__ = ["heritability"]

FLAT_SPECTRUM = 1e-10
"""Eigenvalues this close to each other are one: K is proportional to the identity."""

NEAR = 1e-6
"""More than the error of a heritability that a skeleton of many decades leaves."""


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
    [0.    0.346 0.71 ]
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
    basis: Float[Array, "q n"]
    to_beta: Float[Array, "p p"]
    cross: Float[Array, "q p"]
    full_basis: Float[Array, "n n"] | None
    spectral: Float[Array, "_ m"]
    outer: Float[Array, "q m"]
    weighted: Float[Array, "q m"]
    inner: Float[Array, "q m"]
    curved: Float[Array, "q m"]
    effects: Float[Array, "p m"]
    drift: Float[Array, "p m"]


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


@_heritability.defjvp
@whole_products()
def _heritability_jvp(
    reml: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    dK, dy, dX = tangents
    fitted = _with_derivative(reml, *primals)
    E = fitted.basis @ dK @ fitted.basis.T
    T = fitted.basis @ dX @ fitted.to_beta
    if fitted.full_basis is None:
        levels = jnp.diagonal(E) - 2 * jnp.sum(T * fitted.cross, axis=1)
    else:
        levels = jnp.sum((fitted.full_basis @ dK) * fitted.full_basis, axis=1)
    change = fitted.outer * (fitted.basis @ dy - T @ fitted.effects)
    change = change + fitted.weighted * (E @ fitted.inner) - fitted.curved * (T @ fitted.drift)
    return fitted.hsq, levels @ fitted.spectral + jnp.sum(change, axis=0)


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
    n, p = X.shape
    engine = make_engine(Sample(K, X, None), Options(reml))
    everyone = engine.decompose(members=np.arange(n)[None])
    rotated, fit = engine.fit(everyone, None, np.zeros(1, int), y[None])
    projection = jax.tree.map(lambda a: a[0], everyone.projection)
    full_basis, spectrum = None, projection.Kva
    if not reml:
        spectrum, vectors = jnp.linalg.eigh(K)
        spectrum, full_basis = jnp.maximum(spectrum, 0), vectors.T
    moments = partial(
        _moments,
        projection.Kva[:, None],
        spectrum[:, None],
        rotated.values[0],
        n - p if reml else n,
    )
    found = _polished(moments, fit.hsq[0], jnp.min(spectrum))
    found = jnp.where(jnp.ptp(spectrum) <= FLAT_SPECTRUM * jnp.max(spectrum), jnp.nan, found)

    hsq = jnp.where((found > 0) & (found < 1), found, 0.5)
    at = moments(hsq)
    interior = (found > 0) & (found < 1) & (at.curvature < 0)
    scale = jnp.where(interior, 0.5 / jnp.where(interior, at.curvature, 1.0), 0.0)
    of_slope = -scale * at.dof / at.squares
    of_squares = -of_slope * at.slope
    cross = projection.cross
    return _WithDerivative(
        hsq=found,
        basis=projection.Kve_t,
        to_beta=everyone.to_beta[0],
        cross=cross,
        full_basis=full_basis,
        spectral=scale * at.levels**2,
        outer=2 * (of_slope * at.bent + of_squares * at.weighted),
        weighted=at.weighted,
        inner=(of_slope - of_squares * hsq) * at.weighted - 2 * of_slope * hsq * at.bent,
        curved=2 * of_slope * at.weighted,
        effects=projection.Q_t @ y - hsq * (cross.T @ at.weighted),
        drift=cross.T @ (at.weights * at.weighted),
    )


class _Moments(NamedTuple):
    """Log likelihood near one heritability a trait (m,).

    With D = K - I and r = Py: ``weights`` and ``levels`` are 1/(hλ + 1 - h) of N'KN and of K (the
    same in REML), ``weighted`` is U'r, ``bent`` U'PDr, ``squares`` y'Py, ``slope`` r'Dr over that;
    ``gradient`` and ``curvature`` are the log likelihood's, -½ [tr(PD) - dof · slope] (REML).
    """

    dof: int
    weights: Float[Array, "q m"]
    levels: Float[Array, "_ m"]
    weighted: Float[Array, "q m"]
    bent: Float[Array, "q m"]
    squares: Float[Array, " m"]
    slope: Float[Array, " m"]
    gradient: Float[Array, " m"]
    curvature: Float[Array, " m"]


def _moments(
    Kva: Float[Array, "q 1"],
    spectrum: Float[Array, "_ 1"],
    values: Float[Array, "q m"],
    dof: int,
    hsq: Float[Array, " m"],
) -> _Moments:
    weights, levels = (1 / (hsq * of + (1 - hsq)) for of in (Kva, spectrum))
    weighted = weights * values
    bent = weights * (Kva - 1) * weighted
    squares = jnp.sum(weighted * values, axis=0)
    slope = jnp.sum((Kva - 1) * weighted**2, axis=0) / squares
    bend = jnp.sum((Kva - 1) * bent * weighted, axis=0) / squares
    traces = levels * (spectrum - 1)
    return _Moments(
        dof=dof,
        weights=weights,
        levels=levels,
        weighted=weighted,
        bent=bent,
        squares=squares,
        slope=slope,
        gradient=-0.5 * (jnp.sum(traces, axis=0) - dof * slope),
        curvature=0.5 * (jnp.sum(traces**2, axis=0) - dof * (2 * bend - slope**2)),
    )


def _polished(
    moments: Callable[[Array], _Moments], found: Float[Array, " m"], smallest: Float[Array, ""]
) -> Float[Array, " m"]:
    """Maxima without the error of the skeleton: at a boundary exactly, or one more Newton step."""
    edge = jnp.round(found)
    at_edge = moments(jnp.where((edge == 1) & (smallest > 0), 1.0, 0.0))
    outwards = jnp.where(edge == 1, (at_edge.gradient >= 0) & (smallest > 0), at_edge.gradient <= 0)
    at = moments(jnp.where((found > 0) & (found < 1), found, 0.5))
    step = -at.gradient / jnp.where(at.curvature < 0, at.curvature, -jnp.inf)
    step = jnp.where((found > 0) & (found < 1) & (jnp.abs(step) < NEAR), step, 0.0)
    polished = jnp.clip(found + step, 0, 1)
    return jnp.where((jnp.abs(found - edge) < NEAR) & outwards, edge, polished)
