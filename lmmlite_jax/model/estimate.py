"""From the sums of a trait to its estimates: the part that does not know n, and all fits share."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from operator import and_
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.maximum import ANY_EIGENVALUES, FLAT, LAST, GridSize, global_maximum
from lmmlite_jax.model.options import Options, Prior
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "Components",
    "EffectVariance",
    "boundary_pvalue",
    "constant_status",
    "estimate",
    "where_fitted",
]

CONSTANT_TOLERANCE = 1e-24
"""Part of a trait's squares beside the covariates that counts as rounding."""


class Components(NamedTuple):
    """All of an `LMMFit` of m traits that the variance components decide, each (m,)."""

    sigmasq: Float[Array, " m"]
    hsq: Float[Array, " m"]
    sigmasq_g: Float[Array, " m"]
    sigmasq_e: Float[Array, " m"]
    loglik: Float[Array, " m"]
    lrt: Float[Array, " m"]
    lrt_pvalue: Float[Array, " m"]
    n: Int[Array, " m"]
    status: Int[Array, " m"]
    hsq_se: Float[Array, " m"] | None
    sigmasq_g_se: Float[Array, " m"] | None
    sigmasq_e_se: Float[Array, " m"] | None


class EffectVariance(NamedTuple):
    """Variance of β over σ² as a function of h.

    It is

        h · at_one + (1-h) · [at_zero + h · Σ_k spectral_k w(μ_k; h)],

    a sum of terms that are never negative, so that none of its digits cancel.

    Attributes
    ----------
    at_one, at_zero : (p, ...)
        The variances at h = 1 and at h = 0.
    spectral : (r, p, ...)
        Coefficients in the nodes of a skeleton.
    """

    at_one: Float[Array, "p *c"]
    at_zero: Float[Array, "p *c"]
    spectral: Float[Array, "r p *c"]

    def __call__(self, skeleton: Skeleton, hsq: Float[Array, " *m"]) -> Float[Array, "p *m"]:
        """(p, m) at heritabilities (m,); trailing axes of the fields broadcast against m's."""
        between = jnp.einsum("rm,rp->pm", skeleton.weights(hsq), self.spectral)
        return hsq * self.at_one[:, None] + (1 - hsq) * (self.at_zero[:, None] + hsq * between)


@partial(jax.jit, static_argnames=("options", "size"))
def estimate(
    profile: Profile,
    *,
    n: Int[Array, " #m"],
    p: Int[Array, ""],
    free_zeros: Float[Array, " #m"],
    status: Int[Array, " m"],
    tol: Array,
    prior: Prior,
    options: Options,
    size: GridSize = ANY_EIGENVALUES,
    smallest: Float[Array, ""] | None = None,
) -> Components:
    """Fit m traits whose sums are known.

    Parameters
    ----------
    profile : Profile
        The log likelihood as a function of h; ``dof`` and the prior are set here.
    n, p : (1,) or (m,), ()
        Individuals observed and covariates.
    free_zeros : (1,) or (m,)
        Zero eigenvalues of K in the complement of the covariates.
    status : (m,)
        Reasons already known not to fit a trait.
    size, smallest : GridSize, () optional
        As in `global_maximum`.
    """
    n = jnp.broadcast_to(n, status.shape)
    beside = (n - p).astype(profile.rss.dtype)
    dof = beside + prior.size
    profile = replace(
        profile,
        dof=dof if options.reml else n + prior.size,
        prior_squares=prior.variance * prior.size,
    )
    # Its maximum is closer to h = 1 than doubles are: no h tells this trait from one in K's range.
    beyond = profile.slope(jnp.asarray(LAST)) * (1 - LAST) > FLAT * profile.dof
    profile = replace(profile, zero_rss=jnp.where(beyond, 0.0, profile.zero_rss))
    absorbed = (profile.zeros > free_zeros) & (free_zeros == 0) & (profile.zero_rss == 0)
    top = global_maximum(
        profile,
        tol,
        spike=absorbed & (status == Status.OK),
        check_boundary=options.check_boundary,
        size=size,
        smallest=smallest,
    )
    at = jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq)
    sigmasq = profile.residual_squares(at) / dof
    # At h = 0 every weight is 1, and V the identity.
    at_zero = jnp.sum(profile.rss, axis=0) + profile.zero_rss + profile.prior_squares
    loglik_at_zero = -0.5 * profile.dof * jnp.log(at_zero)
    loglik = jnp.where(top.hsq > 0, top.loglik, loglik_at_zero)
    lrt = jnp.maximum(2 * (loglik - loglik_at_zero), 0.0)
    if options.reml:
        loglik = loglik + 0.5 * p * jnp.log(2 * jnp.pi / beside)

    exact = (at >= 1 - 2 * tol) & (profile.zeros > 0) & (profile.zero_rss == 0)
    for happens, reason in (
        (~jnp.isfinite(loglik_at_zero), Status.NOT_FINITE),
        (top.flat, Status.FLAT),
        (top.unbounded, Status.ML_UNBOUNDED),
        (exact, Status.EXACT),
        # Whatever else may happen: no trait is regular that lacks a number.
        (~_complete(top.hsq, sigmasq, loglik, lrt), Status.NOT_CONVERGED),
    ):
        status = jnp.where((status == Status.OK) & happens, reason, status)

    known = partial(where_fitted, status)
    errors: tuple[Array | None, ...] = (None, None, None)
    if options.compute_se:
        errors = _standard_errors(profile, jnp.where(exact, 0.5, at), sigmasq, status)
    return Components(
        sigmasq=known(sigmasq),
        hsq=known(top.hsq),
        sigmasq_g=known(top.hsq * sigmasq),
        sigmasq_e=known((1 - top.hsq) * sigmasq),
        loglik=known(loglik),
        lrt=known(lrt),
        lrt_pvalue=known(boundary_pvalue(lrt)),
        n=n,
        status=status,
        hsq_se=errors[0],
        sigmasq_g_se=errors[1],
        sigmasq_e_se=errors[2],
    )


