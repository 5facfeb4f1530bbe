"""The sum of single effects (SuSiE) of many genes, by iterative Bayesian stepwise selection.

A whitened trait is y = X(b₁ + … + b_L) + e, Var(e) = σ² I. Each b_l is the effect, of variance V_l,
of one marker that is not known (Wang et al. 2020, Journal of the Royal Statistical Society B
82:1273). Each is computed in turn given the others, V_l of greatest likelihood; then σ² of the
greatest evidence lower bound.

With the columns of X scaled to squares that sum to d, the log Bayes factor of a marker is
½ log(1 - κ) + ½ κ z², where z = x'r/√(d σ²) is that of the residuals r, and κ = V d/(V d + σ²) is
how much of an effect its prior leaves.

Genes whose windows overlap share rotated markers, and differ in weights, scales and in which
markers they have: a product with the markers of all genes is one product of two matrices.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.susie.brent import smallest

__all__ = ["Effects", "Genes", "Loci", "State", "improve", "some_genes", "start"]

SEARCHED = (-30.0, 15.0)
"""Where log V is looked for, V in units of the trait's variance, as susieR does."""

NEWTON_STEPS = 2

LARGEST_STEP = 0.2
"""Of log V, in Newton's method: Brent's search has come closer."""

LEAST_PRIOR = 1e-9
"""A smaller V, in the same units, is 0."""

LEAST_VARIANCE = 1e-4
"""Smallest σ² in these units, as in susieR."""


class Loci(NamedTuple):
    """T genes with windows among S markers, whitened under the null.

    values (S, q): the rotated markers; roots (T, q): the square roots of their weights; scale
    (T, S): what takes a marker's whitened column to squares that sum to d, zero where a gene does
    not have it; log_prior (T, S): log of the prior probability, -inf there; traits (T, q): the
    whitened traits, zero in padding; most (T,): how many effects there may be; rows (): n - p, and
    d is one less.
    """

    values: Float[Array, "S q"]
    roots: Float[Array, "T q"]
    scale: Float[Array, "T S"]
    log_prior: Float[Array, "T S"]
    traits: Float[Array, "T q"]
    most: Int[Array, " T"]
    rows: Float[Array, ""]

    def fitted(self, effects: Float[Array, "T S"]) -> Float[Array, "T q"]:
        """X b."""
        weighted = (self.scale * effects).astype(self.values.dtype)
        return self.roots * jnp.matmul(weighted, self.values).astype(float)

    def products(self, whitened: Float[Array, "T q"]) -> Float[Array, "T S"]:
        """X' of what is whitened."""
        rotated = (self.roots * whitened).astype(self.values.dtype)
        return self.scale * jnp.matmul(rotated, self.values.T).astype(float)

    def trait_variance(self) -> Float[Array, " T"]:
        """Of the whitened traits."""
        return jnp.sum(self.traits**2, axis=1) / (self.rows - 1)


class Effects(NamedTuple):
    """The L single effects of T genes.

    log_bf (L, T, S): log Bayes factor of each marker; products (L, T, S) and fitted (L, T, q):
    X'Xb and Xb of the posterior mean b; prior (L, T): V; lbf (L, T): log Bayes factor of an effect
    of any marker; moment (L, T): E‖Xb‖²; divergence (L, T): of the posterior from the prior.
    """

    log_bf: Float[Array, "L T S"]
    products: Float[Array, "L T S"]
    fitted: Float[Array, "L T q"]
    prior: Float[Array, "L T"]
    lbf: Float[Array, "L T"]
    moment: Float[Array, "L T"]
    divergence: Float[Array, "L T"]


class Genes(NamedTuple):
    """What T genes have.

    correlations (T, S): X'y; variance (T,): σ²; elbo (T,): evidence lower bound; steps (T,), and
    whether the last raised it by too little to go on (T,).
    """

    correlations: Float[Array, "T S"]
    variance: Float[Array, " T"]
    elbo: Float[Array, " T"]
    steps: Int[Array, " T"]
    converged: Bool[Array, " T"]


