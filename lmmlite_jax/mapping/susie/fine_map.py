"""Genes fine-mapped together, with the markers near any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.mapping.cis.near import FEWEST_MARKERS, Neighbourhood, each_neighbourhood
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.mapping.susie.kernel import Loci, State, improve, some_genes, start
from lmmlite_jax.mapping.susie.sets import CredibleSet, credible_sets
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.trait_block import Traits, Whitened

__all__ = ["NO_MARKER", "FineMapped", "Search", "as_search", "each_fine_mapped", "reason_of"]

WIDTHS = (1, 4, 12, 32)
"""Genes of one program. Those that are left after a few steps go on in a smaller one."""

MOST_WORK = 1.6
"""Genes go together while that multiplies the markers of all of them by no more."""

NO_MARKER = "no marker in the window varies beside the covariates"
"""Why a gene that is fitted has no result."""

STEPS_AT_ONCE = 4
"""Between two looks at how many genes are left."""


class Search(NamedTuple):
    """Most effects of a gene; coverage and least |correlation| of sets; when the search ends."""

    max_effects: int
    coverage: float
    min_abs_corr: float
    tol: float
    max_iter: int


def as_search(
    max_effects: int, coverage: float, min_abs_corr: float, tol: float, max_iter: int
) -> Search:
    """Refuse what cannot be used."""
    for name, count in (("max_effects", max_effects), ("max_iter", max_iter)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be above 0 and below 1, got {coverage}.")
    if not 0 <= min_abs_corr <= 1:
        raise ValueError(f"min_abs_corr must be from 0 to 1, got {min_abs_corr}.")
    if not tol > 0:
        raise ValueError(f"tol must be above 0, got {tol}.")
    return Search(max_effects, coverage, min_abs_corr, tol, max_iter)


class FineMapped(NamedTuple):
    """One gene.

    Attributes
    ----------
    gene : int
        Its number (column of Y).
    marker : (num_var,)
        Numbers of the markers in its window that are frequent enough and vary.
    pip, af : (num_var,)
        Probability that a marker has an effect, and frequency of the counted allele.
    posterior, log_bf : (L, num_var)
        Probability that an effect is a marker's, and the log Bayes factor of that.
    prior_variance, lbf : (L,)
        Of each effect: variance of the effect of a marker of variance 1, and log Bayes factor.
    sigmasq, elbo : float
        Residual variance and evidence lower bound.
    iterations : int
        Steps made.
    converged : bool
        Whether the last raised the bound by less than was asked for.
    sets : list of CredibleSet
        With places among ``marker``; none without convergence.
    """

    gene: int
    marker: Int[np.ndarray, " num_var"]
    pip: Float[np.ndarray, " num_var"]
    af: Float[np.ndarray, " num_var"]
    posterior: Float[np.ndarray, "L num_var"]
    log_bf: Float[np.ndarray, "L num_var"]
    prior_variance: Float[np.ndarray, " L"]
    lbf: Float[np.ndarray, " L"]
    sigmasq: float
    elbo: float
    iterations: int
    converged: bool
    sets: list[CredibleSet]


def each_fine_mapped(
    null: NullModel,
    genotypes: Genotypes,
    windows: Int[np.ndarray, "m 2"],
    chromosome: ArrayOrFrame | None,
    search: Search,
    maf_threshold: float,
    wanted: Bool[np.ndarray, " m"] | None = None,
) -> Iterator[tuple[Neighbourhood, list[FineMapped]]]:
    """Neighbouring genes after one another, of whom any is ``wanted``.

    A gene is left out where no marker of its window can be tested, or where it has no fit.
    """
    work = partial(_fine_map, search=search)
    return each_neighbourhood(
        null, genotypes, windows, chromosome, work, maf_threshold=maf_threshold, wanted=wanted
    )


def _fine_map(near: Neighbourhood, search: Search) -> list[FineMapped]:
    """Genes of a neighbourhood that can be fine-mapped."""
    tested = near.inside() & np.asarray(near.markers.varies)[0][:, None]
    fitted = (near.block.traits >= 0) & np.isfinite(np.asarray(near.block.at_null.rss))
    genes = np.flatnonzero(tested.any(axis=0) & fitted)
    af = near.dosages.mean(axis=0) / 2
    return [
        one
        for some in _together(genes, near.start, near.stop)
        for one in _fine_map_some(near, some, tested, af, search)
    ]


def _together(
    genes: Int[np.ndarray, " genes"], start: Int[np.ndarray, " T"], stop: Int[np.ndarray, " T"]
) -> Iterator[Int[np.ndarray, " some"]]:
    """Genes, by their windows, in parts whose windows overlap enough."""
    genes = genes[np.lexsort((stop[genes], start[genes]))]
    sizes = stop[genes] - start[genes]
    low = 0
    while low < genes.size:
        high = low + 1
        while high < genes.size:
            some = slice(low, high + 1)
            union = stop[genes[some]].max() - start[genes[low]]
            if union * (high + 1 - low) > MOST_WORK * sizes[some].sum():
                break
            high += 1
        yield genes[low:high]
        low = high


def _fine_map_some(
    near: Neighbourhood,
    genes: Int[np.ndarray, " some"],
    tested: Bool[np.ndarray, "S T"],
    af: Float[np.ndarray, " size"],
    search: Search,
) -> list[FineMapped]:
    """Genes in some places of a neighbourhood, with the markers from the first to the last."""
    first, last = int(near.start[genes].min()), int(near.stop[genes].max())
    size = min(_size(last - first), near.kept.size)
    first = min(first, near.kept.size - size)
    markers, tested = near.markers.part(first, size), tested[first : first + size]
    padded = np.resize(genes, _width(genes.size))
    block = near.block
    loci = _loci(markers, block.at_null, block.whitened, padded, tested.T[padded])
    values, roots = np.asarray(loci.values), np.asarray(loci.roots)
    found = {}
    for place, solved in _solved(loci, genes.size, search):
        marker = np.flatnonzero(tested[:, genes[place]])

        def columns(
            members: Int[np.ndarray, " size"],
            of_gene: Int[np.ndarray, " S"] = marker,
            place: int = place,
        ) -> Float[np.ndarray, "size q"]:
            return values[of_gene[members]] * roots[place]

        found[place] = FineMapped(
            gene=int(block.traits[genes[place]]),
            marker=near.first + first + marker,
            af=af[first + marker],
            **_posterior(solved, marker, search, columns),
        )
    return [found[place] for place in range(genes.size)]


@jax.jit
def _loci(
    markers: Markers,
    traits: Traits,
    whitened: Whitened,
    genes: Int[Array, " T"],
    tested: Bool[Array, "T S"],
) -> Loci:
    """Some genes of a block with the markers they are tested with."""
    d = (markers.squares[0, 0] @ traits.weights[:, genes]).T
    count = jnp.sum(tested, axis=1)
    return Loci(
        values=markers.values[0],
        roots=1 / whitened.deviation.T[genes],
        scale=jnp.where(tested, jnp.sqrt((traits.dof - 1) / jnp.where(tested, d, 1.0)), 0.0),
        log_prior=jnp.where(tested, -jnp.log(count)[:, None], -jnp.inf),
        traits=whitened.residuals.T[genes],
        most=count,
        rows=traits.dof,
    )


class _Solved(NamedTuple):
    """One gene where its search has ended; log Bayes factors of all S markers."""

    log_bf: Float[np.ndarray, "L S"]
    prior: Float[np.ndarray, " L"]
    lbf: Float[np.ndarray, " L"]
    sigmasq: float
    elbo: float
    iterations: int
    converged: bool


def _solved(loci: Loci, count: int, search: Search) -> Iterator[tuple[int, _Solved]]:
    """The first ``count`` genes, each when its search has ended."""
    state = start(loci, most=search.max_effects)
    places = np.arange(loci.traits.shape[0])
    left = places < count
    loci, state = some_genes(loci, state, places, left)
    steps = 0
    while left.any():
        more = min(STEPS_AT_ONCE, search.max_iter - steps)
        state = improve(loci, state, np.asarray(more), np.asarray(search.tol))
        steps += more
        ended = left & (np.asarray(state.genes.converged) | (steps == search.max_iter))
        if ended.any():
            yield from _ended(state, places, ended)
        left &= ~ended
        width = _width(int(left.sum()))
        if left.any() and width < left.size:
            chosen = np.resize(np.flatnonzero(left), width)
            left = np.arange(width) < left.sum()
            loci, state = some_genes(loci, state, chosen, left)
            places = places[chosen]


def _ended(
    state: State, places: Int[np.ndarray, " T"], ended: Bool[np.ndarray, " T"]
) -> Iterator[tuple[int, _Solved]]:
    effects = state.effects
    log_bf, prior, lbf = (np.asarray(a) for a in (effects.log_bf, effects.prior, effects.lbf))
    genes = jax.tree.map(np.asarray, state.genes)
    for k in np.flatnonzero(ended).tolist():
        yield (
            int(places[k]),
            _Solved(
                log_bf[:, k],
                prior[:, k],
                lbf[:, k],
                float(genes.variance[k]),
                float(genes.elbo[k]),
                int(genes.steps[k]),
                bool(genes.converged[k]),
            ),
        )


def _posterior(
    solved: _Solved,
    marker: Int[np.ndarray, " num_var"],
    search: Search,
    columns: Callable[[Int[np.ndarray, " size"]], Float[np.ndarray, "size q"]],
) -> dict[str, Any]:
    """Probabilities and credible sets, as fields of `FineMapped`."""
    log_bf = solved.log_bf[:, marker]
    posterior = np.exp(log_bf - solved.lbf[:, None]) / marker.size
    some = solved.prior > 0
    sets = []
    if solved.converged:
        sets = credible_sets(posterior, some, columns, search.coverage, search.min_abs_corr)
    return {
        "pip": 1 - np.prod(1 - np.minimum(posterior[some], 1), axis=0),
        "posterior": posterior,
        "log_bf": log_bf,
        "prior_variance": solved.prior,
        "lbf": solved.lbf,
        "sigmasq": solved.sigmasq,
        "elbo": solved.elbo,
        "iterations": solved.iterations,
        "converged": solved.converged,
        "sets": sets,
    }


def _size(count: int) -> int:
    """Size of an array for so many markers: a power of two, or three quarters of one."""
    size = max(FEWEST_MARKERS, 2 ** int(np.ceil(np.log2(count))))
    return 3 * size // 4 if count <= 3 * size // 4 else size


def _width(count: int) -> int:
    """Size of a program for so many genes."""
    return next(width for width in WIDTHS if width >= count)


def reason_of(one: FineMapped) -> str:
    """Why a gene has no credible set for want of convergence; empty where it has arrived."""
    if one.converged:
        return ""
    return f"the search has not converged in {one.iterations} steps: raise max_iter"
