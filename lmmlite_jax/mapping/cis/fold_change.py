"""Allelic fold changes: what one allele does to expression, from counts of reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.cis.pairs_again import as_pairs, pairs_again
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages
from lmmlite_jax.mapping.tables import like, names_at
from lmmlite_jax.model.inputs import ArrayOrFrame, as_traits
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import in_float64
from lmmlite_jax.model.trait_block import TraitBlock

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AllelicFoldChanges", "allelic_fold_change", "log2_counts"]

_IMPUTATIONS = ("offset", "half_min")


@dataclass(frozen=True)
class AllelicFoldChanges:
    """Fold changes of pairs, in the order they were asked for; names are tensorQTL's.

    Attributes
    ----------
    gene, marker : (pairs,)
        Numbers of the gene (column of Y) and the marker.
    afc, afc_se : (pairs,)
        log2 of the expression from the counted allele over that from the other, and its standard
        error.
    hsq : (pairs,)
        The gene's heritability, its other markers being covariates.
    n : (pairs,)
        Individuals observed.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    reasons : tuple of str
        Why the gene of a pair has no fit, and the pair no fold change.
    """

    gene: Int[np.ndarray, " pairs"]
    marker: Int[np.ndarray, " pairs"]
    afc: Float[np.ndarray, " pairs"]
    afc_se: Float[np.ndarray, " pairs"]
    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]
    markers: tuple[str, ...] | None
    traits: tuple[str, ...] | None
    reasons: tuple[str, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return a table, one row a pair (needs pandas)."""
        import pandas as pd

        names = {
            "phenotype_id": names_at(self.traits, self.gene),
            "variant_id": names_at(self.markers, self.marker),
        }
        columns = {name: getattr(self, name) for name in ("afc", "afc_se", "hsq", "n")}
        return pd.DataFrame(names | columns | {"reason": np.array(self.reasons, dtype=object)})


_NO_MARKER = "the marker does not vary, or the covariates and the gene's other markers span it"

_STATIC = ["markers", "traits", "reasons"]
jax.tree_util.register_dataclass(
    AllelicFoldChanges,
    [item.name for item in fields(AllelicFoldChanges) if item.name not in _STATIC],
    _STATIC,
)


@in_float64
def allelic_fold_change(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    trait: ArrayOrFrame,
    marker: ArrayOrFrame,
    *,
    chromosome: ArrayOrFrame | None = None,
) -> AllelicFoldChanges:
    """Estimate allelic fold changes of pairs of genes and markers (``calculate_afc`` of tensorQTL).

    Where each allele adds its own expression, and effects are small, log2 of the counts is linear
    in half of the dosage, and the slope is log2 of the fold change. All markers of a gene are in
    one model.

    Parameters
    ----------
    null : NullModel
        Of `log2_counts`, with the covariates.
    G, chromosome
        As in `map_cis`.
    trait, marker : (pairs,) arrays of int
        Number of the gene (column of Y) and of the marker (column of G) of each pair; a gene may
        have several.

    Returns
    -------
    AllelicFoldChanges

    Raises
    ------
    ValueError
        If an argument cannot be used, or a gene has more markers than individuals allow.

    Notes
    -----
    Mohammadi et al. 2017 (Genome Research 27:1872); the model of total read counts is that of Liang
    et al. 2021 (Nature Communications 12:1424). Without kinship and covariates numbers are
    tensorQTL's. tensorQTL takes covariates out of the counts above zero alone, those with |t| > 2,
    and not out of the genotypes; here they are in the model.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> rng = np.random.default_rng(1)
    >>> G = rng.binomial(2, 0.3, (300, 5)).astype(float)
    >>> counts = rng.poisson(200 * (2 + 0.2 * G[:, [3]]))  # from one allele 1.2 times as many
    >>> null = lmm.NullModel(None, lmm.log2_counts(counts))
    >>> print((2 ** lmm.allelic_fold_change(null, G, trait=[0], marker=[3]).afc).round(1))
    [1.2]
    """
    genotypes = as_dosages(G, null)
    traits, markers = as_pairs(null, genotypes, trait, marker)
    several = np.bincount(traits, minlength=null.m)[traits] > 1

    def given_others(
        rows: Int[np.ndarray, " some"], label: str, genes: Int[np.ndarray, " genes"]
    ) -> Iterator[list[TraitBlock]]:
        """Genes beside their other markers than those of these rows."""
        for gene in genes.tolist():
            tested = markers[rows[traits[rows] == gene]]
            others = np.setdiff1d(markers[traits == gene], tested)
            block = null.given(gene, genotypes.dosages_of(others), label)
            if block is None:
                raise ValueError(
                    f"trait {gene} has more markers than its {null.counts[gene]} individuals allow."
                )
            yield [block]

    alone, beside = np.flatnonzero(~several), np.flatnonzero(several)
    columns = {name: np.full(traits.size, np.nan) for name in ("slope", "slope_se", "hsq")}
    reasons = np.full(traits.size, "", dtype=object)
    for rows, given in ((alone, None), (beside, given_others)):
        found = pairs_again(null, genotypes, traits, markers, chromosome, rows, given)
        for name, values in columns.items():
            values[rows] = getattr(found, name)
        reasons[rows] = found.reasons
    reasons[(reasons == "") & np.isnan(columns["slope"])] = _NO_MARKER
    return AllelicFoldChanges(
        gene=traits,
        marker=markers,
        afc=2 * columns["slope"],
        afc_se=2 * columns["slope_se"],
        hsq=columns["hsq"],
        n=null.counts[traits],
        markers=genotypes.names,
        traits=null.traits,
        reasons=tuple(reasons.tolist()),
    )


def log2_counts(
    counts: ArrayOrFrame, *, imputation: str = "offset", count_threshold: float = 0.0
) -> ArrayOrFrame:
    """Logarithms of read counts, for `allelic_fold_change`.

    Parameters
    ----------
    counts : (n, m) array or data frame
        Reads of each gene, divided by the size factors of the individuals; NaN where missing.
    imputation : {"offset", "half_min"}
        One is added to every count; or zeros become half of the gene's smallest count above zero.
    count_threshold : float
        Smaller counts are taken as missing.

    Returns
    -------
    (n, m) array, or data frame where one came
        NaN where missing.

    Raises
    ------
    ValueError
        If a count is negative, or an argument cannot be used.

    Examples
    --------
    >>> import lmmlite_jax as lmm
    >>> print(lmm.log2_counts([[0.0], [2.0], [7.0]], imputation="half_min").round(2).ravel())
    [0.   1.   2.81]
    """
    if imputation not in _IMPUTATIONS:
        raise ValueError(
            f"imputation must be one of {', '.join(_IMPUTATIONS)}, got {imputation!r}."
        )
    table = as_traits("counts", counts, len(counts), missing=True)
    values = np.asarray(table.values, dtype=float).reshape(len(counts), -1)
    if np.nanmin(values, initial=0.0) < 0:
        raise ValueError(f"counts has a negative value, {np.nanmin(values)}: give counts of reads.")
    if imputation == "offset":
        logs = np.log2(values + 1)
    else:
        least = np.min(np.where(values > 0, values, np.inf), axis=0, initial=np.inf)
        logs = np.log2(np.where(values == 0, least / 2, values))
    return like(counts, np.where((values >= count_threshold) & np.isfinite(logs), logs, np.nan))