class State(NamedTuple):
    """Where the search has arrived."""

    effects: Effects
    genes: Genes


@partial(jax.jit, static_argnames="most")
def start(loci: Loci, *, most: int) -> State:
    """No effect of ``most``, and all variance residual."""
    T, S = loci.scale.shape
    zero, of_markers = jnp.zeros((most, T)), jnp.zeros((most, T, S))
    fitted = jnp.zeros((most, *loci.traits.shape))
    genes = Genes(
        loci.products(loci.traits),
        loci.trait_variance(),
        jnp.full(T, -jnp.inf),
        jnp.zeros(T, dtype=int),
        jnp.zeros(T, dtype=bool),
    )
    return State(Effects(of_markers, of_markers, fitted, zero, zero, zero, zero), genes)


@jax.jit
def some_genes(
    loci: Loci, state: State, places: Int[Array, " some"], real: Bool[Array, " some"]
) -> tuple[Loci, State]:
    """Genes in some places; those that are not ``real`` count as arrived."""
    own = loci._replace(values=loci.roots, rows=loci.traits)  # of genes, like the others
    chosen = jax.tree.map(lambda a: a[places], own)._replace(values=loci.values, rows=loci.rows)
    effects = jax.tree.map(lambda a: a[:, places], state.effects)
    genes = jax.tree.map(lambda a: a[places], state.genes)
    return chosen, State(effects, genes._replace(converged=genes.converged | ~real))


@jax.jit
def improve(loci: Loci, state: State, most: Int[Array, ""], tol: Float[Array, ""]) -> State:
    """At most so many steps; fewer once no gene's bound grows by ``tol``.

    Genes that have arrived stay as they are.
    """

    def go_on(carry: tuple[Array, State]) -> Array:
        count, state = carry
        return (count < most) & ~jnp.all(state.genes.converged)

    def step(carry: tuple[Array, State]) -> tuple[Array, State]:
        count, state = carry
        return count + 1, _kept(state, _step(loci, state, tol))

    return lax.while_loop(go_on, step, (jnp.zeros_like(most), state))[1]


