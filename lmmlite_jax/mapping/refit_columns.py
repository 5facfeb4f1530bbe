"""Tests of markers of several columns, in which every pair has a heritability of its own.

Every likelihood is searched over the whole grid. What a marker's columns have to one another at a
point of it, k × k sums and their inverse, is the same for all traits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.effects import DEPENDENT_TOLERANCE
from lmmlite_jax.mapping.pair_terms import NOTHING, MarkerProfile
from lmmlite_jax.mapping.refit_maximum import HowToRefit
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.maximum import global_maximum
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Derivatives, Profile, Weights
from lmmlite_jax.model.tested_traits import RefitTraits

__all__ = ["ColumnsRefit", "refit_columns"]


class ColumnsRefit(NamedTuple):
    """Of B markers of k columns on T traits: beta and se (B, T, k), the others (B, T).

    Attributes
    ----------
    hsq, beta, se : array
        At the maximum of the pair's likelihood.
    rank : array of int
        Independent columns.
    explained : array
        Sum of squares that they explain, over the residual sum of squares.
    ratio : array
        Twice the gain in log likelihood.
    wald, left : array
        As ``explained``, to be referred to an F law with ``rank`` and ``left`` degrees of freedom:
        corrected for h² being estimated, where that was asked for.
    expected : array
        What ``ratio`` is on average, over ``rank``; 1 where no correction was asked for.
    """

    hsq: Float[AnyArray, "*pairs"]
    beta: Float[AnyArray, "*pairs k"]
    se: Float[AnyArray, "*pairs k"]
    rank: Int[AnyArray, "*pairs"]
    explained: Float[AnyArray, "*pairs"]
    ratio: Float[AnyArray, "*pairs"]
    wald: Float[AnyArray, "*pairs"]
    left: Float[AnyArray, "*pairs"]
    expected: Float[AnyArray, "*pairs"]


@partial(jax.jit, static_argnames=("how",))
def refit_columns(
    markers: Markers, traits: RefitTraits, tol: Array, *, how: HowToRefit
) -> ColumnsRefit:
    """Fit every pair of B markers and T traits."""
    profile, unit = _profile(markers, traits, how)
    T, B = profile.shape
    absorbed, fitted, null_loglik = (
        jnp.repeat(of_trait, B) for of_trait in (traits.absorbed, traits.fitted, traits.loglik)
    )
    spike = absorbed | profile.spike
    top = global_maximum(profile, tol, spike=spike, check_boundary=True, size=how.size)
    rank = jnp.sum(profile.kept, axis=0)
    hsq = profile.before_one(jnp.where(jnp.isnan(top.hsq), 0.0, top.hsq))
    sums = profile.sums(profile.weights(hsq))
    # Rounding is all that a marker leaves of a trait that it explains: no h² is the most likely.
    exact = jnp.isnan(top.hsq) & (sums.rss <= NOTHING * sums.a.value).reshape(-1)
    found = fitted & (top.flat | exact | ~jnp.isnan(top.hsq))
    found = found & jnp.tile((rank > 0) & (rank < traits.dof), T)
    share, dof = sums.explained / sums.rss, traits.dof - rank
    if how.corrected:
        wald, left, expected = _small_sample(profile, sums, hsq, traits)
    else:
        wald, left = share, jnp.broadcast_to(dof, (T, B))
        expected = jnp.ones((T, B))
    loglik = profile.loglik(hsq)
    gain = jnp.where(exact | jnp.isnan(loglik), jnp.inf, loglik) - null_loglik
    scale = traits.unit[:, None] / unit[:, None]  # (k, T, B)
    known = found.reshape(T, B)

    def pairs(values: Array) -> Array:
        return jnp.where(known, values.reshape(T, B), jnp.nan).T

    def columns(values: Array) -> Array:
        values = jnp.where(known & profile.kept[:, None], scale * values, jnp.nan)
        return jnp.transpose(values, (2, 1, 0))

    return ColumnsRefit(
        hsq=pairs(jnp.where(top.flat, jnp.nan, top.hsq)),
        beta=columns(sums.effects),
        se=columns(jnp.sqrt(sums.rss / dof * sums.of_effects)),
        rank=jnp.broadcast_to(rank[:, None], (B, T)),
        explained=pairs(share),
        ratio=pairs(jnp.maximum(2 * gain, 0.0)),
        wald=pairs(wald),
        left=pairs(left),
        expected=pairs(expected),
    )


class _Sums(NamedTuple):
    """Sums of all pairs at their heritabilities, and what follows from them.

    a (T, B); b (k, T, B); d (k, k, T or 1, B); inverse, as d, that of the latter's value, whose
    logarithm of the determinant is ``log_d``, as a.
    """

    a: Derivatives
    b: Derivatives
    d: Derivatives
    inverse: Array
    log_d: Array

    @property
    def effects(self) -> Float[Array, "k T B"]:
        """Coefficients of the columns, zero of one that is not kept."""
        return _times(self.inverse, self.b.value)

    @property
    def of_effects(self) -> Float[Array, "k T B"]:
        """Their variances, in units of the residual variance."""
        k = len(self.inverse)
        return self.inverse[jnp.arange(k), jnp.arange(k)]

    @property
    def explained(self) -> Float[Array, "T B"]:
        """Sum of squares that the columns explain."""
        return _dot(self.b.value, self.effects)

    @property
    def rss(self) -> Float[Array, "T B"]:
        """Residual sum of squares with the marker in the model."""
        return jnp.maximum(self.a.value - self.explained, 0.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class _ColumnsProfile(MarkerProfile):
    """The log likelihood of all pairs of T traits and B markers of k columns.

    Pairs are numbered by trait and marker. In what follows the last of r + 1 rows is the part in
    the null space of K.

    Attributes
    ----------
    own : (r + 1, T, 1)
        Coefficients of a = Σ w ỹ².
    products, squares : (r + 1, k, T, B), (r + 1, k, k, 1, B)
        Coefficients of b = Σ w g̃ ỹ and d = Σ w g̃ g̃'; zero for a column that is not kept.
    kept : (k, B)
        Which columns are.
    """

    own: Float[Array, "r_and_1 T 1"]
    products: Float[Array, "r_and_1 k T B"]
    squares: Float[Array, "r_and_1 k k 1 B"]
    kept: Bool[Array, "k B"]

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        _, _, T, B = self.products.shape
        return T, B

    def sums(self, weights: Weights) -> _Sums:
        """Sums at one heritability for all pairs, or one for each."""
        rows = [
            jnp.concatenate([nodes, null[None]])
            for nodes, null in zip(weights.nodes, weights.null, strict=True)
        ]
        coefficients = self.own, self.products, self.squares
        if weights.null.value.ndim == 0:
            each = [[jnp.tensordot(row, of, 1) for row in rows] for of in coefficients]
        else:
            each = _node_by_node([row.reshape(-1, *self.shape) for row in rows], coefficients)
        a, b, d = (Derivatives(*of) for of in each)
        inverse, log_d, _ = _inverted(d.value + _unit(~self.kept), 0.0)
        return _Sums(a, b, d, jnp.where(_both(self.kept), inverse, 0.0), log_d)

    def residual_squares(self, hsq: Float[Array, "*m"]) -> Float[Array, " m"]:
        """Residual sum of squares with the marker in the model."""
        sums = self.sums(self.weights(hsq))
        return self._of_pairs(sums.a.value - sums.explained)

    def log_determinant(self, hsq: Float[Array, "*m"]) -> Float[Array, " ..."]:
        """log|V|, less a constant, with the marker among the covariates."""
        log_d = self._of_pairs(self.sums(self.weights(hsq)).log_d)
        return super().log_determinant(hsq) + self.restricted * log_d

    def squares_of(self, weights: Weights) -> Derivatives:
        """Residual sum of squares with the marker in the model."""
        a, b, d, inverse, _ = sums = self.sums(weights)
        effects = sums.effects
        moved = b.first - _times(d.first, effects)
        return Derivatives(
            *map(
                self._of_pairs,
                (
                    a.value - _dot(b.value, effects),
                    a.first - 2 * _dot(b.first, effects) + _dot(effects, _times(d.first, effects)),
                    a.second
                    - 2 * _dot(b.second, effects)
                    + _dot(effects, _times(d.second, effects))
                    - 2 * _dot(moved, _times(inverse, moved)),
                ),
            )
        )

    def determinant_of(self, weights: Weights) -> tuple[Float[Array, " ..."], Float[Array, " ..."]]:
        """Derivatives of log|V| with the marker among the covariates."""
        slope, curvature = super().determinant_of(weights)
        d, inverse = (sums := self.sums(weights)).d, sums.inverse
        growth = _product(inverse, d.first)
        bend = _trace(inverse, d.second) - _trace(growth, growth)
        return (
            slope + self.restricted * self._of_pairs(jnp.trace(growth)),
            curvature + self.restricted * self._of_pairs(bend),
        )

    def _of_pairs(self, values: Float[Array, "#T #B"]) -> Float[Array, " m"]:
        return jnp.broadcast_to(values, self.shape).reshape(-1)


def _profile(
    markers: Markers, traits: RefitTraits, how: HowToRefit
) -> tuple[_ColumnsProfile, Float[Array, "k B"]]:
    """The likelihoods of all pairs, columns being in units of their own, and these units."""
    (k, B, q), (T, _) = markers.values.shape, traits.values.shape
    values = markers.values.astype(float)
    whole = jnp.sum(values**2, axis=2)
    unit = jnp.sqrt(jnp.where(markers.varies & (whole > 0), whole, 1.0))
    squares = jnp.moveaxis(markers.squares.astype(float), -1, 0) / unit / unit[:, None]
    # Weights are positive: columns are as independent at any heritability as at 0.
    tolerance = DEPENDENT_TOLERANCE[markers.values.dtype.name]
    _, _, independent = _inverted(jnp.sum(squares, axis=0), tolerance)
    kept = independent & markers.varies
    squares = jnp.where(kept & kept[:, None], squares, 0.0)
    weighted = traits.rows[:, None] * traits.values
    products = weighted.reshape(-1, q) @ (values / unit[..., None]).reshape(k * B, q).T
    products = jnp.moveaxis(products.reshape(-1, T, k, B), 1, 2) * kept[:, None]

    a, b, d = traits.squares[-1][:, None], products[-1], squares[-1][:, :, None]
    inverse, _, _ = _inverted(d, NOTHING)
    explained = _dot(b, _times(inverse, b))
    absorbs = (explained > a * (1 - NOTHING)) & (a > 0)
    left = jnp.where(absorbs, 0.0, a - explained)  # not the rounding of a difference
    null, restricted = traits.profile, 1.0 if how.restricted else 0.0
    dof = jnp.asarray(null.dof) - restricted * jnp.sum(kept, axis=0)
    return (
        _ColumnsProfile(
            skeleton=null.skeleton,
            rss=jnp.repeat(traits.squares[:-1], B, axis=1),
            zero_rss=left.reshape(-1),
            logdet=null.logdet,
            zeros=null.zeros,
            dof=jnp.tile(dof, T),
            own=traits.squares[:, :, None],
            products=products,
            squares=squares[:, :, :, None],
            kept=kept,
            absorbs=absorbs.reshape(-1),
            restricted=jnp.asarray(restricted),
        ),
        unit,
    )


def _small_sample(
    profile: _ColumnsProfile, sums: _Sums, hsq: Float[Array, " pairs"], traits: RefitTraits
) -> tuple[Array, Array, Array]:
    """``wald``, ``left`` and ``expected`` of a `ColumnsRefit` (T, B).

    Kenward and Roger (1997): the variance of the effects, σ² d⁻¹, is to first order too small by
    2 v d⁻¹ u d⁻¹ σ² with u = d''/2 - d' d⁻¹ d' and v the variance of the estimate of h²; it varies
    by v m² of itself with m = d⁻¹ d' - (log rss)', and with that of σ². F is on average that of
    2/(2/dof + v tr(m²)/k) degrees of freedom; their own, which match its variance as well, are
    negative for few individuals. The ratio of likelihoods is on average its k and
    v (tr(d⁻¹ u) + tr(m²)/2 + tr(m)²/4). One column is as in `refit`, and v as well; its bound for
    the ratio grows to that for F as columns take up degrees of freedom: an h² of 0 or 1 is then
    often an overfit.
    """
    _, b, d, inverse, _ = sums
    rank = jnp.sum(profile.kept, axis=0)
    dof = traits.dof - rank
    growth = _product(inverse, d.first)
    # The traits' own log|V|, without the marker, has the parts of the null space in it.
    trace, trace1 = (
        x.reshape(profile.shape) for x in Profile.determinant_of(profile, profile.weights(hsq))
    )
    trace = trace + jnp.trace(growth)
    squares = -trace1 - _trace(inverse, d.second) + _trace(growth, growth)
    information = (squares - trace**2 / dof) / 2
    h = hsq.reshape(profile.shape)
    own = h * (1 - h)
    shared = jnp.minimum((rank - 1) / dof, 1.0)
    most = jnp.where(profile.restricted > 0, 0.25, own + (0.25 - own) * shared)
    v = jnp.where(information * most > 1, 1 / information, most)
    m = growth + _unit(profile.kept) * (trace / dof)  # (log rss)' is -trace / dof at the maximum
    within = d.second / 2 - _product(d.first, growth)

    one, two = jnp.trace(m) ** 2, _trace(m, m)
    expected = 1 + v * (_trace(inverse, within) + two / 2 + one / 4) / jnp.maximum(rank, 1)
    corrected, _, _ = _inverted(d.value + 2 * v * within + _unit(~profile.kept), 0.0)
    explained = _dot(b.value, _times(corrected, b.value))
    left = 1 / (1 / dof + v * two / (2 * jnp.maximum(rank, 1)))
    return explained * (dof / left) / sums.rss, left, expected


def _node_by_node(
    rows: Sequence[Float[Array, "r_and_1 T B"]], coefficients: Sequence[Array]
) -> list[list[Array]]:
    """Sums of coefficients of pairs, each with each of some weights.

    XLA takes ten times as long for a sum over a leading axis.
    """

    def add(node: Array, sums: list[list[Array]]) -> list[list[Array]]:
        return [
            [total + row[node] * of[node] for total, row in zip(totals, rows, strict=True)]
            for totals, of in zip(sums, coefficients, strict=True)
        ]

    shape = rows[0].shape[1:]
    start = [[jnp.zeros((*of.shape[1:-2], *shape))] * len(rows) for of in coefficients]
    sums: list[list[Array]] = lax.fori_loop(0, len(rows[0]), add, start)
    return sums


def _unit(columns: Bool[Array, "k B"]) -> Float[Array, "k k 1 B"]:
    """Unit matrices in some columns, zero in the others."""
    return jnp.eye(len(columns))[:, :, None, None] * columns[:, None]


def _both(columns: Bool[Array, "k B"]) -> Bool[Array, "k k 1 B"]:
    return (columns & columns[:, None])[:, :, None]


def _inverted(
    matrix: Float[Array, "k k *pairs"], least: float
) -> tuple[Float[Array, "k k *pairs"], Float[Array, "*pairs"], Bool[Array, "k *pairs"]]:
    """Inverse of the columns whose part beside those before them is more than ``least``.

    Zero in the others, with the logarithm of the determinant, and which columns those are.
    """
    k = len(matrix)

    def sweep(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        matrix, log_determinant, used = state
        pivot = matrix[i, i]
        enough = pivot > least
        pivot = jnp.where(enough, pivot, 1.0)
        row, column = matrix[i] / pivot, matrix[:, i] / pivot
        swept = matrix - matrix[:, i][:, None] * row
        swept = swept.at[i].set(row).at[:, i].set(column).at[i, i].set(-1 / pivot)
        return (
            jnp.where(enough, swept, matrix),
            log_determinant + jnp.log(pivot),
            used.at[i].set(enough),
        )

    start = matrix, jnp.zeros(matrix.shape[2:]), jnp.zeros(matrix.shape[1:], bool)
    swept, log_determinant, used = lax.fori_loop(0, k, sweep, start)
    return jnp.where(used & used[:, None], -swept, 0.0), log_determinant, used


def _times(matrix: Float[Array, "k k ..."], vector: Float[Array, "k ..."]) -> Array:
    return jnp.sum(matrix * vector, axis=1)


def _product(first: Float[Array, "k k ..."], second: Float[Array, "k k ..."]) -> Array:
    return jnp.sum(first[:, :, None] * second, axis=1)


def _dot(first: Float[Array, "k ..."], second: Float[Array, "k ..."]) -> Array:
    return jnp.sum(first * second, axis=0)


def _trace(first: Float[Array, "k k ..."], second: Float[Array, "k k ..."]) -> Array:
    """Of their product."""
    return jnp.sum(first * jnp.swapaxes(second, 0, 1), axis=(0, 1))
