"""Maximum likelihood fit of rotated data, one trait or many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.inputs import column_name
from lmmlite_jax.model.likelihood import ANGLE_TOLERANCE, EXACT_TOLERANCE, rotated_data
from lmmlite_jax.model.maximum import global_maximum
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.skeleton import RANK_TOLERANCE, Skeleton, interval_skeleton

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ABSORBED_TOLERANCE",
    "TRAITS_AT_ONCE",
    "LMMFit",
    "Status",
    "check_tolerance",
    "constant_status",
    "fit_lmm",
    "maximise",
]

TRAITS_AT_ONCE = 2048
"""Traits worked on together: enough to fill a matrix product, few enough to stay in cache."""

ABSORBED_TOLERANCE = 1e-6
"""Part of K's largest eigenvalue below which its variance along the covariates counts as zero in
ML: a kinship matrix that was centred and then printed has that much rounding."""

CONSTANT_TOLERANCE = 1e-24
"""Part of a trait's squares beside the covariates that counts as rounding."""


class Status(IntEnum):
    """Why a trait's fit is not what one would expect.

    Values from ``COLLINEAR`` upwards say which covariate is collinear among the individuals
    observed for the trait: its column is the value less ``COLLINEAR``.
    """

    OK = 0
    CONSTANT = 1
    TOO_FEW = 2
    ALL_MISSING = 3
    FLAT = 4
    ML_UNBOUNDED = 5
    EXACT = 6
    NOT_FINITE = 7
    COLLINEAR = 100