def _kept(old: State, new: State) -> State:
    """What genes that have arrived had, and what the others have now."""
    done = old.genes.converged

    def of_genes(one: Array, other: Array) -> Array:
        return jnp.where(done.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    def of_effects(one: Array, other: Array) -> Array:
        return jnp.where(done.reshape(1, -1, *(1,) * (one.ndim - 2)), one, other)

    return State(
        jax.tree.map(of_effects, old.effects, new.effects),
        jax.tree.map(of_genes, old.genes, new.genes),
    )


def _step(loci: Loci, state: State, tol: Array) -> State:
    """All effects once, the evidence lower bound, and σ²."""
    genes, rows = state.genes, loci.rows
    effects = _every_effect(loci, state)
    residuals = loci.traits - jnp.sum(effects.fitted, axis=0)
    squares = jnp.sum(residuals**2, axis=1)
    squares += jnp.sum(effects.moment - jnp.sum(effects.fitted**2, axis=2), axis=0)
    elbo = -0.5 * rows * jnp.log(2 * jnp.pi * genes.variance) - squares / (2 * genes.variance)
    elbo -= jnp.sum(effects.divergence, axis=0)
    converged = elbo - genes.elbo < tol
    variance = jnp.maximum(squares / rows, LEAST_VARIANCE * loci.trait_variance())
    return State(
        effects,
        genes._replace(
            variance=jnp.where(converged, genes.variance, variance),
            elbo=elbo,
            steps=genes.steps + 1,
            converged=converged,
        ),
    )


def _every_effect(loci: Loci, state: State) -> Effects:
    """Each effect in turn, given the others."""
    d, variance = loci.rows - 1, state.genes.variance
    unit = loci.trait_variance() * d / variance

    def update(number: Array, carry: tuple[Effects, Array]) -> tuple[Effects, Array]:
        effects, left = carry
        gradient = left + effects.products[number]
        squares = gradient**2 / (d * variance[:, None])
        before = effects.prior[number] * d / variance
        odds, lbf = _prior(squares, loci.log_prior, unit, before)
        odds, lbf = (jnp.where(number < loci.most, a, 0.0) for a in (odds, lbf))
        kappa = odds / (1 + odds)
        log_bf = 0.5 * (kappa[:, None] * squares - jnp.log1p(odds)[:, None])
        posterior = jnp.exp(log_bf + loci.log_prior - lbf[:, None])
        mean = posterior * kappa[:, None] * gradient / d
        explained = jnp.sum(mean * gradient, axis=1)
        moment = kappa * (explained + variance)
        divergence = (2 * explained - moment) / (2 * variance) - lbf
        fitted, products = _spread(loci, mean, odds)
        prior = odds * variance / d
        one = Effects(log_bf, products, fitted, prior, lbf, moment, divergence)
        changed = jax.tree.map(lambda all_, new: all_.at[number].set(new), effects, one)
        return changed, gradient - products

    left = state.genes.correlations - jnp.sum(state.effects.products, axis=0)
    most = state.effects.lbf.shape[0]
    return lax.fori_loop(0, most, update, (state.effects, left))[0]


def _spread(loci: Loci, mean: Array, odds: Array) -> tuple[Array, Array]:
    """X b and X'X b; without a product where no gene has this effect."""

    def some() -> tuple[Array, Array]:
        fitted = loci.fitted(mean)
        return fitted, loci.products(fitted)

    def none() -> tuple[Array, Array]:
        return jnp.zeros_like(loci.traits), jnp.zeros_like(mean)

    return lax.cond(jnp.any(odds > 0), some, none)


def _prior(
    squares: Float[Array, "T S"],
    log_prior: Float[Array, "T S"],
    unit: Float[Array, " T"],
    before: Float[Array, " T"],
) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """V d/σ² (T,) of the greatest likelihood, and the log Bayes factor there.

    ``unit`` is that of V equal to the trait's variance. The search ends at one of several maxima:
    if V ``before`` is better, it stays; if 0 is as good, V is 0.
    """
    top = jnp.max(jnp.where(jnp.isfinite(log_prior), squares, 0.0), axis=1)
    below = squares - top[:, None]

    def lbf_of(odds: Array) -> Array:
        kappa = odds / (1 + odds)
        total = jnp.sum(jnp.exp(0.5 * kappa[:, None] * below + log_prior), axis=1)
        return 0.5 * (kappa * top - jnp.log1p(odds)) + jnp.log(total)

    found = unit * jnp.exp(smallest(lambda x: -lbf_of(unit * jnp.exp(x)), *SEARCHED, top.size))
    found = _exactly(found, top, below, log_prior)
    lbf, lbf_before = lbf_of(found), lbf_of(before)
    odds = jnp.where(lbf_before > lbf, before, found)
    lbf = jnp.maximum(lbf, lbf_before)
    some = (lbf > 0) & (odds > LEAST_PRIOR * unit)
    return jnp.where(some, odds, 0.0), jnp.where(some, lbf, 0.0)


def _exactly(odds: Array, top: Array, below: Array, log_prior: Array) -> Array:
    """The maximum beside ``odds``, by Newton's method.

    There they are E(z²) - 1 over the posterior. Where the steps are not small there is none.
    """

    def better(_: Array, log_odds: Array) -> Array:
        kappa = jax.nn.sigmoid(log_odds)
        weights = jnp.exp(0.5 * kappa[:, None] * below + log_prior)
        total = jnp.sum(weights, axis=1)
        mean = jnp.sum(weights * below, axis=1) / total
        spread = jnp.sum(weights * below**2, axis=1) / total - mean**2
        excess = jnp.maximum(top + mean - 1, jnp.exp(log_odds - 1))
        slope = 0.5 * spread * kappa * (1 - kappa) / excess - 1
        step = (log_odds - jnp.log(excess)) / slope
        return log_odds + jnp.where(jnp.abs(step) < LARGEST_STEP, step, 0.0)

    return jnp.exp(lax.fori_loop(0, NEWTON_STEPS, better, jnp.log(odds)))
