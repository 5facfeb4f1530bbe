"""Brent's search for a minimum between two bounds, of many functions at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

__all__ = ["smallest"]

GOLDEN = (3 - 5**0.5) / 2

TOLERANCE = 0.03
"""Of the place of the minimum."""

RELATIVE = 2.0**-26
"""Of places that are large: the square root of a double's last digit."""

MOST_STEPS = 80


class _Bracket(NamedTuple):
    """Bounds, the three best places in order with their values, and the last two steps."""

    low: Float[Array, " T"]
    high: Float[Array, " T"]
    best: Float[Array, " T"]
    second: Float[Array, " T"]
    third: Float[Array, " T"]
    f_best: Float[Array, " T"]
    f_second: Float[Array, " T"]
    f_third: Float[Array, " T"]
    step: Float[Array, " T"]
    step_before: Float[Array, " T"]


def smallest(
    function: Callable[[Array], Array], low: float, high: float, count: int
) -> Float[Array, " T"]:
    """A local minimum of each of ``count`` functions between two bounds.

    Golden sections, and parabolas through the three best places where they help (Brent 1973,
    Algorithms for minimization without derivatives, chapter 5). ``function`` takes a place for each
    of the functions, and gives their values. The first places, hence which of several minima is
    found, are those of R's ``optimize``.
    """
    first = jnp.full(count, low + GOLDEN * (high - low))
    value, still = function(first), jnp.zeros(count)
    bounds = jnp.full(count, low), jnp.full(count, high)
    begin = _Bracket(*bounds, first, first, first, value, value, value, still, still)

    def go_on(carry: tuple[Array, _Bracket]) -> Array:
        steps, bracket = carry
        return (steps < MOST_STEPS) & ~jnp.all(_done(bracket))

    def advance(carry: tuple[Array, _Bracket]) -> tuple[Array, _Bracket]:
        steps, bracket = carry
        place, step, before = _next(bracket)
        tried = _tried(bracket, place, function(place))
        tried = tried._replace(step=step, step_before=before)
        done = _done(bracket)
        return steps + 1, jax.tree.map(lambda a, b: jnp.where(done, a, b), bracket, tried)

    return lax.while_loop(go_on, advance, (jnp.zeros((), dtype=int), begin))[1].best


def _resolution(bracket: _Bracket) -> Float[Array, " T"]:
    return RELATIVE * jnp.abs(bracket.best) + TOLERANCE / 3


def _done(bracket: _Bracket) -> Bool[Array, " T"]:
    middle = 0.5 * (bracket.low + bracket.high)
    width = bracket.high - bracket.low
    return jnp.abs(bracket.best - middle) <= 2 * _resolution(bracket) - 0.5 * width


def _next(b: _Bracket) -> tuple[Array, Array, Array]:
    """Place to look at next, the step to there and the one before it."""
    resolution, middle = _resolution(b), 0.5 * (b.low + b.high)
    to_second = (b.best - b.second) * (b.f_best - b.f_third)
    to_third = (b.best - b.third) * (b.f_best - b.f_second)
    p = (b.best - b.third) * to_third - (b.best - b.second) * to_second
    q = 2 * (to_third - to_second)
    p, q = jnp.where(q > 0, -p, p), jnp.abs(q)
    curved = jnp.abs(b.step_before) > resolution
    inside = (p > q * (b.low - b.best)) & (p < q * (b.high - b.best))
    parabola = curved & inside & (jnp.abs(p) < jnp.abs(0.5 * q * b.step_before))
    section = jnp.where(b.best < middle, b.high, b.low) - b.best
    there = p / jnp.where(q > 0, q, 1.0)
    close = b.best + there
    edge = (close - b.low < 2 * resolution) | (b.high - close < 2 * resolution)
    there = jnp.where(edge, jnp.where(b.best < middle, resolution, -resolution), there)
    step = jnp.where(parabola, there, GOLDEN * section)
    before = jnp.where(parabola, b.step, section)
    least = jnp.where(step > 0, resolution, -resolution)
    return b.best + jnp.where(jnp.abs(step) >= resolution, step, least), step, before


def _tried(b: _Bracket, place: Array, value: Array) -> _Bracket:
    """The bracket once a place has been looked at."""
    better, left = value <= b.f_best, place < b.best
    new_second = (value <= b.f_second) | (b.second == b.best)
    new_third = (value <= b.f_third) | (b.third == b.best) | (b.third == b.second)

    def which(if_better: Array, if_second: Array, if_third: Array, else_: Array) -> Array:
        worse = jnp.where(new_second, if_second, jnp.where(new_third, if_third, else_))
        return jnp.where(better, if_better, worse)

    return _Bracket(
        jnp.where(better, jnp.where(left, b.low, b.best), jnp.where(left, place, b.low)),
        jnp.where(better, jnp.where(left, b.best, b.high), jnp.where(left, b.high, place)),
        jnp.where(better, place, b.best),
        which(b.best, place, b.second, b.second),
        which(b.second, b.second, place, b.third),
        jnp.where(better, value, b.f_best),
        which(b.f_best, value, b.f_second, b.f_second),
        which(b.f_second, b.f_second, value, b.f_third),
        b.step,
        b.step_before,
    )
