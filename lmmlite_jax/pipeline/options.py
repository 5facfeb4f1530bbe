"""Which values the options of the commands may have."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lmmlite_jax.mapping.cis.beta_approximation import FEWEST_PERMUTATIONS

__all__ = ["RANGES", "Range", "check_ranges", "check_together"]


@dataclass(frozen=True)
class Range:
    """Numbers between two limits, each included or not; without ``high`` there is no upper one.

    Examples
    --------
    >>> from lmmlite_jax.pipeline.options import Range
    >>> share = Range(0, 0.5, high_included=False)
    >>> print(share)
    at least 0 and below 0.5
    >>> 0.5 in share
    False
    """

    low: float | int
    high: float | int | None = None
    low_included: bool = True
    high_included: bool = True

    def __contains__(self, value: float | int) -> bool:
        above = value >= self.low if self.low_included else value > self.low
        if self.high is None:
            return above
        return above and (value <= self.high if self.high_included else value < self.high)

    def __str__(self) -> str:
        lower = f"{'at least' if self.low_included else 'above'} {self.low:,}"
        if self.high is None:
            return lower
        return f"{lower} and {'at most' if self.high_included else 'below'} {self.high:,}"


RANGES = {
    "phenotype_pcs": Range(0),
    "window": Range(0, 10**12),
    "maf_threshold": Range(0, 0.5, high_included=False),
    "maf_threshold_interaction": Range(0, 0.5, high_included=False),
    "permutations": Range(FEWEST_PERMUTATIONS),
    "trans_permutations": Range(FEWEST_PERMUTATIONS),
    "seed": Range(0),
    "pval_threshold": Range(0, 1, low_included=False),
    "fdr": Range(0, 1, low_included=False, high_included=False),
    "max_effects": Range(1),
    "coverage": Range(0, 1, low_included=False, high_included=False),
    "min_abs_corr": Range(0, 1),
    "qvalue_lambda": Range(0, 1, high_included=False),
    "interval": Range(0.5, 0.999),
}
"""By the option's name. A confidence level above 0.999 takes more than 10,000 simulations."""


NORMALIZE = ("none", "inverse-normal")
"""What may be done to phenotypes."""


def check_ranges(**values: float | int | None) -> None:
    """Raise if an option has a value that it may not have; None stands for its default.

    >>> check_ranges(fdr=0.0)
    Traceback (most recent call last):
    ValueError: fdr must be above 0 and below 1, got 0.0.
    """
    for name, value in values.items():
        if value is not None and value not in RANGES[name]:
            raise ValueError(f"{name} must be {RANGES[name]}, got {value}.")


def check_together(
    mode: str,
    *,
    normalize: str,
    variance: str,
    asymptotic: bool,
    interaction: str | os.PathLike[str] | None,
    susie_loci: str | os.PathLike[str] | None,
    output_text: bool,
    disable_beta_approx: bool,
    best_only: bool,
    conditional_pairs: bool,
    trans_permutations: int | None,
    cis_output: str | os.PathLike[str] | None,
    phenotype_groups: str | os.PathLike[str] | None,
) -> None:
    """Raise if an option is not for the mode, or not for one beside it."""
    if normalize not in NORMALIZE:
        raise ValueError(f"normalize must be one of {', '.join(NORMALIZE)}, got {normalize!r}.")
    if variance == "refit" and mode not in ("cis_nominal", "trans"):
        raise ValueError(f"variance 'refit' is for the modes cis_nominal and trans, not {mode}.")
    if interaction is not None and mode != "cis_nominal":
        raise ValueError(f"An interaction is for the mode cis_nominal, not {mode}.")
    if mode == "trans_susie" and susie_loci is None:
        raise ValueError("The mode trans_susie needs the loci to fine-map: give susie_loci.")
    if mode != "trans_susie" and susie_loci is not None:
        raise ValueError(f"susie_loci are for the mode trans_susie, not {mode}.")
    if asymptotic and variance != "refit":
        raise ValueError("asymptotic p-values are for the variance 'refit' alone.")
    if interaction is not None and variance == "refit":
        raise ValueError("variance 'refit' is for pairs without an interaction.")
    if output_text and mode != "trans":
        raise ValueError(f"Text in place of Parquet is for the mode trans, not {mode}.")
    if disable_beta_approx and mode != "cis":
        raise ValueError(f"disable_beta_approx is for the mode cis, not {mode}.")
    if best_only and interaction is None:
        raise ValueError("best_only is for an interaction: the mode cis has the best of each.")
    if conditional_pairs and mode != "cis_independent":
        raise ValueError(f"conditional_pairs is for the mode cis_independent, not {mode}.")
    if trans_permutations is not None and (mode != "trans" or variance == "refit"):
        raise ValueError("trans_permutations is for the mode trans, without variance 'refit'.")
    if cis_output is not None and (
        mode not in ("cis_susie", "cis_nominal") or interaction is not None
    ):
        raise ValueError(
            "cis_output is for the modes cis_susie and cis_nominal, without an interaction."
        )
    if (
        phenotype_groups is not None
        and mode not in ("cis", "cis_independent")
        and cis_output is None
    ):
        raise ValueError(
            "phenotype_groups are for the modes cis and cis_independent, and for the cis_output "
            "of cis_susie and cis_nominal."
        )
