"""What fine-mapping of many genes returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from lmmlite_jax.mapping.susie.fine_map import FineMapped
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.model.precision import AnyArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SET_COLUMNS", "CredibleSets", "FineMapping", "credible_sets_of"]

SET_COLUMNS = (
    "size",
    "coverage",
    "lbf",
    "prior_variance",
    "min_abs_corr",
    "mean_abs_corr",
    "median_abs_corr",
)
"""Fields with one number a credible set, in the order of a table."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CredibleSets:
    """Credible sets of genes, by gene and effect.

    Attributes
    ----------
    gene, cs_id : (sets,)
        Number of the gene, and of the effect, from 1.
    lead : (sets,)
        Number of the marker that has the effect with the largest probability.
    size : (sets,)
        Markers in the set.
    coverage : (sets,)
        Probability that one of them has the effect.
    lbf : (sets,)
        Log Bayes factor of the effect against none.
    prior_variance : (sets,)
        Variance of the effect of a whitened marker of variance 1, in squared units of the trait.
    min_abs_corr, mean_abs_corr, median_abs_corr : (sets,)
        Absolute correlations of any two of the whitened markers.
    member_set, member : (members,)
        Number of a set, and of a marker in it; by set and marker.
    """

    gene: Int[AnyArray, " sets"]
    cs_id: Int[AnyArray, " sets"]
    lead: Int[AnyArray, " sets"]
    size: Int[AnyArray, " sets"]
    coverage: Float[AnyArray, " sets"]
    lbf: Float[AnyArray, " sets"]
    prior_variance: Float[AnyArray, " sets"]
    min_abs_corr: Float[AnyArray, " sets"]
    mean_abs_corr: Float[AnyArray, " sets"]
    median_abs_corr: Float[AnyArray, " sets"]
    member_set: Int[AnyArray, " members"]
    member: Int[AnyArray, " members"]


def credible_sets_of(genes: Sequence[FineMapped]) -> CredibleSets:
    """Credible sets of some genes."""
    rows = [(gene, one) for gene in genes for one in gene.sets]

    def column(values: list[int] | list[float], dtype: type) -> np.ndarray:
        return np.array(values, dtype=dtype)

    effects = [(gene, one.effect - 1, one) for gene, one in rows]
    members = [gene.marker[one.members] for gene, one in rows]
    return CredibleSets(
        gene=column([gene.gene for gene, _ in rows], int),
        cs_id=column([one.effect for _, one in rows], int),
        lead=column([int(g.marker[g.posterior[effect].argmax()]) for g, effect, _ in effects], int),
        size=column([one.members.size for _, one in rows], int),
        coverage=column([one.coverage for _, one in rows], float),
        lbf=column([float(gene.lbf[effect]) for gene, effect, _ in effects], float),
        prior_variance=column(
            [float(gene.prior_variance[effect]) for gene, effect, _ in effects], float
        ),
        min_abs_corr=column([one.min_abs_corr for _, one in rows], float),
        mean_abs_corr=column([one.mean_abs_corr for _, one in rows], float),
        median_abs_corr=column([one.median_abs_corr for _, one in rows], float),
        member_set=np.repeat(np.arange(len(rows)), [one.size for one in members]),
        member=np.concatenate([*members, np.zeros(0, dtype=int)]),
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FineMapping:
    """Markers near m genes that have effects of their own, by the sum of single effects.

    Attributes
    ----------
    gene, marker : (pairs,)
        Numbers of the gene and of a marker near it that was looked at, by gene and marker.
    pip : (pairs,)
        Posterior inclusion probability: that the marker has an effect.
    af : (pairs,)
        Frequency of the counted allele among the individuals observed.
    log_bf : (pairs, L)
        Log Bayes factor of each effect at the marker against no effect; 0 for an effect of prior
        variance 0.
    sets : CredibleSets
        With the markers of each.
    prior_variance, lbf : (m, L)
        Of each effect: the prior variance, estimated, for a whitened marker of variance 1; and the
        log Bayes factor.
    num_var : (m,)
        Markers looked at.
    sigmasq : (m,)
        Variance σ² without the effects.
    elbo : (m,)
        Evidence lower bound.
    iterations, converged : (m,)
        Steps of the search, and whether the last raised the bound by less than ``tol``.
    hsq : (m,)
        Heritability without markers; NaN without kinship.
    n : (m,)
        Individuals observed.
    reasons : tuple of str
        Why a gene has no result, or no credible set for want of convergence; empty otherwise.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    gene: Int[AnyArray, " pairs"]
    marker: Int[AnyArray, " pairs"]
    pip: Float[AnyArray, " pairs"]
    af: Float[AnyArray, " pairs"]
    log_bf: Float[AnyArray, "pairs L"]
    sets: CredibleSets
    prior_variance: Float[AnyArray, "m L"]
    lbf: Float[AnyArray, "m L"]
    num_var: Int[AnyArray, " m"]
    sigmasq: Float[AnyArray, " m"]
    elbo: Float[AnyArray, " m"]
    iterations: Int[AnyArray, " m"]
    converged: Bool[AnyArray, " m"]
    hsq: Float[AnyArray, " m"]
    n: Int[AnyArray, " m"]
    reasons: tuple[str, ...] = field(metadata={"static": True})
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    def to_pandas(self) -> pd.DataFrame:
        """Return tensorQTL's table, one row a marker of a credible set (needs pandas)."""
        import pandas as pd

        sets, own = self.sets, np.asarray(self.gene)
        gene = np.asarray(sets.gene)[sets.member_set]
        # Pairs are in order of gene and marker.
        width = int(np.max(self.marker, initial=0)) + 1
        row = np.searchsorted(own * width + self.marker, gene * width + sets.member)
        return pd.DataFrame(
            {
                "phenotype_id": names_at(self.traits, gene),
                "variant_id": names_at(self.markers, np.asarray(sets.member)),
                "pip": np.asarray(self.pip)[row],
                "af": np.asarray(self.af)[row],
                "cs_id": np.asarray(sets.cs_id)[sets.member_set],
            }
        )

    def sets_to_pandas(self) -> pd.DataFrame:
        """Return a table of the credible sets (needs pandas)."""
        import pandas as pd

        sets = self.sets
        names = {
            "phenotype_id": names_at(self.traits, np.asarray(sets.gene)),
            "cs_id": np.asarray(sets.cs_id),
            "variant_id": names_at(self.markers, np.asarray(sets.lead)),
        }
        return pd.DataFrame(names | {name: np.asarray(getattr(sets, name)) for name in SET_COLUMNS})

    def genes_to_pandas(self) -> pd.DataFrame:
        """Return a table of all genes, with the reasons of those without a result."""
        import pandas as pd

        numbers = np.arange(len(self.reasons))
        sets = np.bincount(np.asarray(self.sets.gene), minlength=numbers.size)
        columns = ("num_var", "sigmasq", "elbo", "iterations", "converged", "hsq", "n")
        return pd.DataFrame(
            {
                "phenotype_id": names_at(self.traits, numbers),
                "sets": sets,
                **{name: np.asarray(getattr(self, name)) for name in columns},
                "reason": list(self.reasons),
            }
        )
