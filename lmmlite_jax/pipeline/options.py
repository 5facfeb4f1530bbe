"""Which values the numeric options of the commands may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmmlite_jax.mapping.cis.beta_approximation import FEWEST_PERMUTATIONS

__all__ = ["RANGES", "Range", "check_ranges"]


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
    "count_threshold": Range(0),
    "tpm_threshold": Range(0),
    "sample_fraction": Range(0, 1),
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


def check_ranges(**values: Any) -> None:
    """Raise if an option has a number that it may not have; None stands for its default.

    >>> check_ranges(fdr=0.0)
    Traceback (most recent call last):
    ValueError: fdr must be above 0 and below 1, got 0.0.
    """
    for name, value in values.items():
        if value is not None and value not in RANGES[name]:
            raise ValueError(f"{name} must be {RANGES[name]}, got {value}.")
