"""Whether two traits have an effect of one marker, from log Bayes factors of their effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from lmmlite_jax.mapping.susie.result import FineMapping
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.model.inputs import ArrayOrFrame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Colocalization", "coloc"]

HYPOTHESES = 5


@dataclass(frozen=True)
class Colocalization:
    """Pairs of credible sets of two runs, by the genes and effects they belong to.

    Attributes
    ----------
    gene1, gene2 : (pairs,)
        Numbers of the genes in the first and in the second run.
    cs_id1, cs_id2 : (pairs,)
        Their effects, from 1.
    posterior : (pairs, 5)
        Probability that neither trait has an effect here (H0), the first alone (H1), the second
        alone (H2), both of different markers (H3), both of the same (H4).
    nsnps : (pairs,)
        Markers that both genes were mapped with; all probabilities are of effects among these.
    shared1, shared2 : (pairs,)
        Share of each effect's posterior probability that is on these markers. Where it is far below
        1, a marker that matters is missing in the other run.
    marker : (pairs,)
        Number, in the first run, of the likeliest marker if there is one for both; -1 where no
        marker is in both windows.
    marker_posterior : (pairs,)
        Its probability then.
    traits1, traits2, markers : tuple of str or None
        Names, where data frames came in.
    """

    gene1: Int[np.ndarray, " pairs"]
    gene2: Int[np.ndarray, " pairs"]
    cs_id1: Int[np.ndarray, " pairs"]
    cs_id2: Int[np.ndarray, " pairs"]
    posterior: Float[np.ndarray, "pairs 5"]
    nsnps: Int[np.ndarray, " pairs"]
    shared1: Float[np.ndarray, " pairs"]
    shared2: Float[np.ndarray, " pairs"]
    marker: Int[np.ndarray, " pairs"]
    marker_posterior: Float[np.ndarray, " pairs"]
    traits1: tuple[str, ...] | None = None
    traits2: tuple[str, ...] | None = None
    markers: tuple[str, ...] | None = None

    def to_pandas(self) -> pd.DataFrame:
        """Return a table, one row a pair, probabilities named as tensorQTL does (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "phenotype_id1": names_at(self.traits1, self.gene1),
                "phenotype_id2": names_at(self.traits2, self.gene2),
                "cs_id1": self.cs_id1,
                "cs_id2": self.cs_id2,
                "nsnps": self.nsnps,
                "shared1": self.shared1,
                "shared2": self.shared2,
                **{f"pp_h{k}_abf": self.posterior[:, k] for k in range(HYPOTHESES)},
                "variant_id": names_at(self.markers, self.marker),
                "variant_posterior": self.marker_posterior,
            }
        )


