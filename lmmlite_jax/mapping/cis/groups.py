"""The best marker of each group of genes, such as the transcripts of one gene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from lmmlite_jax.mapping.cis.best_marker import (
    Candidates,
    Permutations,
    candidates_of,
    permuted_shares,
)
from lmmlite_jax.mapping.cis.beta_approximation import beta_approximation
from lmmlite_jax.mapping.cis.near import Neighbourhood, each_neighbourhood, genes_of_kinships
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel

__all__ = [
    "NOT_BEST",
    "BestOfGroups",
    "Strongest",
    "Together",
    "as_groups",
    "best_markers",
    "finished_of",
    "group_names",
]

NOT_BEST = "another trait of its group has the stronger association"
"""Why a gene of a group has no test of its own."""

FEWEST_ROWS = 4
"""Groups for which a beta law is fitted together at least, be there none."""

Windows = Int[np.ndarray, "m 2"]


def as_groups(groups: ArrayOrFrame | None, windows: Windows) -> Int[np.ndarray, " m"]:
    """Number the group of each gene by its first gene; each gene is one without ``groups``."""
    if groups is None:
        return np.arange(len(windows))
    labels = np.asarray(groups).astype(str)
    if labels.shape != (len(windows),):
        raise ValueError(
            f"groups must name the group of each of the {len(windows)} traits, got shape "
            f"{labels.shape}."
        )
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    numbers = first[which]
    other = np.any(windows != windows[numbers], axis=1)
    if other.any():
        label = labels[np.flatnonzero(other)[0]]
        raise ValueError(
            f"groups: the traits of the group {label} have different windows: give all traits of "
            "a group the same place."
        )
    return numbers


def group_names(groups: ArrayOrFrame | None) -> tuple[str, ...] | None:
    """Name of the group of each gene, as results have them."""
    return None if groups is None else tuple(np.asarray(groups).astype(str).tolist())


class BestOfGroups(NamedTuple):
    """Groups that are finished: their genes, and the best of those that have a test.

    Attributes
    ----------
    finished, status, hsq : (finished,)
        Numbers of all their genes, and `Status` and heritability of each.
    genes, marker : (groups,)
        Of each group with a test: its best gene, and the best marker of that.
    columns : dict
        Columns of `BestMarkers`, of shape (groups,).
    """

    finished: Int[np.ndarray, " finished"]
    status: Int[np.ndarray, " finished"]
    hsq: Float[np.ndarray, " finished"]
    genes: Int[np.ndarray, " groups"]
    marker: Int[np.ndarray, " groups"]
    columns: dict[str, Shaped[np.ndarray, " groups"]]


@dataclass
class Strongest:
    """What is known of a group while its genes come, or of a gene while its markers do."""

    fits: list[tuple[int, int, float]] = field(default_factory=list)
    size: int = 0
    share: float = -1.0
    permuted: Float[np.ndarray, " P"] | float = -1.0
    df: float = 1.0
    row: dict[str, Any] = field(default_factory=dict)

    def join(self, share: float, permuted: np.ndarray, df: float, row: dict[str, Any]) -> None:
        """Take in a candidate. Shares are those of the best one's degrees of freedom."""
        self.size += 1
        if self.size == 1 or share > _as_strong(self.share, self.df, df):
            before = _as_strong(self.permuted, self.df, df)
            self.share, self.df, self.row = share, df, row
        else:
            before, permuted = self.permuted, _as_strong(permuted, df, self.df)
        self.permuted = np.maximum(before, permuted)


def _as_strong(share: Any, df: float, other: float) -> Any:
    """Share with other degrees of freedom whose log likelihood ratio is the same."""
    return share if df == other else -np.expm1(df / other * np.log1p(-share))


