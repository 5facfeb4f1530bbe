"""Pairs that were found before, tested again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Int, Shaped

from lmmlite_jax.mapping.cis.near import each_neighbourhood
from lmmlite_jax.mapping.cis.pairs import CisPairs, pairs_of
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.result import reasons_of
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = ["Replication", "as_pairs", "pairs_again"]

Given = Callable[
    [Int[np.ndarray, " some"], str, Int[np.ndarray, " genes"]], Iterator[list[TraitBlock]]
]
"""Gives blocks of fitted genes, by rows of pairs, the label of their kinship and their numbers."""


@dataclass(frozen=True)
class Replication(CisPairs):
    """Pairs in the order they were asked for: the fields of `CisPairs`, and these.

    Attributes
    ----------
    reasons : tuple of str
        Why the trait of a pair has no fit, and the pair no statistics.
    """

    reasons: tuple[str, ...]

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table, but for the names."""
        columns = super().columns()
        columns["reason"] = np.array(columns.pop("reasons"), dtype=object)
        return columns


_STATIC = ["markers", "traits", "reasons"]
jax.tree_util.register_dataclass(
    Replication,
    [item.name for item in fields(Replication) if item.name not in _STATIC],
    _STATIC,
)


def as_pairs(
    null: NullModel, genotypes: Genotypes, trait: ArrayOrFrame, marker: ArrayOrFrame
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Numbers of the traits and of the markers of pairs, checked."""
    traits = _as_numbers("trait", trait, null.m)
    markers = _as_numbers("marker", marker, genotypes.markers)
    if traits.size != markers.size:
        raise ValueError(f"there are {traits.size} traits and {markers.size} markers for pairs.")
    return traits, markers


def pairs_again(
    null: NullModel,
    genotypes: Genotypes,
    traits: Int[np.ndarray, " pairs"],
    markers: Int[np.ndarray, " pairs"],
    chromosome: ArrayOrFrame | None,
    chosen: Int[np.ndarray, " some"],
    given: Given | None = None,
) -> Replication:
    """Tests of the pairs in the rows ``chosen``, their traits fitted as ``given`` says."""
    method = Method("null", "wald", 1, null.dtype, null.tol, False)
    work = partial(pairs_of, method=method, markers=genotypes.names, traits=null.traits)
    traits, markers = traits[chosen], markers[chosen]
    status = null.status_of_counts()[traits]
    found = _nothing(null, traits, markers, genotypes.names)
    for rows in _once_a_trait(traits):
        place = np.full(null.m, -1)
        place[traits[rows]] = rows
        windows = np.zeros((null.m, 2), dtype=np.int64)
        windows[traits[rows]] = markers[rows][:, None] + [0, 1]
        fitted = None if given is None else partial(given, chosen[rows])
        nearby = each_neighbourhood(null, genotypes, windows, chromosome, work, batches=fitted)
        for _, pairs in nearby:
            for name, values in pairs.columns().items():
                getattr(found, name)[place[pairs.gene]] = values
            status[place[pairs.genes]] = pairs.status
    first = np.unique(traits, return_index=True)[1]
    reasons = reasons_of(status, null.covariates, null.p)
    return replace(found, status=status[first], reasons=reasons)


def _once_a_trait(traits: Int[np.ndarray, " pairs"]) -> list[Int[np.ndarray, " some"]]:
    """First pairs of all traits, second ones, and so on."""
    order = np.argsort(traits, kind="stable")
    _, first, count = np.unique(traits[order], return_index=True, return_counts=True)
    rank = np.empty(traits.size, dtype=np.int64)
    rank[order] = np.arange(traits.size) - np.repeat(first, count)
    return [np.flatnonzero(rank == k) for k in range(int(rank.max(initial=-1)) + 1)]


def _nothing(
    null: NullModel,
    trait: Int[np.ndarray, " pairs"],
    marker: Int[np.ndarray, " pairs"],
    names: tuple[str, ...] | None,
) -> Replication:
    """Pairs before they are tested."""
    unknown = ("af", "pval_nominal", "slope", "slope_se", "log10p", "lod", "hsq")
    genes = np.unique(trait)
    return Replication(
        genes=genes,
        status=null.status_of_counts()[genes],
        gene=trait,
        marker=marker,
        **{name: np.full(trait.size, np.nan) for name in unknown},
        **{name: np.zeros(trait.size, dtype=np.int64) for name in ("ma_samples", "ma_count")},
        n=null.counts[trait],
        markers=names,
        traits=null.traits,
        reasons=(),
    )


def _as_numbers(name: str, numbers: ArrayOrFrame, most: int) -> Int[np.ndarray, " pairs"]:
    values = np.asarray(numbers)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must hold numbers of columns, integers of shape (pairs,), got {values.dtype} "
            f"of shape {values.shape}."
        )
    wrong = (values < 0) | (values >= most)
    if wrong.any():
        raise ValueError(f"{name} has {values[wrong][0]}, and there are {most}, from 0.")
    return values.astype(np.int64)
