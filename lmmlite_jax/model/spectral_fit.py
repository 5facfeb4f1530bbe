"""Fits on the eigenvalues themselves, without a skeleton's error: what derivatives start from."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.decomposition import Sample, decompose
from lmmlite_jax.model.engine import make_engine
from lmmlite_jax.model.options import Options
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.rotation import Extremes, Projection
from lmmlite_jax.model.skeleton import Skeleton

__all__ = ["Moments", "SpectralFit", "spectral_fit"]

FLAT_SPECTRUM = 1e-10
"""Eigenvalues this close to each other are one: K is proportional to the identity."""

NEAR = 1e-6
"""A heritability so close to a boundary is at it, where the slope points outwards."""

FAR = 0.1
"""Longest step to the maximum from where a skeleton found it, as a part of h(1-h)."""

LAST_STEP = 1e-7
"""A step of Newton's method so small, in the same units, leaves nothing but rounding."""

MOST_STEPS = 4


class Moments(NamedTuple):
    """Log likelihood near one heritability a trait (m,).

    With D = K - I and r = Py: ``weights`` and ``levels`` are 1/(hλ + 1 - h) of N'KN and of K (the
    same in REML), ``weighted`` is U'r, ``bent`` U'PDr, ``squares`` y'Py, ``slope`` r'Dr over that;
    ``gradient`` and ``curvature`` are the log likelihood's, -½ [tr(PD) - dof · slope] (REML).
    """

    weights: Float[Array, "q m"]
    levels: Float[Array, "_ m"]
    weighted: Float[Array, "q m"]
    bent: Float[Array, "q m"]
    squares: Float[Array, " m"]
    slope: Float[Array, " m"]
    gradient: Float[Array, " m"]
    curvature: Float[Array, " m"]


class SpectralFit(NamedTuple):
    """Fits of m traits of the same individuals, absent ones among the rows.

    Attributes
    ----------
    hsq, loglik, status : (m,)
        As in `LMMFit`, ``hsq`` to the digits that the spectrum itself has, and NaN where flat.
    skeleton
        Where the fit began.
    projection, to_beta
        Kinship in the complement of the covariates, and R⁻¹.
    values : (q, m)
        Rotated traits.
    spectrum, full_basis
        Eigenvalues that log|V| is made of: those of N'KN in REML, and no basis; in ML those of K,
        and its eigenvectors in rows. 1 for absent individuals.
    smallest, dof : ()
        Smallest eigenvalue of those present; n - p in REML, n in ML.
    """

    hsq: Float[Array, " m"]
    loglik: Float[Array, " m"]
    status: Int[Array, " m"]
    skeleton: Skeleton
    projection: Projection
    to_beta: Float[Array, "p p"]
    values: Float[Array, "q m"]
    spectrum: Float[AnyArray, " _"]
    full_basis: Float[Array, "n n"] | None
    smallest: Float[Array, ""]
    dof: Float[Array, ""]

    def moments(self, hsq: Float[Array, " m"]) -> Moments:
        """Log likelihood and its derivatives in h, at one heritability a trait."""
        Kva, spectrum = self.projection.Kva[:, None], self.spectrum[:, None]
        weights, levels = (1 / (hsq * of + (1 - hsq)) for of in (Kva, spectrum))
        weighted = weights * self.values
        bent = weights * (Kva - 1) * weighted
        squares = jnp.sum(weighted * self.values, axis=0)
        slope = jnp.sum((Kva - 1) * weighted**2, axis=0) / squares
        bend = jnp.sum((Kva - 1) * bent * weighted, axis=0) / squares
        traces = levels * (spectrum - 1)
        return Moments(
            weights=weights,
            levels=levels,
            weighted=weighted,
            bent=bent,
            squares=squares,
            slope=slope,
            gradient=-0.5 * (jnp.sum(traces, axis=0) - self.dof * slope),
            curvature=0.5 * (jnp.sum(traces**2, axis=0) - self.dof * (2 * bend - slope**2)),
        )