def coloc(
    first: FineMapping,
    second: FineMapping,
    genes: ArrayOrFrame | Sequence[tuple[int, int]] | None = None,
    *,
    p1: float = 1e-4,
    p2: float = 1e-4,
    p12: float = 5e-6,
) -> Colocalization:
    """Colocalise the effects of two fine-mapping runs (coloc-susie).

    Parameters
    ----------
    first, second : FineMapping
        What `map_cis_susie` found for two sets of traits, in the same or in other individuals.
        Markers are the same if they have the same name, or the same number where a run has no
        names.
    genes : (some, 2) array of int, optional
        Numbers of a gene of the first run and of one of the second that are compared. By default
        those of the same name, or of the same number where a run has no names.
    p1, p2, p12 : float
        Prior probability that a marker has an effect on the first trait alone, on the second alone,
        on both.

    Returns
    -------
    Colocalization
        A pair for any two credible sets of genes that are compared.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Giambartolomei et al. 2014 (PLoS Genetics 10:e1004383); Wallace 2020 (PLoS Genetics 16:e1008720)
    for p12; Wallace 2021 (PLoS Genetics 17:e1009440) for effects in place of traits.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (200, 60)).astype(float)
    >>> windows = np.array([[0, 40], [20, 60]])
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno + 20 * G[:, [30]], cohort.covar)
    >>> found = lmm.map_cis_susie(null, G, windows)
    >>> both = lmm.coloc(found, found, genes=[(0, 1)])
    >>> print(both.posterior.round(3), both.marker)
    [[0. 0. 0. 0. 1.]] [30]
    """
    for name, value in (("p1", p1), ("p2", p2), ("p12", p12)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be above 0 and below 1, got {value}.")
    prior = _Prior(*np.log([p1, p2, p12]))
    numbers = _in_second(first.markers, second.markers)
    rows = [
        row
        for one, other in _compared(first, second, genes)
        for row in _pairs_of(_gene(first, one), _gene(second, other), numbers, prior)
    ]
    fields = list(zip(*rows, strict=True)) or [()] * len(_Pair._fields)
    columns = dict(zip(_Pair._fields, fields, strict=True))
    whole = ("gene1", "gene2", "cs_id1", "cs_id2", "nsnps", "marker")
    arrays = {
        name: np.array(values, dtype=int if name in whole else float)
        for name, values in columns.items()
    }
    arrays["posterior"] = arrays["posterior"].reshape(-1, HYPOTHESES)
    return Colocalization(
        **arrays, traits1=first.traits, traits2=second.traits, markers=first.markers
    )


class _Prior(NamedTuple):
    """Logs of p1, p2 and p12."""

    first: float
    second: float
    both: float


class _Gene(NamedTuple):
    """A gene, the markers it was mapped with, and the log Bayes factors of its credible sets."""

    number: int
    marker: Int[np.ndarray, " M"]
    cs_id: Int[np.ndarray, " sets"]
    log_bf: Float[np.ndarray, "sets M"]


class _Pair(NamedTuple):
    """Fields of `Colocalization` of one pair."""

    gene1: int
    gene2: int
    cs_id1: int
    cs_id2: int
    posterior: Float[np.ndarray, " 5"]
    nsnps: int
    shared1: float
    shared2: float
    marker: int
    marker_posterior: float


def _gene(run: FineMapping, number: int) -> _Gene:
    of_gene = slice(*np.searchsorted(run.gene, [number, number + 1]))
    cs_id = np.asarray(run.sets.cs_id)[np.asarray(run.sets.gene) == number]
    log_bf = np.asarray(run.log_bf)[of_gene, cs_id - 1].T
    return _Gene(number, np.asarray(run.marker)[of_gene], cs_id, log_bf)


def _compared(
    first: FineMapping,
    second: FineMapping,
    genes: ArrayOrFrame | Sequence[tuple[int, int]] | None,
) -> list[tuple[int, int]]:
    """Numbers of the genes that are compared."""
    sizes = len(first.reasons), len(second.reasons)
    if genes is not None:
        pairs = np.asarray(genes)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(
                "genes must hold the number of a gene in the first run and of one in the second, "
                f"integers of shape (some, 2), got {pairs.dtype} of shape {pairs.shape}."
            )
        if pairs.size and (pairs.min() < 0 or np.any(pairs >= sizes)):
            raise ValueError(f"genes has a number that is none of the {sizes[0]} and {sizes[1]}.")
        return [(int(one), int(other)) for one, other in pairs]
    if first.traits is None or second.traits is None:
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"The runs have {sizes[0]} and {sizes[1]} genes without names: say which are "
                "compared with genes."
            )
        return [(gene, gene) for gene in range(sizes[0])]
    of_second = {name: number for number, name in enumerate(second.traits)}
    found = [(number, of_second.get(name, -1)) for number, name in enumerate(first.traits)]
    return [(one, other) for one, other in found if other >= 0]


def _in_second(
    names: Sequence[str] | None, others: Sequence[str] | None
) -> Int[np.ndarray, " M"] | None:
    """Number in the second run of each marker of the first, -1 without one; None if the same."""
    if names is None or others is None or names == others:
        return None
    numbers = {name: number for number, name in enumerate(others)}
    return np.array([numbers.get(name, -1) for name in names], dtype=int)


def _pairs_of(
    one: _Gene, other: _Gene, numbers: Int[np.ndarray, " M"] | None, prior: _Prior
) -> list[_Pair]:
    """All pairs of credible sets of two genes."""
    theirs = one.marker if numbers is None else numbers[one.marker]
    shared, here, there = np.intersect1d(theirs, other.marker, return_indices=True)
    rows = []
    for cs_id1, all1 in zip(one.cs_id.tolist(), one.log_bf, strict=True):
        for cs_id2, all2 in zip(other.cs_id.tolist(), other.log_bf, strict=True):
            bf1, bf2 = all1[here], all2[there]
            share1, share2 = (
                float(np.exp(logsumexp(some) - logsumexp(whole))) if some.size else 0.0
                for some, whole in ((bf1, all1), (bf2, all2))
            )
            marker, probability = -1, float("nan")
            if shared.size:
                both = np.exp(bf1 + bf2 - logsumexp(bf1 + bf2))
                marker = int(one.marker[here[both.argmax()]])
                probability = float(both.max())
            rows.append(
                _Pair(
                    one.number,
                    other.number,
                    cs_id1,
                    cs_id2,
                    _hypotheses(bf1, bf2, prior),
                    int(shared.size),
                    share1,
                    share2,
                    marker,
                    probability,
                )
            )
    return rows


def _hypotheses(
    bf1: Float[np.ndarray, " M"], bf2: Float[np.ndarray, " M"], prior: _Prior
) -> Float[np.ndarray, " 5"]:
    """Probabilities of H0 to H4 from log Bayes factors of the same markers."""
    if not bf1.size:
        return np.full(HYPOTHESES, np.nan)
    first, second, both = logsumexp(bf1), logsumexp(bf2), logsumexp(bf1 + bf2)
    # Pairs of different markers: all pairs less those of one marker with itself.
    different = -np.inf
    if bf1.size > 1:
        with np.errstate(divide="ignore"):
            different = first + second + np.log(-np.expm1(min(both - first - second, 0.0)))
    log = np.array(
        [
            0.0,
            prior.first + first,
            prior.second + second,
            prior.first + prior.second + different,
            prior.both + both,
        ]
    )
    return np.exp(log - logsumexp(log))
