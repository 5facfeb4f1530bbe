"""Confidence intervals of the shares that several components have of a trait's variance.

The interval of a share has all values that a likelihood-ratio test does not reject, the other
components estimated anew for each. At zero the ratio is half zero and half χ² with one degree of
freedom (Self and Liang 1987), far from it χ². Between them it is that of a normal estimate whose
mean δ standard errors from zero is known not to be negative (Feldman and Cousins 1998).

These laws are those of many independent contrasts, and 20 groups are few. As χ² with one degree of
freedom is to an F, or a normal quantile to Student's, the root of the ratio is to a larger one: its
degrees of freedom are those of the component's quadratic form beside the covariates (Satterthwaite
1946).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.average_information import Point, TraitData, evaluate, maximise

__all__ = ["contrasts", "critical_root", "few_contrasts", "share_limits"]

BISECTIONS = 40

SECANTS = 20
"""Steps after which a limit is found by halves, should the likelihood be far from a parabola."""

CLOSE = 1e-6
"""Shares of variance that are one."""


class _Search(NamedTuple):
    """Between which shares the limit is, the last two that were tried, and what is above them.

    ``others`` are the other components' variances at the last one.
    """

    inside: Float[Array, ""]
    outside: Float[Array, ""]
    before: Float[Array, ""]
    excess_before: Float[Array, ""]
    at: Float[Array, ""]
    excess: Float[Array, ""]
    others: Float[Array, " c"]
    tried: Int[Array, ""]


def critical_root(distance: Float[Array, ""], level: Float[Array, ""]) -> Float[Array, ""]:
    """Root of the ratio that is exceeded by 1 - level, ``distance`` standard errors above zero.

    Of x ~ N(δ, 1) the ratio's root is |x - δ| where x > 0 and √(δ² - 2xδ) elsewhere.
    """

    def halve(_: int | Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = -(distance**2 + middle**2) / (2 * distance)
        reached = ndtr(middle) - ndtr(below) >= level
        return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

    far = ndtri((1 + level) / 2)
    root = lax.fori_loop(0, BISECTIONS, halve, (ndtri(level), far))[1]
    # The two laws meet at δ = far.
    return jnp.where(distance < far, root, far)


def contrasts(K: Float[Array, "n n"], X: Float[Array, "n p"]) -> Float[Array, ""]:
    """Independent contrasts that y'K y has beside X: tr(K)²/tr(K²) there, G - 1 of G groups."""
    Q = jnp.linalg.qr(X)[0]
    beside = K - Q @ (Q.T @ K)
    beside = beside - (beside @ Q) @ Q.T
    squares = jnp.sum(beside**2)
    # A kinship of nobody observed has no contrast, and no interval that could be widened.
    return jnp.where(squares > 0, jnp.trace(beside) ** 2 / squares, jnp.inf)


def few_contrasts(count: Float[Array, ""], level: Float[Array, ""]) -> Float[Array, ""]:
    """Student's quantile over the normal one (Abramowitz and Stegun 1964, 26.7.5)."""
    square = ndtri((1 + level) / 2) ** 2
    terms = (
        (square + 1) / 4,
        (5 * square**2 + 16 * square + 3) / 96,
        (3 * square**3 + 19 * square**2 + 17 * square - 15) / 384,
    )
    return 1 + terms[0] / count + terms[1] / count**2 + terms[2] / count**3


