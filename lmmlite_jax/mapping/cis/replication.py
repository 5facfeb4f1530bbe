"""Pairs that another study has found, tested again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Int, Shaped

from lmmlite_jax.mapping.cis.near import each_neighbourhood
from lmmlite_jax.mapping.cis.pairs import CisPairs, pairs_of
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64
from lmmlite_jax.model.result import reasons_of

__all__ = ["Replication", "replication"]


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


@in_float64
def replication(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    trait: ArrayOrFrame,
    marker: ArrayOrFrame,
    *,
    chromosome: ArrayOrFrame | None = None,
) -> Replication:
    """Test pairs that were found elsewhere (tensorQTL's ``calculate_replication``).

    Parameters
    ----------
    null, G, chromosome
        As in `map_cis`: the study in which the pairs are to be replicated.
    trait, marker : (pairs,) arrays of int
        Number of the trait (column of Y) and of the marker (column of G) of each pair; a trait may
        have several.

    Returns
    -------
    Replication

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    The share π₁ of the pairs that are associated here is ``1 - q_values(found.pval_nominal).pi0``
    (Nica et al. 2011, PLoS Genetics 7:e1002003).

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 50)).astype(float)
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno + 20 * G[:, [7, 40]])
    >>> found = lmm.replication(null, G, trait=[1, 0, 0], marker=[40, 7, 30])
    >>> print(found.pval_nominal < 1e-5)
    [ True  True False]
    """
    genotypes = as_dosages(G, null)
    traits = _as_numbers("trait", trait, null.m)
    markers = _as_numbers("marker", marker, genotypes.markers)
    if traits.size != markers.size:
        raise ValueError(f"there are {traits.size} traits and {markers.size} markers for pairs.")
    method = Method("null", "wald", 1, null.dtype, null.tol, False)
    work = partial(pairs_of, method=method, markers=genotypes.names, traits=null.traits)
    status = null.status_of_counts()
    found = _nothing(null, traits, markers, genotypes.names)
    for rows in _once_a_trait(traits):
        place = np.full(null.m, -1)
        place[traits[rows]] = rows
        windows = np.zeros((null.m, 2), dtype=np.int64)
        windows[traits[rows]] = markers[rows][:, None] + [0, 1]
        for near, pairs in each_neighbourhood(null, genotypes, windows, chromosome, work):
            for name, values in pairs.columns().items():
                getattr(found, name)[place[pairs.gene]] = values
            status[near.genes] = near.block.status[near.block.traits >= 0]
    reasons = reasons_of(status, null.covariates)
    return replace(found, reasons=tuple(reasons[one] for one in traits.tolist()))


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
    return Replication(
        genes=np.unique(trait),
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
