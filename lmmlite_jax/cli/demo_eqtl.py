"""The eQTL study of the command ``demo``: genes of a simulated cohort that markers act on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import lmmlite_jax as lmm
from lmmlite_jax.data.gene_drop import drop_genes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lmmlite_jax.data.cohort import Cohort

__all__ = ["Study", "in_words", "scan_both", "simulate_study", "write_pictures"]

_CHROMOSOMES = 5
_LENGTH = 100.0
"""Of a chromosome, in megabases."""
_NEAR = 0.5
"""Share of the genes that a marker beside them acts on."""
_FAR = 0.15
"""Share of the genes that one marker far away acts on, the same for all."""
_STRENGTH = 0.35
"""Standard deviations of a trait for one of a marker."""
LIMIT = 7.0
"""Pairs of at least this -log10 p are counted and drawn: 0.05 over half a million pairs."""


@dataclass(frozen=True)
class Study:
    """Genes and markers of a cohort.

    Attributes
    ----------
    G : (n, M) array
        Genotypes.
    Y : (n, m) array
        Expression.
    chromosome, position : (M,) array
        Of the markers, positions in megabases.
    at : (m,) int array
        The marker nearest each gene.
    """

    G: np.ndarray
    Y: np.ndarray
    chromosome: np.ndarray
    position: np.ndarray
    at: np.ndarray


def simulate_study(cohort: Cohort, genes: int, markers: int, seed: int) -> Study:
    """Genotypes of a cohort of families, and effects of them on its first complete traits."""
    rng = np.random.default_rng([seed, 1])
    G = drop_genes(cohort.individuals, _CHROMOSOMES, markers, rng).astype(float)
    complete = ~np.isnan(np.asarray(cohort.pheno)).any(axis=0)
    Y = np.asarray(cohort.pheno)[:, complete][:, :genes].copy()
    M, m = G.shape[1], Y.shape[1]
    at = np.sort(rng.choice(M, m))
    scaled = (G - G.mean(axis=0)) / G.std(axis=0)
    scale = _STRENGTH * Y.std(axis=0)
    near = rng.random(m) < _NEAR
    far = rng.random(m) < _FAR
    hub = int(rng.integers(M))
    Y += np.where(near, scale, 0) * scaled[:, at]
    Y += np.where(far, scale, 0) * scaled[:, [hub]]
    position = np.tile(np.linspace(0, _LENGTH, markers), _CHROMOSOMES)
    chromosome = np.repeat([str(c + 1) for c in range(_CHROMOSOMES)], markers)
    return Study(G, Y, chromosome, position, at)


def scan_both(study: Study, cohort: Cohort) -> dict[str, np.ndarray]:
    """-log10 p (M, m) of every marker and gene, without the kinship and with it."""
    covar = np.asarray(cohort.covar)
    kinships = {"without kinship": None, "with kinship": np.asarray(cohort.kinship)}
    return {
        name: np.asarray(lmm.scan(lmm.NullModel(K, study.Y, covar), study.G).log10p)
        for name, K in kinships.items()
    }


def in_words(log10p: np.ndarray) -> str:
    """Genomic inflation λ of all pairs, and how many are over the limit."""
    found = int((log10p >= LIMIT).sum())
    inflation = float(lmm.genomic_inflation(log10p.ravel()))
    return f"λ = {inflation:.2f}, {found} pairs with p of at most {10**-LIMIT:g}"


def write_pictures(study: Study, scans: dict[str, np.ndarray], out: Path) -> None:
    """Draw positions of the pairs found with the kinship, and p-values of all."""
    pictures = {
        "eqtl_map.png": _draw_map(study, scans["with kinship"]),
        "eqtl_qq.png": _draw_qq(scans),
    }
    for name, axes in pictures.items():
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.savefig(out / name, dpi=150)


def _draw_map(study: Study, log10p: np.ndarray) -> Axes:
    """Positions of genes against those of the markers that act on them."""
    from lmmlite_jax.plot import plot_eqtl_map

    marker, gene = np.nonzero(log10p >= LIMIT)
    beside = study.at[gene]
    axes = plot_eqtl_map(
        study.chromosome[marker],
        study.position[marker],
        study.chromosome[beside],
        study.position[beside],
        log10p[marker, gene],
    )
    title = f"demo, with kinship: pairs with p of at most {10**-LIMIT:g}"
    axes.set_title(title, loc="left", fontsize="medium")
    return axes


def _draw_qq(scans: dict[str, np.ndarray]) -> Axes:
    """p-values of all pairs, with and without kinship."""
    from lmmlite_jax.plot import plot_qq

    axes = plot_qq({name: log10p.ravel() for name, log10p in scans.items()})
    axes.set_title("demo: all pairs of a marker and a gene", loc="left", fontsize="medium")
    return axes
