"""Frequencies and counts of alleles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["FREQUENCY_TOLERANCE", "Alleles", "allele_frequency", "allele_statistics", "common"]

FREQUENCY_TOLERANCE = 1e-7
"""By which a frequency may miss a threshold that it is meant to equal."""


class Alleles(NamedTuple):
    """Of each marker among the individuals observed, tensorQTL's definitions.

    ``af`` is the frequency of the counted allele, ``ma_samples`` the carriers of the minor allele,
    ``ma_count`` its copies.
    """

    af: Float[np.ndarray, " M"]
    ma_samples: Int[np.ndarray, " M"]
    ma_count: Int[np.ndarray, " M"]


def allele_frequency(dosages: Float[np.ndarray, "n M"]) -> Float[np.ndarray, " M"]:
    """Frequency of the counted allele from dosages (n, M) of 0 to 2 copies."""
    return dosages.sum(axis=0) / (2 * len(dosages))


def allele_statistics(dosages: Float[np.ndarray, "n M"]) -> Alleles:
    """Frequencies and counts from dosages (n, M) of 0 to 2 copies."""
    n, af = len(dosages), allele_frequency(dosages)
    minor = af <= 0.5
    counted = dosages > 0.5
    copies = np.where(counted, dosages, 0.0).sum(axis=0).astype(np.int64)
    return Alleles(
        af,
        np.where(minor, counted.sum(axis=0), (dosages < 1.5).sum(axis=0)),
        np.where(minor, copies, 2 * n - copies),
    )


def common(dosages: Float[np.ndarray, "n M"], threshold: float) -> Bool[np.ndarray, " M"]:
    """Whether the minor allele is at least so frequent, for each marker of dosages (n, M)."""
    af = dosages.mean(axis=0) / 2
    return np.minimum(af, 1 - af) >= threshold - FREQUENCY_TOLERANCE