REASONS = {
    Status.OK: "",
    Status.CONSTANT: "the trait is constant, or a linear combination of the covariates",
    Status.TOO_FEW: "fewer than p + 2 individuals observed",
    Status.ALL_MISSING: "no individual observed",
    Status.FLAT: "heritability not identifiable: K is proportional to the identity here",
    Status.ML_UNBOUNDED: "ML unbounded: K is singular along the covariates, use REML",
    Status.NOT_FINITE: "missing values, or K not positive semidefinite (inside a trace)",
    Status.EXACT: "likelihood unbounded at h² = 1: the trait lies in the range of a singular K",
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LMMFit:
    """A fitted linear mixed model, or one for each of m traits.

    Attributes
    ----------
    beta : (p,) or (p, m)
        Fixed effects, in the trait's units per unit of the covariate.
    sigmasq : () or (m,)
        Total variance σ² = σg² + σe².
    hsq : () or (m,)
        Heritability h², in [0, 1].
    sigmasq_g, sigmasq_e : () or (m,)
        Genetic and residual variance.
    loglik : () or (m,)
        Log likelihood in R/lmmlite's convention.
    hsq_se : () or (m,), or None
        Standard error of h² from the observed information; None where not asked for, NaN where
        the likelihood is not concave at the maximum.
    n : () or (m,)
        Individuals observed.
    status : () or (m,)
        A `Status`; zero for a regular fit. Fields are NaN where a trait has no fit; where h² is
        not identifiable, σ² is that of h² = 0.
    traits, covariates : tuple of str or None
        Names, where data frames came in.
    """

    beta: Float[AnyArray, "..."]
    sigmasq: Float[AnyArray, "..."]
    hsq: Float[AnyArray, "..."]
    sigmasq_g: Float[AnyArray, "..."]
    sigmasq_e: Float[AnyArray, "..."]
    loglik: Float[AnyArray, "..."]
    hsq_se: Float[AnyArray, "..."] | None
    n: Int[AnyArray, "..."]
    status: Int[AnyArray, "..."]
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    covariates: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    def reasons(self) -> tuple[str, ...]:
        """One string a trait: why its fit is not regular, empty where it is."""
        return tuple(self._reason(int(s)) for s in np.atleast_1d(np.asarray(self.status)))

    def _reason(self, status: int) -> str:
        if status < Status.COLLINEAR:
            return REASONS[Status(status)]
        column = column_name(self.covariates, status - Status.COLLINEAR)
        return f"covariate {column} is collinear with others among the individuals observed"

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row for each trait (needs pandas, in the extra ``io``)."""
        import pandas as pd

        beta = np.asarray(self.beta).reshape(len(self.beta), -1)
        names = self.covariates or tuple(str(i) for i in range(len(beta)))
        fields = ["n", "hsq", "hsq_se", "sigmasq", "sigmasq_g", "sigmasq_e", "loglik"]
        columns: dict[str, Any] = {
            name: np.atleast_1d(np.asarray(getattr(self, name)))
            for name in fields
            if getattr(self, name) is not None
        }
        columns |= {f"beta_{name}": row for name, row in zip(names, beta, strict=True)}
        columns["reason"] = list(self.reasons)
        index = self.traits or range(beta.shape[1])
        return pd.DataFrame(columns, index=pd.Index(index, name="trait"))


@in_float64
def fit_lmm(
    Kva: Any,
    y: Any,
    X: Any,
    reml: bool = True,
    check_boundary: bool = True,
    tol: float = 1e-8,
    compute_se: bool = False,
) -> LMMFit:
    """Fit a linear mixed model to rotated data, for one trait or many.

    The maximum is the global one over h² in [0, 1]: every local maximum of a grid is bracketed and
    refined by Newton's method, and the boundaries are compared.

    Parameters
    ----------
    Kva, y, X : (n,), (n,) or (n, m), (n, p)
        Rotated data of `eigen_rotation`.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    check_boundary : bool
        Compare h² = 0 and h² = 1 explicitly. Without, the search stays in [tol, 1 - tol].
    tol : float
        Largest last step in h², relative to h²(1 - h²).
    compute_se : bool
        Whether to give the standard error of h².

    Returns
    -------
    LMMFit
        ``beta`` (p,) or (p, m); ``sigmasq``, ``hsq``, ``sigmasq_g``, ``sigmasq_e``, ``loglik`` and
        ``hsq_se`` of the shape of a trait axis.

    Raises
    ------
    ValueError
        If shapes do not fit, values are missing, or n < p + 2.

    Notes
    -----
    R/lmmlite's ``fitLMM``, without its limit of 1e-4 on the precision of h².

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=1, hsq=0.6, seed=1)
    >>> rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    >>> fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    >>> bool(abs(fit.hsq - 0.6) < 0.3), fit.beta.shape
    (True, (3,))
    """
    spectrum, traits, covariates = rotated_data(Kva, y, X)
    n, p = covariates.shape
    if n < p + 2:
        raise ValueError(f"a fit with {p} covariates needs at least {p + 2} individuals, got {n}.")
    check_tolerance(tol)
    if not reml:
        spectrum = _without_absorbed(spectrum, covariates)
    skeleton = interval_skeleton(_spectrum_ratio(spectrum, covariates), jnp.max(spectrum))
    design = _design(spectrum, covariates, skeleton, reml=reml)
    fit = partial(
        _fit_block,
        design=design,
        skeleton=skeleton,
        tol=tol,
        reml=reml,
        check_boundary=check_boundary,
        compute_se=compute_se,
    )
    if traits.ndim == 1:
        return jax.tree.map(lambda a: a[..., 0], fit(traits[:, None]))
    return _in_blocks(fit, traits)


def _in_blocks(fit: Callable[[Array], LMMFit], y: Array) -> LMMFit:
    """Fit blocks of traits of one width; the last overlaps the one before rather than be padded."""
    m = y.shape[1]
    if m <= TRAITS_AT_ONCE or is_traced(y):
        return fit(y)
    starts = [*range(0, m - TRAITS_AT_ONCE, TRAITS_AT_ONCE), m - TRAITS_AT_ONCE]
    stops = [*starts[1:], m]
    fits = [
        jax.tree.map(
            lambda a, width=stop - start: np.asarray(a)[..., :width],
            fit(lax.dynamic_slice_in_dim(y, start, TRAITS_AT_ONCE, axis=1)),
        )
        for start, stop in zip(starts, stops, strict=True)
    ]
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts, axis=-1)), *fits)


def check_tolerance(tol: float) -> None:
    """Refuse a tolerance that cannot be one."""
    if not 0 < tol < 0.1:
        raise ValueError(f"tol must be a small positive number, such as 1e-8, got {tol}.")


@jax.jit
def _without_absorbed(Kva: Array, X: Array) -> Array:
    """Eigenvalues for ML: zero where they are almost zero and the covariates span the direction."""
    almost_zero = Kva <= ABSORBED_TOLERANCE * jnp.max(Kva)
    leverage = jnp.sum(jnp.linalg.qr(X)[0] ** 2, axis=1)
    return jnp.where(almost_zero & (leverage > 1 - ABSORBED_TOLERANCE), 0.0, Kva)


def _spectrum_ratio(Kva: Array, X: Array) -> float:
    """Smallest over largest positive eigenvalue that any projection of K on X's complement has."""
    if is_traced(Kva, X):
        return RANK_TOLERANCE
    values, covariates = np.asarray(Kva), np.asarray(X)
    null = values == 0
    if null.any():
        # The null space of K must lie in the span of X or be orthogonal to it; in between,
        # projection makes small eigenvalues of zero ones.
        Q = np.linalg.qr(covariates)[0][null]
        cosines = np.linalg.eigvalsh(Q.T @ Q)
        if np.any((cosines > ANGLE_TOLERANCE) & (cosines < 1 - ANGLE_TOLERANCE)):
            return RANK_TOLERANCE
    return float(values[~null].min() / values.max())


