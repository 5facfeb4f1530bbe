"""Pairs that are significant once their gene is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["identified_by", "significant_pairs"]

_THRESHOLDS = ("pval_nominal_threshold", "pval_nominal", "pval_beta")


def significant_pairs(
    pairs: pd.DataFrame,
    cis: pd.DataFrame,
    *,
    groups: Mapping[Any, str] | None = None,
    fdr: float = 0.05,
) -> pd.DataFrame:
    """Pairs below the nominal threshold of a gene, or its group, that is significant.

    tensorQTL's ``get_significant_pairs``. Needs pandas.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Of `map_cis_nominal`, or a file of the mode cis_nominal.
    cis : pandas.DataFrame
        Of `map_cis`, or the file of the mode cis: ``qval``, from `q_values`, and
        ``pval_nominal_threshold``, from `nominal_thresholds`, by ``phenotype_id``.
    groups : dict, optional
        Group of each gene, where ``cis`` is of groups.
    fdr : float
        False discovery rate of genes.

    Returns
    -------
    pandas.DataFrame
        Rows of ``pairs``, with the columns ``pval_nominal_threshold``, ``min_pval_nominal`` and
        ``pval_beta`` of their gene.

    Raises
    ------
    ValueError
        If a table lacks a column.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=3, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 90)).astype(float)
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno + 20 * G[:, [7, 40, 80]] * [1, 1, 0])
    >>> windows = np.array([[0, 30], [30, 60], [50, 90]])
    >>> best = lmm.map_cis(null, G, windows, permutations=100)
    >>> shapes = best.beta_shape1, best.beta_shape2
    >>> cis = best.to_pandas().assign(
    ...     qval=lmm.q_values(best.pval_beta, pi0=1.0).qvalue,
    ...     pval_nominal_threshold=lmm.nominal_thresholds(best.pval_beta, *shapes, 0.05, pi0=1.0),
    ... )
    >>> for pairs in lmm.map_cis_nominal(null, G, windows):
    ...     found = lmm.significant_pairs(pairs.to_pandas(), cis)
    >>> print(found["phenotype_id"].unique(), {7, 40} <= {*found["variant_id"]})
    [0 1] True
    """
    table = cis.reset_index() if cis.index.name == "phenotype_id" else cis
    absent = [name for name in ("qval", *_THRESHOLDS) if name not in table]
    if absent:
        raise ValueError(
            f"The cis output has no column {' and no '.join(absent)}, which nominal thresholds "
            "need: give the cis_qtl.txt.gz of a run of the mode cis with its beta approximation."
        )
    by = identified_by(table, groups)
    for name, one, needed in (
        ("cis", table, by),
        ("pairs", pairs, "phenotype_id"),
        ("pairs", pairs, "pval_nominal"),
    ):
        if needed not in one:
            raise ValueError(f"{name} has no column {needed}.")
    if groups is not None:
        pairs = pairs.drop(columns="group_id", errors="ignore")
        pairs.insert(1, "group_id", pairs["phenotype_id"].map(groups))
    kept = table.loc[table["qval"] <= fdr, [by, *_THRESHOLDS]]
    both = pairs.merge(kept.rename(columns={"pval_nominal": "min_pval_nominal"}), on=by)
    below = both["pval_nominal"] < both["pval_nominal_threshold"]
    return both[below].reset_index(drop=True)


def identified_by(table: pd.DataFrame, groups: object) -> str:
    """Name the column of what is significant: features, or groups where they are given."""
    if groups is None:
        return "phenotype_id"
    if "group_id" not in table:
        raise ValueError(
            "The cis output has no column group_id: give that of a run with the same "
            "phenotype_groups, or leave them out."
        )
    return "group_id"