def where_fitted(status: Int[Array, " m"], values: Float[Array, "*p m"]) -> Float[Array, "*p m"]:
    """Values of traits that have a fit, NaN for the others."""
    fitted = (status == Status.OK) | (status == Status.FLAT) | (status == Status.EXACT)
    return jnp.where(fitted, values, jnp.nan)


def _complete(*numbers: Float[Array, " m"]) -> Bool[Array, " m"]:
    """Whether a trait has all its numbers."""
    return reduce(and_, (jnp.isfinite(of_traits) for of_traits in numbers))


def boundary_pvalue(lrt: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """p-value of a likelihood ratio at the boundary: half zero, half χ² with one degree.

    Self and Liang 1987.
    """
    positive = jnp.where(lrt > 0, lrt, 1.0)  # the root has no derivative at zero
    return jnp.where(lrt > 0, 0.5 * erfc(jnp.sqrt(positive / 2)), jnp.where(lrt <= 0, 1.0, lrt))


def constant_status(left: Float[Array, "*m"], whole: Float[Array, "*m"]) -> Int[Array, "*m"]:
    """Traits of which the covariates leave nothing but rounding."""
    return jnp.where(left <= CONSTANT_TOLERANCE * whole, Status.CONSTANT, Status.OK)


def _standard_errors(
    profile: Profile, hsq: Array, sigmasq: Array, status: Array
) -> tuple[Array, Array, Array]:
    """Standard errors of h², σg² = h²σ² and σe² = (1-h²)σ², from the information on (h², log σ²).

    Given h², log σ² has variance 2/dof around log rss(h²), whose slope is the ``drift``.
    """
    curvature = profile.curvature(hsq)
    regular = (status == Status.OK) & (curvature < 0)
    variance = 1 / jnp.where(regular, -curvature, 1.0)
    squares = profile.squares_of(profile.weights(hsq))
    drift = squares.first / squares.value
    scale = 2 / profile.dof
    genetic = variance * (1 + hsq * drift) ** 2 + hsq**2 * scale
    residual = variance * (1 - (1 - hsq) * drift) ** 2 + (1 - hsq) ** 2 * scale
    errors = jnp.sqrt(variance), sigmasq * jnp.sqrt(genetic), sigmasq * jnp.sqrt(residual)
    h, g, e = (jnp.where(regular, error, jnp.nan) for error in errors)
    return h, g, e