def _fit_block(
    y: Array,
    *,
    design: _Design,
    skeleton: Skeleton,
    tol: float,
    reml: bool,
    check_boundary: bool,
    compute_se: bool,
) -> LMMFit:
    """Two programs: the first depends on n and is small, the second does not and is compiled once.

    A loop over many sizes of cohort would otherwise compile everything for each of them.
    """
    return _maximise_sums(
        _sums(y, design, skeleton),
        design.shared,
        skeleton,
        y.shape[0],
        tol,
        reml=reml,
        check_boundary=check_boundary,
        compute_se=compute_se,
    )


@partial(jax.jit, static_argnames=("reml", "check_boundary", "compute_se"))
def _maximise_sums(
    sums: _Sums,
    shared: _Shared,
    skeleton: Skeleton,
    n: Array,
    tol: Array,
    *,
    reml: bool,
    check_boundary: bool,
    compute_se: bool,
) -> LMMFit:
    p, m = sums.least_squares.shape

    def fixed_effects(hsq: Array) -> Array:
        shift = jnp.sum(skeleton.weights(hsq)[:, None] * sums.effects, axis=0)
        return jax.scipy.linalg.solve_triangular(shared.R, sums.least_squares - hsq * shift)

    return maximise(
        Profile(skeleton, sums.rss, sums.zero_rss, shared.logdet[:, None], shared.zeros[None]),
        fixed_effects,
        n=jnp.full(m, n),
        p=p,
        free_zeros=shared.free_zeros[None],
        status=sums.status,
        tol=tol,
        reml=reml,
        check_boundary=check_boundary,
        compute_se=compute_se,
    )


def maximise(
    profile: Profile,
    fixed_effects: Callable[[Array], Array],
    *,
    n: Int[Array, " m"],
    p: int,
    free_zeros: Float[Array, " #m"],
    status: Int[Array, " m"],
    tol: Array,
    reml: bool,
    check_boundary: bool,
    compute_se: bool,
) -> LMMFit:
    """Fit m traits whose sums are known: the part that every kind of rotation shares.

    Parameters
    ----------
    profile : Profile
        The log likelihood as a function of h; its ``dof`` is set here.
    fixed_effects : function of (m,) to (p, m)
        β at given heritabilities.
    n, p : (m,), int
        Individuals observed and covariates.
    free_zeros : (1,) or (m,)
        Zero eigenvalues of K in the complement of the covariates.
    status : (m,)
        Reasons already known not to fit a trait.
    """
    dof = (n - p).astype(profile.rss.dtype)
    profile = replace(profile, dof=dof if reml else n.astype(profile.rss.dtype))
    absorbed = (profile.zeros > free_zeros) & (free_zeros == 0) & (profile.zero_rss == 0)
    top = global_maximum(
        profile, tol, spike=absorbed & (status == Status.OK), check_boundary=check_boundary
    )
    at = jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)
    sigmasq = profile.residual_squares(at) / dof
    loglik = profile.loglik(at)
    if reml:
        loglik = loglik + 0.5 * p * jnp.log(2 * jnp.pi / dof)

    exact = (at >= 1 - 2 * tol) & (profile.zeros > 0) & (profile.zero_rss == 0)
    half = jnp.full_like(at, 0.5)
    for happens, reason in (
        (~jnp.isfinite(profile.loglik(half)), Status.NOT_FINITE),
        (top.flat, Status.FLAT),
        (top.unbounded, Status.ML_UNBOUNDED),
        (exact, Status.EXACT),
    ):
        status = jnp.where((status == Status.OK) & happens, reason, status)
    fitted = (status == Status.OK) | (status == Status.FLAT) | (status == Status.EXACT)

    def known(values: Array) -> Array:
        return jnp.where(fitted, values, jnp.nan)

    hsq_se = None
    if compute_se:
        curvature = profile.curvature(jnp.where(exact, 0.5, at))
        regular = (status == Status.OK) & (curvature < 0)
        hsq_se = jnp.where(regular, 1 / jnp.sqrt(jnp.where(regular, -curvature, 1.0)), jnp.nan)
    return LMMFit(
        beta=known(fixed_effects(at)),
        sigmasq=known(sigmasq),
        hsq=known(top.hsq),
        sigmasq_g=known(top.hsq * sigmasq),
        sigmasq_e=known((1 - top.hsq) * sigmasq),
        loglik=known(loglik),
        hsq_se=hsq_se,
        n=n,
        status=status,
    )