def spectral_fit(
    reml: bool,
    K: Float[Array, "n n"],
    y: Float[Array, "n m"],
    X: Float[Array, "n p"],
    present: Float[Array, " n"],
) -> SpectralFit:
    """Fit as `fit_traits` does, then without the error of its skeleton.

    Individuals whose ``present`` is 0 are not there: they have zeros in K, y and X.
    """
    n, p = X.shape
    count = jnp.sum(present)
    full, whole = None, None
    if not reml:
        full, whole = _of_everyone(K, present)
    engine = make_engine(Sample(K, X, None), Options(reml), whole=whole)
    everyone = decompose(
        engine.sample,
        members=jnp.where(present > 0, jnp.arange(n), -1)[None],
        skeleton=engine.skeleton,
        whole=engine.whole,
        reml=reml,
        effects=False,
    )
    rotated, block = engine.fit(everyone, y[None], smallest=everyone.smallest[0])
    projection = jax.tree.map(lambda a: a[0], everyone.projection)
    spectrum, full_basis = (projection.Kva, None) if full is None else full
    real = jnp.arange(spectrum.size) < count - (p if reml else 0)
    smallest = jnp.min(jnp.where(real, spectrum, jnp.inf))
    largest = jnp.max(jnp.where(real, spectrum, 0))
    fit = SpectralFit(
        hsq=block.hsq[0],
        loglik=block.loglik[0],
        status=block.status[0],
        skeleton=engine.skeleton,
        projection=projection,
        to_beta=everyone.to_beta[0],
        values=rotated.values[0],
        spectrum=spectrum,
        full_basis=full_basis,
        smallest=smallest,
        dof=count - p if reml else count,
    )
    flat = largest - smallest <= FLAT_SPECTRUM * largest
    return fit._replace(hsq=jnp.where(flat, jnp.nan, _polished(fit)))


def _of_everyone(
    K: Float[Array, "n n"], present: Float[Array, " n"]
) -> tuple[tuple[Float[Array, " n"], Float[Array, "n n"]], Extremes]:
    """Eigenvalues of K, 1 for absent individuals, its eigenvectors in rows, and the extremes."""
    beyond = 2 * jnp.trace(K) * (1 - present)  # above the eigenvalues of those present
    values, vectors = jnp.linalg.eigh(K + jnp.diag(beyond))
    real = jnp.arange(values.size) < jnp.sum(present)
    whole = Extremes(values[0], jnp.max(jnp.where(real, values, 0.0)))
    return (jnp.where(real, jnp.maximum(values, 0), 1.0), vectors.T), whole


class _Search(NamedTuple):
    """Where traits are looked at next; where they were, and the size of the slope there (m,)."""

    hsq: Float[Array, " m"]
    before: Float[Array, " m"]
    slope: Float[Array, " m"]
    done: Bool[Array, " m"]
    step: Int[Array, ""]


def _polished(fit: SpectralFit) -> Float[Array, " m"]:
    """Maxima without the error of the skeleton: at a boundary exactly, or by Newton's method."""
    edge, inside = jnp.round(fit.hsq), (fit.hsq > 0) & (fit.hsq < 1)
    known = jnp.where(inside, fit.hsq, 0.5)
    near = (jnp.abs(fit.hsq - edge) < NEAR) & ((edge == 0) | (fit.smallest > 0))

    def advance(at: _Search) -> _Search:
        there = fit.moments(at.hsq)
        step = -there.gradient / jnp.where(there.curvature < 0, there.curvature, -jnp.inf)
        # A flat likelihood turns the skeleton's error into a step that may be long.
        part = jnp.abs(step) / (at.hsq * (1 - at.hsq))
        better = jnp.abs(there.gradient) < at.slope
        moves = better & (part < FAR)
        hsq = jnp.where(moves, at.hsq + step, jnp.where(better, at.hsq, at.before))
        done = ~moves | (part < LAST_STEP)
        # At the boundary the slope's sign decides, and Newton's method begins where it does not.
        at_edge = near & (at.step == 0)
        outwards = jnp.where(edge == 1, there.gradient >= 0, there.gradient <= 0)
        hsq = jnp.where(at_edge, jnp.where(outwards, edge, known), hsq)
        done = jnp.where(at_edge, outwards | ~inside, done)
        looked = better & ~at_edge
        return _Search(
            hsq=jnp.where(at.done, at.hsq, hsq),
            before=jnp.where(looked, at.hsq, at.before),
            slope=jnp.where(looked, jnp.abs(there.gradient), at.slope),
            done=at.done | done,
            step=at.step + 1,
        )

    start = _Search(
        hsq=jnp.where(near, edge, known),
        before=known,
        slope=jnp.full_like(known, jnp.inf),
        done=~(near | inside),
        step=jnp.zeros((), int),
    )
    found = lax.while_loop(
        lambda at: jnp.any(~at.done) & (at.step < MOST_STEPS), advance, start
    ).hsq
    return jnp.where(inside, found, fit.hsq)