def share_limits(
    data: TraitData,
    found: Point,
    rates: Float[Array, " c"],
    level: Float[Array, ""],
    tol: Array,
    max_steps: Array,
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Smallest and largest share of each kinship that the restricted likelihood does not reject.

    ``found`` is the maximum, and ``rates`` turn its variances into those that shares are made of.
    NaN where a fit to a share did not converge.
    """

    def limit(which: tuple[Array, Array]) -> Array:
        c, end = which
        return _limit(data, found, rates, c, end, level, tol, max_steps)

    size = len(data.kinships) - 1
    ends = jnp.repeat(jnp.array([0.0, 1.0]), size)
    limits = lax.map(limit, (jnp.tile(jnp.arange(size), 2), ends))
    return limits[:size], limits[size:]


def _limit(
    data: TraitData,
    found: Point,
    rates: Float[Array, " c"],
    c: Int[Array, ""],
    end: Float[Array, ""],
    level: Float[Array, ""],
    tol: Array,
    max_steps: Array,
) -> Float[Array, ""]:
    """Towards ``end``, 0 or 1, by secants kept between a share inside and one outside."""
    size = len(data.kinships)
    wider = few_contrasts(contrasts(data.kinships[c], data.X), level)

    def excess(share: Array, start: Array) -> tuple[Array, Array]:
        """Root of the ratio at a share above the critical one, and the others' variances."""
        fixed = (1 - share) * data.kinships
        fixed = fixed + share * (rates / rates[c])[:, None, None] * data.kinships[c]
        rest, _, converged = maximise(
            data._replace(kinships=fixed), start, jnp.arange(size) != c, tol, max_steps, True
        )
        others = rest.variances
        own = share * jnp.sum(others * rates) / rates[c]
        point = evaluate(data, jnp.where(jnp.arange(size) == c, own, (1 - share) * others), True)
        root = jnp.sqrt(jnp.maximum(2 * (found.value - rest.value), 0.0))
        distance = share / _share_error(point, rates, c)
        over = root - wider * critical_root(
            jnp.where(jnp.isnan(distance), jnp.inf, distance), level
        )
        over = jnp.where(converged, over, jnp.nan)
        known = jnp.isfinite(rest.value)
        return jnp.where(known, over, jnp.inf), jnp.where(known, others, start)

    def advance(search: _Search) -> _Search:
        slope = (search.excess - search.excess_before) / (search.at - search.before)
        at = jnp.where(search.tried == 1, guess, search.at - search.excess / slope)
        between = (at - search.inside) * (search.outside - at) > 0
        middle = (search.inside + search.outside) / 2
        at = jnp.where(between & (search.tried < SECANTS), at, middle)
        at = jnp.where(search.tried == 0, end, at)
        over, others = excess(at, search.others)
        # A secant from the end, where the likelihood may be zero, would lead nowhere.
        beyond = (search.tried == 0) & (over > 0)
        return _Search(
            jnp.where(over <= 0, at, search.inside),
            jnp.where(over > 0, at, search.outside),
            search.at,
            search.excess,
            jnp.where(beyond, search.at, at),
            jnp.where(beyond, search.excess, over),
            others,
            search.tried + 1,
        )

    def unfinished(search: _Search) -> Array:
        apart = jnp.abs(search.outside - search.inside) > CLOSE
        moved = (search.tried <= 1) | (jnp.abs(search.at - search.before) > CLOSE)
        possible = ~jnp.isnan(search.excess) & (search.tried < 2 * SECANTS)
        return apart & moved & possible

    share = found.variances[c] * rates[c] / jnp.sum(found.variances * rates)
    error = _share_error(found, rates, c)
    far = wider * critical_root(jnp.array(jnp.inf), level)
    guess = share + jnp.sign(end - share) * far * error
    at_share = -wider * critical_root(share / error, level)
    start = found.variances + 0.01 * jnp.sum(found.variances)
    zero = jnp.zeros((), int)
    first = _Search(share, end, share, at_share, share, at_share, start, zero)
    last = lax.while_loop(unfinished, advance, first)
    return jnp.where(jnp.isnan(last.excess), jnp.nan, last.at)


def _share_error(point: Point, rates: Float[Array, " c"], c: Int[Array, ""]) -> Float[Array, ""]:
    """Standard error of a share where it is what was assumed, by the average information.

    Other components at zero are taken to be known.
    """
    own = jnp.arange(len(rates)) == c
    free = own | (point.variances > 0)
    information = jnp.where(free[:, None] & free, point.information, 0.0)
    information = information + jnp.diag(jnp.where(free, 0.0, 1.0))
    total = jnp.sum(point.variances * rates)
    share = point.variances[c] * rates[c] / total
    slope = jnp.where(free, rates * (own - share) / total, 0.0)
    return jnp.sqrt(slope @ jnp.linalg.solve(information, slope))