class Together:
    """Takes genes as they come, and gives groups that are finished.

    A group has the gene and marker of the strongest association, and the largest share of all its
    genes in each permutation: genes that are observed in the same individuals are permuted alike,
    so that their correlation counts.

    Parameters
    ----------
    groups : (m,)
        Number of the group of each gene.
    coming : (m,)
        Genes that will come; others that do are passed over.
    """

    def __init__(self, groups: Int[np.ndarray, " m"], coming: Bool[np.ndarray, " m"]) -> None:
        self._groups, self._coming = groups, coming
        self._left = np.bincount(groups[coming], minlength=groups.size)
        self._held: dict[int, Strongest] = {}

    def add(self, near: Neighbourhood, found: Candidates) -> BestOfGroups:
        """Take the genes of a neighbourhood, and give the groups that they finish."""
        here = near.block.traits >= 0
        fits = zip(
            near.genes.tolist(),
            near.block.status[here].tolist(),
            near.block.hsq[here].tolist(),
            strict=True,
        )
        finished = []
        for fit in fits:
            number = int(self._groups[fit[0]])
            if self._coming[fit[0]]:
                self._held.setdefault(number, Strongest()).fits.append(fit)
                self._left[number] -= 1
                finished += [] if self._left[number] else [number]
        for place, gene in enumerate(found.genes.tolist()):
            if self._coming[gene]:
                row = {name: values[place] for name, values in found.columns.items()}
                row |= {"gene": gene, "marker": found.marker[place]}
                group = self._held[int(self._groups[gene])]
                group.join(float(found.share[place]), found.permuted[place], found.df, row)
        return finished_of([self._held.pop(number) for number in finished], found, here.size)


def finished_of(groups: list[Strongest], like: Candidates, most: int) -> BestOfGroups:
    """Best genes of at most so many groups; columns have the types that candidates' have."""
    fits = [fit for group in groups for fit in group.fits]
    with_test = [group for group in groups if group.size]

    def column(name: str, dtype: Any) -> np.ndarray:
        return np.array([group.row[name] for group in with_test], dtype)

    # Few numbers of rows, and so few programs.
    rows = min(most, max(FEWEST_ROWS, 2 ** int(np.ceil(np.log2(max(1, len(with_test)))))))
    permuted = np.full((rows, like.permuted.shape[1]), np.nan)
    share, df = np.full(rows, np.nan), np.ones(rows)
    for place, group in enumerate(with_test):
        permuted[place], share[place], df[place] = group.permuted, group.share, group.df
    fitted = beta_approximation(permuted, share, df)
    of_groups = {name: values[: len(with_test)] for name, values in fitted._asdict().items()}
    columns = {
        **{name: column(name, values.dtype) for name, values in like.columns.items()},
        **of_groups,
        "pval_nominal": 10 ** -of_groups["log10p"],
        "group_size": np.array([group.size for group in with_test], dtype=np.int64),
    }
    return BestOfGroups(
        np.array([gene for gene, _, _ in fits], dtype=np.int64),
        np.array([status for _, status, _ in fits], dtype=np.int64),
        np.array([hsq for _, _, hsq in fits], dtype=float),
        column("gene", np.int64),
        column("marker", np.int64),
        columns,
    )


def best_markers(
    null: NullModel,
    genotypes: Genotypes,
    windows: Windows,
    groups: Int[np.ndarray, " m"],
    chromosome: ArrayOrFrame | None,
    chance: Permutations,
    maf_threshold: float,
    wanted: Bool[np.ndarray, " m"] | None = None,
) -> Iterator[BestOfGroups]:
    """Best markers of some groups after the others, of those whose genes are ``wanted``."""
    coming = np.zeros(null.m, dtype=bool)
    for _, genes in genes_of_kinships(null, genotypes, windows, chromosome):
        coming[genes] = True
    together = Together(groups, coming if wanted is None else coming & wanted)
    work = partial(candidates_of, permuted=partial(permuted_shares, chance=chance))
    nearby = each_neighbourhood(
        null, genotypes, windows, chromosome, work, maf_threshold=maf_threshold, wanted=wanted
    )
    return (together.add(near, found) for near, found in nearby)