def constant_status(left: Float[Array, "*m"], whole: Float[Array, "*m"]) -> Int[Array, "*m"]:
    """Traits of which the covariates leave nothing but rounding."""
    return jnp.where(left <= CONSTANT_TOLERANCE * whole, Status.CONSTANT, Status.OK)


class _Sums(NamedTuple):
    """What a block of m traits contributes: (r, m), (m,), (r, p, m), (p, m), (m,)."""

    rss: Array
    zero_rss: Array
    effects: Array
    least_squares: Array
    status: Array


class _Shared(NamedTuple):
    """What all traits share, whatever n is."""

    R: Array
    logdet: Array
    zeros: Array
    free_zeros: Array


class _Design(NamedTuple):
    """What the covariates do at the nodes of a skeleton, for all traits alike.

    Q (n, p) an orthonormal basis of the covariates; at each node the weights of individuals
    (r, n), an orthonormal basis of the weighted Q, weighted again (r, p, n), and the triangle that
    leads back to Q (r, p, p); the null space of K, and the part of it that the covariates span.
    """

    Q: Array
    weights: Array
    weighted_bases: Array
    triangles: Array
    null: Array
    null_basis: Array
    shared: _Shared


@partial(jax.jit, static_argnames="reml")
def _design(Kva: Array, X: Array, skeleton: Skeleton, *, reml: bool) -> _Design:
    Q, R = jnp.linalg.qr(X)
    null = Kva == 0
    weights = skeleton.weights_of(Kva)
    roots = jnp.sqrt(weights)[:, :, None]
    bases, triangles = jnp.linalg.qr(roots * Q)
    in_null = Q * null[:, None]
    cosines, G = jnp.linalg.eigh(in_null.T @ in_null)
    pinned = cosines > ANGLE_TOLERANCE
    lengths = jnp.sqrt(jnp.where(pinned, cosines, 1.0))

    # log|V| (ML) or log|N'VN| (REML) by its slopes at the nodes: N takes away an individual's
    # leverage.
    all_zeros = jnp.sum(null).astype(X.dtype)
    free_zeros = all_zeros - jnp.sum(pinned)
    zeros = free_zeros if reml else all_zeros
    shares = weights * (1 - jnp.sum(bases**2, axis=2)) if reml else weights
    slopes = jnp.sum((Kva - 1) * shares, axis=1) + zeros / skeleton.gap
    return _Design(
        Q=Q,
        weights=weights,
        weighted_bases=jnp.swapaxes(roots * bases, 1, 2),
        triangles=triangles,
        null=null,
        null_basis=jnp.where(pinned, in_null @ G / lengths, 0.0),
        shared=_Shared(R, skeleton.coefficients(slopes), zeros, free_zeros),
    )


@jax.jit
def _sums(y: Array, design: _Design, skeleton: Skeleton) -> _Sums:
    """Sums of traits from which the covariates are removed by ordinary least squares first."""
    r, p, n = design.weighted_bases.shape
    least_squares = design.Q.T @ y
    left = y - design.Q @ least_squares
    squares = left**2
    scores = (design.weighted_bases.reshape(r * p, n) @ left).reshape(r, p, -1)
    in_null = jnp.where(design.null[:, None], left, 0.0)
    in_null = in_null - design.null_basis @ (design.null_basis.T @ in_null)
    total = jnp.sum(squares, axis=0)
    zero_rss = jnp.sum(in_null**2, axis=0)
    zero_rss = jnp.where(zero_rss <= EXACT_TOLERANCE * total, 0.0, zero_rss)
    rss = design.weights @ squares - jnp.sum(scores**2, axis=1)
    shifts = jax.vmap(jax.scipy.linalg.solve_triangular)(design.triangles, scores)
    return _Sums(
        rss=skeleton.coefficients(rss - zero_rss / skeleton.gap[:, None]),
        zero_rss=zero_rss,
        effects=skeleton.coefficients(-shifts / skeleton.hsq[:, None, None]),
        least_squares=least_squares,
        status=constant_status(total, jnp.sum(y**2, axis=0)),
    )
