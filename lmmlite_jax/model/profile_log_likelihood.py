"""The log likelihood of every trait at its own ĥ², with first and second derivatives in everything.

At the maximum over h the first derivative is the partial one, and the second one has the part of ĥ
by the implicit function theorem. Both come from one expansion: in the basis U of the eigenvectors
in the complement of the covariates X, and with T = U'X (Q'X)⁻¹, which is zero where U was made,

    N = U - QT',    N'VN = h (Λ + Δ) + (1-h)(I + TT'),    Δ = N'KN - Λ,

and the likelihood of N'y is expanded to second order in Δ and T, which vanish. No eigenvector is
differentiated, Δ is the same for all traits, and so are the products with dK.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from lmmlite_jax.model.derivatives import derivative_along, differentiable_times, vanishing
from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    Labelled,
    all_finite,
    as_kinship,
    check_same_individuals,
)
from lmmlite_jax.model.missing import batches, phenotypes_of
from lmmlite_jax.model.precision import (
    AnyArray,
    double_precision,
    in_double,
    in_working_precision,
    is_traced,
    whole_products,
)
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.skeleton import Skeleton
from lmmlite_jax.model.spectral_fit import spectral_fit
from lmmlite_jax.model.study import as_complete
from lmmlite_jax.model.traits import fit_traits

__all__ = ["profile_log_likelihood", "profiles", "profiles_of_model"]

REFUSAL = (
    "profile_log_likelihood has first and second derivatives only: differentiate log_likelihood "
    "for higher ones."
)


def profile_log_likelihood(
    K: ArrayOrFrame, Y: ArrayOrFrame, X: ArrayOrFrame | None = None, reml: bool = True
) -> Float[AnyArray, "*m"]:
    """Log likelihood of each trait at its own ĥ², β and σ², differentiable in K, Y and X.

    First and second derivatives, forward and reverse, are right at interior maxima and at
    boundaries, and where eigenvalues of K are equal or zero. All traits share their products with
    dK, so that the gradient of any combination of traits costs a few products of matrices.

    Parameters
    ----------
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite. Its symmetric part is what counts, so
        that the derivative with respect to K is symmetric.
    Y : (n,) or (n, m) array or data frame
        Phenotypes; NaN where missing, unless Y is traced. Each trait is fitted to the individuals
        observed for it; every pattern of missing values has a decomposition of its own.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    reml : bool
        Restricted likelihood (default) or full likelihood.

    Returns
    -------
    loglik : () or (m,)
        ``fit_traits(K, Y, X, reml=reml).loglik``: NaN for a trait without a fit, infinite where the
        likelihood has no bound. Their derivatives are zero and leave those of other traits alone.
        Inside a trace all are NaN where K is not positive semidefinite.

    Raises
    ------
    ValueError
        If K, Y or X cannot be used at all, as in `fit_traits`.
    NotImplementedError
        If third derivatives are asked for: `log_likelihood` has them.

    Notes
    -----
    dll = ∂ll/∂θ dθ and d²ll = ∂²ll/∂θ² - (∂²ll/∂θ∂h)² / ∂²ll/∂h² at ĥ² (docs/method.md). Where K is
    proportional to the identity, no direction of K has a derivative, and zero is given.

    Examples
    --------
    >>> import jax
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=60, m=3, hsq=0.5, seed=1)
    >>> print(lmm.profile_log_likelihood(cohort.kinship, cohort.pheno, cohort.covar).round(3))
    [-132.388  -71.782 -148.914]
    >>> with jax.enable_x64(True):
    ...     total = lambda K: lmm.profile_log_likelihood(K, cohort.pheno, cohort.covar).sum()
    ...     print(jax.grad(total)(cohort.kinship).shape)
    (60, 60)
    """
    kinship, traits, covariates = as_complete(K, Y, X, missing=True)
    if not is_traced(kinship, traits, covariates):
        loglik = fit_traits(kinship, traits, covariates, reml=reml).loglik
        return loglik if traits.ndim == 2 else loglik[0]
    columns = traits if traits.ndim == 2 else traits[:, None]
    loglik = profiles(reml, kinship, columns, covariates)
    return loglik if traits.ndim == 2 else loglik[0]


def profiles_of_model(
    reml: bool,
    K: ArrayOrFrame,
    Y: Float[AnyArray, "n m"],
    X: Float[AnyArray, "n p"],
    weights: Float[AnyArray, " n"] | None,
    individuals: tuple[str, ...] | None,
) -> Float[AnyArray, " m"]:
    """`profile_log_likelihood` of what a `NullModel` has checked, with another kinship."""
    with double_precision():
        kinship = as_kinship(K)
    check_same_individuals(K=kinship, Y=Labelled(Y, individuals))
    if not is_traced(K, Y, X, weights):
        return fit_traits(kinship.values, Y, X, reml=reml, weights=weights).loglik
    if weights is not None:
        raise NotImplementedError(
            "derivatives of a profiled log likelihood know no weights of residuals: leave weights "
            "out of the null model."
        )
    return profiles(reml, K if is_traced(K) else kinship.values, Y, X)


def profiles(
    reml: bool, K: Float[AnyArray, "n n"], Y: Float[AnyArray, "n m"], X: Float[AnyArray, "n p"]
) -> Float[Array, " m"]:
    """Profiled log likelihoods inside a trace; Y has missing values only where it is not traced."""
    if is_traced(Y) or all_finite(np.asarray(Y)):
        return in_working_precision(partial(_of_everyone, reml), K, Y, X)
    Y = np.asarray(Y)
    observed = ~np.isnan(Y)
    enough = np.flatnonzero(observed.sum(axis=0) >= X.shape[1] + 2)
    parts, columns = [], []
    for batch in batches(observed, enough):
        for which, traits in zip(batch.pattern, batch.traits, strict=True):
            members = batch.members[which]
            y = phenotypes_of(Y, members, traits)
            run = partial(_of_patterns, reml, members)
            parts.append(in_working_precision(run, K, y, X)[traits >= 0])
            columns.append(traits[traits >= 0])
    dtype = jnp.result_type(float)
    if not parts:
        return jnp.full(Y.shape[1], jnp.nan, dtype)
    found = jnp.concatenate(parts).astype(dtype)
    return jnp.full(Y.shape[1], jnp.nan, dtype).at[np.concatenate(columns)].set(found)


@partial(jax.jit, static_argnums=0)
def _of_everyone(
    reml: bool, K: Float[Array, "n n"], Y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> Float[Array, " m"]:
    return _profiles(reml, (K + K.T) / 2, Y, X, jnp.ones(len(Y), Y.dtype))


@partial(jax.jit, static_argnums=0)
def _of_patterns(
    reml: bool,
    members: AnyArray,
    K: Float[Array, "n n"],
    y: Float[Array, "C s T"],
    X: Float[Array, "n p"],
) -> Float[Array, "C T"]:
    """Blocks of traits, each among its own members; -1 is no one."""
    K = (K + K.T) / 2

    def of_block(block: tuple[Array, Array]) -> Array:
        members, y = block
        present = (members >= 0).astype(K.dtype)
        own_K = K[members[:, None], members] * present[:, None] * present
        return _profiles(reml, own_K, y, X[members] * present[:, None], present)

    return lax.map(of_block, (members, y))


def _profiles(
    reml: bool,
    K: Float[Array, "n n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
    present: Float[Array, " n"],
) -> Float[Array, " m"]:
    values = lax.stop_gradient((K, y, X))
    base = lax.stop_gradient(in_double(partial(_fit, reml))(*values, present))
    return _profile(base, K, y, X)


class _Base(NamedTuple):
    """Fits, and the frame in which they are expanded.

    ``expanded`` marks traits that have a finite likelihood to expand, at ``hsq``; ``variances`` are
    hλ + 1 - h, and ``curvature`` is ∂²ll/∂h², zero where ĥ stays where it is. ``full`` has the
    eigenvectors and variances of K for log|V| in ML; None in REML.
    """

    loglik: Float[Array, " m"]
    expanded: Bool[Array, " m"]
    hsq: Float[Array, " m"]
    curvature: Float[Array, " m"]
    dof: Float[Array, ""]
    Kva: Float[AnyArray, "q 1"]
    variances: Float[AnyArray, "q m"]
    values: Float[AnyArray, "q m"]
    basis: Float[AnyArray, "q n"]
    Q_t: Float[AnyArray, "p n"]
    to_beta: Float[AnyArray, "p p"]
    inner: Float[AnyArray, "p p"]
    factors: tuple[Float[AnyArray, "r q_or_n"], Float[AnyArray, "r m"]]
    full: tuple[Float[AnyArray, "n n"], Float[AnyArray, "n 1"], Float[AnyArray, "n m"]] | None


def _fit(
    reml: bool,
    K: Float[Array, "n n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
    present: Float[Array, " n"],
) -> _Base:
    fit = spectral_fit(reml, K, y, X, present)
    # Where the likelihood does not depend on h, its other derivatives are those at h = 0.
    hsq = jnp.where(jnp.isnan(fit.hsq) & jnp.isfinite(fit.loglik), 0.0, fit.hsq)
    singular = (hsq == 1) & (jnp.minimum(fit.smallest, jnp.min(fit.projection.Kva)) <= 0)
    expanded = jnp.isfinite(hsq) & jnp.isfinite(fit.loglik) & ~singular
    expanded = expanded & (fit.status != Status.EXACT)
    hsq = jnp.where(expanded, hsq, 0.5)
    at = fit.moments(hsq)
    inside = expanded & (hsq > 0) & (hsq < 1) & (at.curvature < 0)
    Kva = fit.projection.Kva[:, None]
    loglik = 0.5 * (jnp.sum(jnp.log(at.levels), axis=0) - fit.dof * jnp.log(at.squares))
    if reml:
        loglik = loglik + 0.5 * X.shape[1] * jnp.log(2 * jnp.pi / fit.dof)
    full = None
    if fit.full_basis is not None:
        spectrum = fit.spectrum[:, None]
        full = fit.full_basis, spectrum, hsq * spectrum + (1 - hsq)
    return _Base(
        loglik=jnp.where(expanded, loglik, fit.loglik),
        expanded=expanded,
        hsq=hsq,
        curvature=jnp.where(inside, at.curvature, 0.0),
        dof=fit.dof,
        Kva=Kva,
        variances=hsq * Kva + (1 - hsq),
        values=fit.values,
        basis=fit.projection.Kve_t,
        Q_t=fit.projection.Q_t,
        to_beta=fit.to_beta,
        inner=fit.projection.inner,
        factors=_in_nodes(fit.skeleton, fit.spectrum, hsq),
        full=full,
    )


def _in_nodes(
    skeleton: Skeleton, spectrum: Float[AnyArray, " q"], hsq: Float[Array, " m"]
) -> tuple[Float[Array, "r q"], Float[Array, "r m"]]:
    """Two factors of the weights 1/(hλ + 1 - h) (q, m), by the nodes and by zero eigenvalues."""
    positive = spectrum >= skeleton.smallest
    at_nodes = jnp.where(positive, skeleton.weights_of(spectrum), 0.0)
    of_null = jnp.where(hsq < 1, 1 / jnp.where(hsq < 1, 1 - hsq, 1.0), 0.0)
    return (
        jnp.concatenate([at_nodes, jnp.where(positive, 0.0, 1.0)[None]]),
        jnp.concatenate([skeleton.interpolation(hsq), of_null[None]]),
    )


@jax.custom_jvp
def _profile(
    base: _Base, K: Float[Array, "n n"], y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> Float[Array, " m"]:
    return base.loglik


@partial(_profile.defjvp, symbolic_zeros=True)
@whole_products()
def _profile_jvp(
    primals: tuple[_Base, Array, Array, Array], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    base, *at = primals
    hsq = _maximum(*primals)

    def expansion(*at: Array) -> Array:
        return _expanded(base, hsq, *differentiable_times(2, REFUSAL, *at))

    change = derivative_along(expansion, at, tangents[1:])
    return _profile(*primals), jnp.where(base.expanded, change, 0.0)


@jax.custom_jvp
def _maximum(
    base: _Base, K: Float[Array, "n n"], y: Float[Array, "n m"], X: Float[Array, "n p"]
) -> Float[Array, " m"]:
    return base.hsq


@partial(_maximum.defjvp, symbolic_zeros=True)
@whole_products()
def _maximum_jvp(
    primals: tuple[_Base, Array, Array, Array], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    """Implicit function theorem: dĥ = -(∂²ll/∂h²)⁻¹ ∂²ll/∂h∂θ dθ."""
    base, *at = primals

    def slope(*at: Array) -> Array:
        at = differentiable_times(1, REFUSAL, *at)
        ones = jnp.ones_like(base.hsq)
        return jax.jvp(lambda hsq: _expanded(base, hsq, *at), (base.hsq,), (ones,))[1]

    moved = derivative_along(slope, at, tangents[1:])
    regular = base.curvature < 0
    change = jnp.where(regular, -moved / jnp.where(regular, base.curvature, -1.0), 0.0)
    return _maximum(*primals), change


def _expanded(
    base: _Base,
    hsq: Float[Array, " m"],
    K: Float[Array, "n n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
) -> Float[Array, " m"]:
    """Log likelihood, less a constant, to second order beside the point where ``base`` was made."""
    U, Q_t, moved_h = base.basis, base.Q_t, hsq - base.hsq
    rest = (1 - base.hsq) - moved_h
    T = vanishing(lambda U, X, to_beta: U @ X @ to_beta, U, X, base.to_beta)
    T = T @ (2 * jnp.eye(len(Q_t), dtype=T.dtype) - Q_t @ X @ base.to_beta)
    cross = T @ (Q_t @ K @ U.T)
    delta = vanishing(_in_basis, U, K) - cross - cross.T + T @ base.inner @ T.T
    moved_y = vanishing(jnp.matmul, U, y)
    traits = jnp.where(base.expanded, base.values + moved_y - T @ (Q_t @ y), 1.0)

    variances = base.variances + moved_h * (base.Kva - 1)
    weighted = traits / variances
    bent = vanishing(_bent, hsq, rest, delta, T, weighted)
    squares = jnp.sum((traits - bent) * weighted + bent**2 / variances, axis=0)
    if base.full is None:
        logdet = _log_determinant(hsq, variances, delta, base.factors)
        logdet = logdet + rest * jnp.sum(jnp.sum(T**2, axis=1)[:, None] / variances, axis=0)
        logdet = logdet - jnp.sum(T**2)
    else:
        vectors, spectrum, levels = base.full
        moved = vanishing(_in_basis, vectors, K)
        levels = levels + moved_h * (spectrum - 1)
        logdet = _log_determinant(hsq, levels, moved, base.factors)
    return -0.5 * (logdet + base.dof * jnp.log(squares))


def _log_determinant(
    hsq: Float[Array, " m"],
    variances: Float[AnyArray, "q m"],
    delta: Float[Array, "q q"],
    factors: tuple[Float[AnyArray, "r q"], Float[AnyArray, "r m"]],
) -> Float[Array, " m"]:
    """Of diag(variances) + h delta, to second order in delta."""
    weights = 1 / variances
    first = jnp.sum(jnp.log(variances), axis=0) + hsq * (jnp.diagonal(delta) @ weights)
    at_nodes, between = factors
    second = jnp.sum(between * (at_nodes @ delta**2 @ at_nodes.T @ between), axis=0)
    return first - 0.5 * hsq**2 * second


def _in_basis(basis: Float[Array, "q n"], K: Float[Array, "n n"]) -> Float[Array, "q q"]:
    return basis @ K @ basis.T


def _bent(hsq: Array, rest: Array, delta: Array, T: Array, weighted: Array) -> Array:
    return hsq * (delta @ weighted) + rest * (T @ (T.T @ weighted))
