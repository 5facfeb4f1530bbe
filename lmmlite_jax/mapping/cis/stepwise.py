"""Stepwise search for the signals of a gene, each given the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from lmmlite_jax.mapping.cis.best_marker import (
    BestMarkers,
    Permutations,
    candidates_of,
    permuted_shares,
)
from lmmlite_jax.mapping.cis.groups import Together
from lmmlite_jax.mapping.cis.near import genes_of_kinships, neighbourhoods
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.mapping.tables import BEST_COLUMNS
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel

__all__ = ["Search", "Signal", "independent_signals", "signals_of_genes"]

Signal: TypeAlias = dict[str, Any]
"""One row of the result: a marker, and the columns of `BestMarkers`."""


class Search(NamedTuple):
    """What is searched: windows (m, 2) of the genes of a null model, their groups, and how."""

    null: NullModel
    genotypes: Genotypes
    windows: Int[np.ndarray, "m 2"]
    groups: Int[np.ndarray, " m"]
    chance: Permutations
    maf_threshold: float

    def best(self, label: str, gene: int, given: list[int]) -> Signal | None:
        """Best marker near a gene, or its group, given others, if any is left to test."""
        more = self.genotypes.dosages_of(np.array(given))
        members = np.flatnonzero(self.groups == self.groups[gene])
        blocks = [self.null.given(member, more, label) for member in members.tolist()]
        coming = np.zeros(self.groups.size, dtype=bool)
        coming[members[[block is not None for block in blocks]]] = True
        together = Together(self.groups, coming)
        nearby = neighbourhoods(
            [[block] for block in blocks if block is not None],
            self.genotypes,
            self.windows,
            members,
            partial(candidates_of, permuted=partial(permuted_shares, chance=self.chance)),
            maf_threshold=self.maf_threshold,
        )
        for near, candidates in nearby:
            found = together.add(near, candidates)
            if found.genes.size:
                columns = {name: values[0] for name, values in found.columns.items()}
                return columns | {"gene": int(found.genes[0]), "marker": int(found.marker[0])}
        return None


def signals_of_genes(
    search: Search,
    chromosome: ArrayOrFrame | None,
    cis: BestMarkers,
    threshold: float,
    wanted: Bool[np.ndarray, " m"] | None = None,
) -> Iterator[tuple[int, list[Signal]]]:
    """Signals of one significant (and ``wanted``) gene, or group, after the other.

    With the number of the gene in ``cis``: signals of its group may be of others.
    """
    best, windows = np.asarray(cis.marker), search.windows
    significant = (best >= 0) & (np.asarray(cis.pval_beta) <= threshold)
    outside = significant & ((best < windows[:, 0]) | (best >= windows[:, 1]))
    if outside.any():
        raise ValueError(
            f"cis is not of these windows: the best marker of gene {np.flatnonzero(outside)[0]} "
            "lies outside its window."
        )
    chosen = significant if wanted is None else significant & wanted
    for label, genes in genes_of_kinships(search.null, search.genotypes, windows, chromosome):
        in_order = genes[np.lexsort((windows[genes, 1], windows[genes, 0]))]
        for gene in in_order[chosen[in_order]].tolist():
            first = {
                name: np.asarray(getattr(cis, name))[gene] for name in ("marker", *BEST_COLUMNS)
            }
            found = independent_signals(first, partial(search.best, label, gene), threshold)
            yield gene, [{"gene": gene, **signal} for signal in found]


def independent_signals(
    first: Signal, search: Callable[[list[int]], Signal | None], threshold: float
) -> list[Signal]:
    """Signals of a gene, forward from its first and then backward."""
    chosen = [int(first["marker"])]
    while True:
        found = search(chosen)
        if found is None or not found["pval_beta"] <= threshold:
            break
        chosen.append(found["marker"])
    if len(chosen) == 1:
        return [{**first, "rank": 1}]
    kept: dict[int, Signal] = {}
    for rank, marker in enumerate(chosen, 1):
        found = search([j for j in chosen if j != marker])
        if found is not None and found["pval_beta"] <= threshold:
            kept.setdefault(found["marker"], {**found, "rank": rank})
    return list(kept.values())
