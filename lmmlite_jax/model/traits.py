"""Fits of many traits with missing values, straight from a kinship matrix.

Traits observed in the same individuals share one decomposition. Patterns of missing values are
padded to a few sizes (a removed individual becomes a row of the identity in K and a zero in y and
X, which changes no likelihood) and go through one compiled program a size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lmmlite_jax.model.fit import (
    ABSORBED_TOLERANCE,
    TRAITS_AT_ONCE,
    LMMFit,
    Status,
    check_tolerance,
    constant_status,
    maximise,
)
from lmmlite_jax.model.inputs import (
    COLLINEAR_TOLERANCE,
    as_covariates,
    as_kinship,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.likelihood import EXACT_TOLERANCE
from lmmlite_jax.model.precision import in_float64, is_traced
from lmmlite_jax.model.profile import Profile, derivative
from lmmlite_jax.model.rotation import Projection, check_spectrum, clipped, project, scaled
from lmmlite_jax.model.skeleton import RANK_TOLERANCE, Skeleton, interval_skeleton

__all__ = ["fit_traits"]

MOST_SIZES = 4
"""Padded sizes for the patterns of missing values, each two compilations."""

SINGLE_EXACT_TOLERANCE = 1e-10
"""EXACT_TOLERANCE for sums in single precision."""

MOST_NUMBERS = 2**24
"""Numbers that the decompositions, or the blocks of traits, worked on together may hold."""


@in_float64
def fit_traits(
    K: Any,
    Y: Any,
    X: Any = None,
    *,
    reml: bool = True,
    check_boundary: bool = True,
    tol: float = 1e-8,
    compute_se: bool = False,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    dtype: str = "float64",
) -> LMMFit:
    """Fit a linear mixed model to each of many traits.

    Parameters
    ----------
    K : (n, n) array or data frame
        Kinship matrix: symmetric, positive semidefinite.
    Y : (n, m) array or data frame
        Phenotypes; NaN where missing. Each trait is fitted to the individuals observed for it.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    check_boundary, tol, compute_se
        As in `fit_lmm`.
    clip_negative : bool
        Set negative eigenvalues of K to zero instead of refusing them: once, before individuals
        are left out for missing phenotypes.
    scale_kinship : bool
        Divide K by its mean diagonal first, so that h² is a heritability.
    dtype : "float64" or "float32"
        Precision of the rotation and of the sums over individuals; everything else is in float64.

    Returns
    -------
    LMMFit
        Fields of shape (m,), ``beta`` of shape (p, m). A trait without a fit has NaN and a reason
        (``reasons``); it does not touch its neighbours.

    Raises
    ------
    ValueError
        If K, Y or X cannot be used at all, as in `eigen_rotation`.

    Notes
    -----
    Restricted likelihood in the complement of the covariates; Kang et al. 2008.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=100, m=20, missing=0.1, seed=1)
    >>> fit = lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar)
    >>> fit.hsq.shape, fit.beta.shape
    ((20,), (3, 20))
    """
    kinship = as_kinship(K)
    n = np.shape(kinship.values)[0]
    traits, covariates = as_traits("Y", Y, n, missing=True), as_covariates(X, n)
    check_same_individuals(K=kinship, Y=traits, X=covariates)
    check_tolerance(tol)
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}.")
    values = traits.values if np.ndim(traits.values) == 2 else traits.values[:, None]
    K = scaled(kinship.values) if scale_kinship else kinship.values
    p = covariates.values.shape[1]
    if n < p + 2:
        raise ValueError(f"a fit with {p} covariates needs at least {p + 2} individuals, got {n}.")

    if clip_negative:
        K = clipped(K)
    skeleton, largest = _skeleton(K)
    decompose = partial(
        _decompose, K, covariates.values, skeleton=skeleton, largest=largest, reml=reml
    )
    fit = partial(
        _fit,
        skeleton=skeleton,
        tol=tol,
        reml=reml,
        check_boundary=check_boundary,
        compute_se=compute_se,
        dtype=dtype,
    )
    if is_traced(K, covariates.values, values):
        everyone = decompose(members=np.arange(n)[None])
        result = jax.tree.map(lambda a: a[..., 0, :], fit(everyone, np.zeros(1, int), values[None]))
    else:
        result = _fit_observed(values, p, compute_se, decompose, fit)
    return replace(result, traits=traits.columns, covariates=covariates.columns)


def _skeleton(K: Any) -> tuple[Skeleton, Any]:
    """One skeleton for K, its submatrices and their projections, whose eigenvalues interlace."""
    if is_traced(K):
        largest = jnp.linalg.eigvalsh(lax.stop_gradient(K))[-1]
        return interval_skeleton(RANK_TOLERANCE, largest), largest
    spectrum = check_spectrum(np.linalg.eigvalsh(K), clip_negative=False)
    ratio = max(float(spectrum.min() / spectrum.max()), RANK_TOLERANCE)
    return interval_skeleton(ratio, spectrum.max()), spectrum.max()


class _Batch(NamedTuple):
    """Patterns of missing values that are decomposed together, and the traits that have them.

    members (P, s): the individuals of each pattern, -1 beyond the last;
    pattern (G, C), traits (G, C, T): G groups of C blocks of T traits, -1 for no trait, and whose
    pattern each block has.
    """

    members: np.ndarray
    pattern: np.ndarray
    traits: np.ndarray


def _fit_observed(
    Y: np.ndarray,
    p: int,
    compute_se: bool,
    decompose: Callable[..., _Pattern],
    fit: Callable[..., LMMFit],
) -> LMMFit:
    """Group traits by the individuals observed, fit each group, put the results in order."""
    m = Y.shape[1]
    observed = ~np.isnan(Y)
    counts = np.count_nonzero(observed, axis=0)
    status = np.where(counts < p + 2, Status.TOO_FEW, Status.OK)
    status = np.where(counts == 0, Status.ALL_MISSING, status)

    fits: list[tuple[np.ndarray, LMMFit]] = []
    for batch in _batches(observed, np.flatnonzero(status == Status.OK)):
        patterns = decompose(members=batch.members)
        for which, traits in zip(batch.pattern, batch.traits, strict=True):
            y = _values(Y, batch.members[which], traits)
            fits.append((traits, fit(patterns, which, y)))

    columns: dict[str, np.ndarray] = {
        name: np.full(m, np.nan)
        for name in ("sigmasq", "hsq", "sigmasq_g", "sigmasq_e", "loglik", "hsq_se")
    }
    columns |= {"beta": np.full((p, m), np.nan), "n": counts, "status": status}
    if not compute_se:
        del columns["hsq_se"]
    for traits, block in fits:
        used = traits >= 0
        for name, values in columns.items():
            values[..., traits[used]] = np.asarray(getattr(block, name))[..., used]
    arrays: dict[str, Any] = {name: jax.device_put(values) for name, values in columns.items()}
    return LMMFit(**({"hsq_se": None} | arrays))


def _values(Y: np.ndarray, members: np.ndarray, traits: np.ndarray) -> np.ndarray:
    """Phenotypes (C, s, T) of blocks of traits, zero where there is no individual or trait."""
    complete = len(traits) == 1 and members.shape[1] == len(Y) and members.min() >= 0
    if complete and traits.min() >= 0 and np.ptp(traits) == traits.size - 1:
        return Y[None, :, traits[0, 0] : traits[0, -1] + 1]  # a view: nothing to copy here
    present = (members >= 0)[:, :, None] & (traits >= 0)[:, None, :]
    return np.where(present, Y[members[:, :, None], traits[:, None, :]], 0.0)


def _batches(observed: np.ndarray, traits: np.ndarray) -> Iterator[_Batch]:
    """Batches of few distinct shapes in which every one of ``traits`` occurs once."""
    if traits.size == 0:
        return
    members, groups = _patterns(observed, traits)
    sizes = members.sum(axis=1)
    padded = _padded_sizes(sizes)
    for size, smaller in zip(padded, [0, *padded[:-1]], strict=True):
        patterns = np.flatnonzero((sizes > smaller) & (sizes <= size))
        calls = -(-patterns.size * size**2 // MOST_NUMBERS)
        share = -(-patterns.size // calls)
        parts = [patterns[i : i + share] for i in range(0, patterns.size, share)]
        width = _width(np.array([groups[k].size for k in patterns]))
        blocks = [_blocks([groups[k] for k in part], width) for part in parts]
        most = max(len(pattern) for pattern, _ in blocks)
        together = 1 if width > 64 else max(1, min(most, MOST_NUMBERS // size**2))
        for part, (pattern, columns) in zip(parts, blocks, strict=True):
            rows = np.full((share, size), -1)
            for row, k in zip(rows, part, strict=False):
                row[: sizes[k]] = np.flatnonzero(members[k])
            missing = -(-most // together) * together - len(pattern)
            yield _Batch(
                rows,
                np.pad(pattern, (0, missing)).reshape(-1, together),
                np.pad(columns, ((0, missing), (0, 0)), constant_values=-1).reshape(
                    -1, together, width
                ),
            )


def _patterns(observed: np.ndarray, traits: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Distinct patterns (P, n) of individuals observed, and the traits that have each."""
    if observed.all():
        return observed[:, :1].T, [traits]
    packed = np.ascontiguousarray(np.packbits(observed[:, traits], axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(which, kind="stable")
    return observed[:, traits[first]].T, np.split(traits[order], np.cumsum(count)[:-1])


def _padded_sizes(sizes: np.ndarray) -> list[int]:
    """At most `MOST_SIZES` sizes, ascending, that cost the least: a decomposition takes size³."""
    distinct, count = np.unique(sizes, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(count)])
    # least[j]: cost of the j smallest distinct sizes with the padded sizes allowed so far.
    least = np.where(np.arange(distinct.size + 1) == 0, 0.0, np.inf)
    choices = []
    for _ in range(min(MOST_SIZES, distinct.size)):
        cost = least[None, :-1] + (upto[1:, None] - upto[None, :-1]) * distinct[:, None] ** 3.0
        cost[np.triu_indices(distinct.size, 1)] = np.inf
        choices.append(np.argmin(cost, axis=1))
        least = np.concatenate([[np.inf], np.min(cost, axis=1)])
    chosen, j = [], distinct.size
    for choice in reversed(choices):
        if j == 0:
            break
        chosen.append(int(distinct[j - 1]))
        j = int(choice[j - 1])
    return chosen[::-1]


def _width(group_sizes: np.ndarray) -> int:
    """Traits in a block: all of a lone pattern's, few where there are many patterns."""
    if group_sizes.size == 1:
        return min(int(group_sizes[0]), TRAITS_AT_ONCE)
    return int(np.clip(2 ** np.ceil(np.log2(group_sizes.mean())), 8, TRAITS_AT_ONCE))


def _blocks(groups: list[np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of ``width`` traits of one pattern: pattern (C,) and traits (C, width)."""
    counts = [-(-group.size // width) for group in groups]
    traits = np.concatenate(
        [
            np.pad(group, (0, count * width - group.size), constant_values=-1)
            for group, count in zip(groups, counts, strict=True)
        ]
    )
    return np.repeat(np.arange(len(groups)), counts), traits.reshape(-1, width)


class _Pattern(NamedTuple):
    """What the traits of one pattern of missing values share.

    ``rows`` (r + 2, q) take squared rotated traits to their weighted sums at the nodes, their sum,
    and their sum in the null space of K.
    """

    n: Array
    projection: Projection
    rows: Array
    logdet: Array
    zeros: Array
    free_zeros: Array
    collinear: Array


@partial(jax.jit, static_argnames="reml")
def _decompose(
    K: Array, X: Array, *, members: Array, skeleton: Skeleton, largest: Array, reml: bool
) -> _Pattern:
    """Decompose K among the members of each pattern (P, s)."""
    return jax.vmap(lambda one: _pattern(K, X, one, skeleton, largest, reml))(members)


def _pattern(
    K: Array, X: Array, members: Array, skeleton: Skeleton, largest: Array, reml: bool
) -> _Pattern:
    """An absent individual is a row of the identity in K, and of zeros in X.

    For the decomposition its eigenvalue is above all others, where sorting finds it: 1 may be
    beyond what K's own scale resolves.
    """
    present = members >= 0
    both = present[:, None] & present[None, :]
    absent = 2 * largest * jnp.eye(members.size)
    sub_K = jnp.where(both, K[members[:, None], members[None, :]], absent)
    sub_X = jnp.where(present[:, None], X[members], 0.0)
    projection = project(sub_K, sub_X, largest)
    real = jnp.arange(projection.Kva.size) < jnp.sum(present) - X.shape[1]
    projection = replace(projection, Kva=jnp.where(real, projection.Kva, 1.0))
    spanned = jnp.abs(jnp.diagonal(projection.R)) <= COLLINEAR_TOLERANCE * jnp.linalg.norm(
        sub_X, axis=0
    )
    positive = projection.Kva > 0
    weights = jnp.where(positive, skeleton.weights_of(projection.Kva), 0.0)
    slopes = weights @ (projection.Kva - 1)
    free_zeros = jnp.sum(~positive).astype(K.dtype)
    absorbed = jnp.zeros(())
    if not reml:
        of_covariates, absorbed = _covariate_log_determinant(projection, skeleton, largest)
        slopes = slopes + of_covariates
    ones = jnp.ones_like(projection.Kva)
    return _Pattern(
        n=jnp.sum(present),
        projection=projection,
        rows=jnp.concatenate([weights, ones[None], jnp.where(positive, 0.0, 1.0)[None]]),
        logdet=skeleton.coefficients(slopes),
        zeros=free_zeros + absorbed,
        free_zeros=free_zeros,
        collinear=jnp.where(
            jnp.any(spanned), Status.COLLINEAR + lax.argmax(spanned, 0, jnp.int32), Status.OK
        ),
    )


@partial(jax.jit, static_argnames=("reml", "check_boundary", "compute_se", "dtype"))
def _fit(
    patterns: _Pattern,
    which: Array,
    y: Array,
    *,
    skeleton: Skeleton,
    tol: Array,
    reml: bool,
    check_boundary: bool,
    compute_se: bool,
    dtype: str,
) -> LMMFit:
    """Fits (C, T), ``beta`` (p, C, T), of blocks of traits y (C, s, T) and their patterns (C,)."""
    blocks, _, width = y.shape
    own = patterns if blocks == len(patterns.n) == 1 else jax.tree.map(lambda a: a[which], patterns)
    Kva, R = own.projection.Kva[:, :, None], own.projection.R
    least_squares = jnp.einsum("cpn,cnt->cpt", own.projection.Q_t, y)
    left, scale = y, jnp.ones((blocks, 1, width))
    if dtype == "float32":
        # What the covariates explain, and the units, would use up single precision's digits.
        left = y - jnp.einsum("cpn,cpt->cnt", own.projection.Q_t, least_squares)
        size = jnp.sqrt(jnp.sum(left**2, axis=1, keepdims=True))
        scale = jnp.where(size > 0, size, 1.0)
        left = left / scale
    rotated = jnp.einsum("cqn,cnt->cqt", own.projection.Kve_t.astype(dtype), left.astype(dtype))
    sums = jnp.einsum("crq,cqt->rct", own.rows.astype(dtype), rotated**2).astype(y.dtype)
    sums = sums * scale[:, 0] ** 2
    rss, total, in_null = sums[:-2], sums[-2], sums[-1]
    rounding = EXACT_TOLERANCE if dtype == "float64" else SINGLE_EXACT_TOLERANCE
    zero_rss = jnp.where(in_null <= rounding * total, 0.0, in_null)

    def fixed_effects(hsq: Array) -> Array:
        h = hsq.reshape(blocks, 1, width)
        variance = h.astype(dtype) * Kva.astype(dtype) + (1 - h).astype(dtype)
        weighted = jnp.where(Kva > 0, rotated / variance, 0.0)
        shift = jnp.einsum("cqp,cqt->cpt", own.projection.cross.astype(dtype), weighted)
        beta = jax.vmap(jax.scipy.linalg.solve_triangular)(R, least_squares - h * scale * shift)
        return jnp.swapaxes(beta, 0, 1).reshape(R.shape[-1], -1)

    def each(values: Array) -> Array:
        """One value for each trait of what its block has."""
        spread = jnp.broadcast_to(values[..., None], (*values.shape, width))
        return spread.reshape(*values.shape[:-1], -1)

    constant = constant_status(total, total + jnp.sum(least_squares**2, axis=1))
    status = jnp.where(own.collinear[:, None] > 0, own.collinear[:, None], constant)
    fits = maximise(
        Profile(
            skeleton,
            skeleton.coefficients(rss.reshape(rss.shape[0], -1)),
            zero_rss.reshape(-1),
            each(own.logdet.T),
            each(own.zeros),
        ),
        fixed_effects,
        n=each(own.n),
        p=R.shape[-1],
        free_zeros=each(own.free_zeros),
        status=status.reshape(-1),
        tol=tol,
        reml=reml,
        check_boundary=check_boundary,
        compute_se=compute_se,
    )
    return jax.tree.map(lambda a: a.reshape(*a.shape[:-1], blocks, width), fits)


def _covariate_log_determinant(
    projection: Projection, skeleton: Skeleton, largest: Array
) -> tuple[Array, Array]:
    """Slopes (r,) at the nodes of log|V| - log|N'VN|, and how many zeros that has at h = 1.

    |V| / |N'VN| is the determinant of G(h), the variance of the fixed effects in the basis Q:
    G(h) = h G(1) + (1-h) [I + h Σ_i c_i c_i' w_i(h) / λ_i], c_i the rows of ``cross``. Zeros of
    G(1) are rows that shrink like 1-h, which is divided out of them.
    """
    positive = projection.Kva > 0
    inverse = jnp.where(positive, 1 / jnp.where(positive, projection.Kva, 1.0), 0.0)
    at_one = projection.inner - projection.cross.T @ (inverse[:, None] * projection.cross)
    values, basis = jnp.linalg.eigh(at_one)
    absorbed = values <= ABSORBED_TOLERANCE * largest
    cross = projection.cross @ basis

    def logdet(hsq: Array) -> Array:
        weights = inverse / (hsq * projection.Kva + (1 - hsq))
        shrinking = jnp.eye(values.size) + hsq * cross.T @ (weights[:, None] * cross)
        scale = jnp.where(absorbed, 1.0, 1 - hsq)[:, None]
        return jnp.linalg.slogdet(
            scale * shrinking + hsq * jnp.diag(jnp.where(absorbed, 0.0, values))
        )[1]

    return jax.vmap(derivative(logdet))(skeleton.hsq), jnp.sum(absorbed).astype(values.dtype)
