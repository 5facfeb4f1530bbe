"""Genotypes of simulated families: alleles of founders, handed down with recombination."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int8
from numpy.random import Generator

__all__ = ["drop_genes"]

_MORGANS = 1.0
"""Length of a chromosome."""


def drop_genes(
    individuals: Sequence[str], chromosomes: int, markers: int, rng: Generator
) -> Int8[np.ndarray, "n M"]:
    """Genotypes of families as `simulate_cohort` names them.

    Alleles of founders are independent, with minor frequencies uniform from 0.1 to 0.5. Each child
    has of each parent, on every chromosome, a mosaic of the parent's two copies, whose crossovers
    are Haldane's: independent, one in a chromosome on average.

    Parameters
    ----------
    individuals : sequence of n str
        ``FAMILY_father``, ``FAMILY_mother`` and ``FAMILY_childNUMBER``, parents before children.
    chromosomes, markers : int
        Number of chromosomes, and of evenly spaced markers on each.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    (n, chromosomes × markers) int8 numpy.ndarray
        Copies of the minor allele.

    Raises
    ------
    ValueError
        If a child comes before one of its parents.

    References
    ----------
    MacCluer et al. (1986) Zoo Biology 5:147; Haldane (1919) J. Genetics 8:299.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.data.gene_drop import drop_genes
    >>> family = ["fam1_father", "fam1_mother", "fam1_child1"]
    >>> G = drop_genes(family, chromosomes=2, markers=50, rng=np.random.default_rng(0))
    >>> G.shape, bool((np.abs(G[2] - G[:2].sum(axis=0) / 2) <= 1).all())
    ((3, 100), True)
    """
    M = chromosomes * markers
    frequency = rng.uniform(0.1, 0.5, M)
    apart = 0.5 * (1 - np.exp(-2 * _MORGANS / max(markers - 1, 1)))
    switching = np.full(M, apart)
    switching[::markers] = 0.5  # the next chromosome is independent
    haplotypes: dict[str, np.ndarray] = {}
    for name in individuals:
        family, _, role = name.rpartition("_")
        if not role.startswith("child"):
            haplotypes[name] = rng.random((2, M)) < frequency
            continue
        parents = [f"{family}_father", f"{family}_mother"]
        if not all(parent in haplotypes for parent in parents):
            raise ValueError(
                f"{name} comes before its parents: give {' and '.join(parents)} first."
            )
        copy = np.cumsum(rng.random((2, M)) < switching, axis=1) % 2
        pairs = [haplotypes[parent] for parent in parents]
        haplotypes[name] = np.stack(
            [np.where(own, pair[1], pair[0]) for own, pair in zip(copy, pairs, strict=True)]
        )
    return np.stack([haplotypes[name].sum(axis=0) for name in individuals]).astype(np.int8)
