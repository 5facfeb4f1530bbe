"""Genes with the markers near them, brought into few shapes of arrays.

Neighbouring genes share most of their markers. They are therefore taken a few at a time, with all
markers that any of them needs, rotated once; the number of markers is padded to a power of two, so
that thousands of genes with windows of all sizes go through a handful of compiled programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from lmmlite_jax.mapping.association import (
    Markers,
    Traits,
    marker_rotation,
    rotate_markers,
    traits_at,
)
from lmmlite_jax.mapping.collect import Block, Method
from lmmlite_jax.mapping.refit import null_traits
from lmmlite_jax.mapping.scan import ScanData
from lmmlite_jax.model.engine import Engine, Group, make_engine
from lmmlite_jax.model.estimate import Options
from lmmlite_jax.model.maximum import grid_points
from lmmlite_jax.model.pattern import Pattern, Sample

__all__ = [
    "Alleles",
    "Neighbourhood",
    "allele_statistics",
    "as_windows",
    "cis_windows",
    "common",
    "engines",
    "neighbourhoods",
]

GENES_AT_ONCE = 32
"""Genes worked on together, with the markers near any of them."""

FEWEST_MARKERS = 256
"""Smallest padded number of markers, and how many are multiplied together."""

USUAL_MARKERS = 4096
"""Markers of neighbouring genes that are rotated together; more where one window is wider."""

FREQUENCY_TOLERANCE = 1e-7
"""By which a frequency may miss a threshold that it is meant to equal."""


def cis_windows(
    chromosome: Any,
    position: Any,
    gene_chromosome: Any,
    start: Any,
    end: Any | None = None,
    *,
    distance: int = 1_000_000,
) -> np.ndarray:
    """Markers near each gene, as FastQTL and tensorQTL take them.

    Parameters
    ----------
    chromosome, position : (M,)
        Chromosome of each marker, and its position in base pairs. The markers of a chromosome
        follow one another, in ascending order of position.
    gene_chromosome, start : (m,)
        Chromosome of each gene and the position from which distances are counted, such as the
        transcription start site.
    end : (m,), optional
        End of each gene; ``start`` where left out.
    distance : int
        Base pairs before ``start`` and after ``end`` that belong to the window.

    Returns
    -------
    (m, 2) array
        The first marker in the window and the one after the last; equal where there is none.

    Raises
    ------
    ValueError
        If the markers are not in order.

    Examples
    --------
    >>> from lmmlite_jax import cis_windows
    >>> cis_windows([1, 1, 1, 2], [100, 900, 1500, 100], [1, 2], [200, 5000], distance=700)
    array([[0, 2],
           [4, 4]])
    """
    labels, places = np.asarray(chromosome).astype(str), np.asarray(position)
    begins = np.asarray(start)
    ends = begins if end is None else np.asarray(end)
    of_genes = np.asarray(gene_chromosome).astype(str)
    windows = np.zeros((begins.size, 2), dtype=np.int64)
    for label in np.unique(of_genes):
        markers = np.flatnonzero(labels == label)
        if markers.size == 0:
            continue
        own = places[markers]
        if np.ptp(markers) != markers.size - 1 or np.any(np.diff(own) < 0):
            raise ValueError(
                f"the markers of chromosome {label} are not in order: sort them by chromosome and "
                "position."
            )
        genes = np.flatnonzero(of_genes == label)
        windows[genes, 0] = np.searchsorted(own, begins[genes] - distance, "left")
        windows[genes, 1] = np.searchsorted(own, ends[genes] + distance, "right")
        windows[genes] += markers[0]
    return windows


def as_windows(window: Any, m: int, M: int) -> np.ndarray:
    """Windows (m, 2) checked against the markers there are."""
    windows = np.asarray(window)
    if windows.shape != (m, 2) or windows.dtype.kind not in "iu":
        raise ValueError(
            f"window must hold the first marker and the one after the last for each of the {m} "
            f"traits, integers of shape ({m}, 2), got {windows.dtype} of shape {windows.shape}: "
            "cis_windows makes them."
        )
    wrong = (windows[:, 0] < 0) | (windows[:, 1] > M) | (windows[:, 0] > windows[:, 1])
    if wrong.any():
        gene = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"window[{gene}] is [{windows[gene, 0]}, {windows[gene, 1]}), which is no range of the "
            f"{M} markers."
        )
    return windows.astype(np.int64)


class Alleles(NamedTuple):
    """Of each marker among the individuals observed, tensorQTL's definitions.

    ``af`` is the frequency of the counted allele, ``ma_samples`` the carriers of the minor allele,
    ``ma_count`` its copies.
    """

    af: np.ndarray
    ma_samples: np.ndarray
    ma_count: np.ndarray


def allele_statistics(dosages: np.ndarray) -> Alleles:
    """Frequencies and counts from dosages (n, M) of 0 to 2 copies."""
    n = len(dosages)
    af = dosages.sum(axis=0) / (2 * n)
    minor = af <= 0.5
    counted = dosages > 0.5
    copies = np.where(counted, dosages, 0.0).sum(axis=0).astype(np.int64)
    return Alleles(
        af,
        np.where(minor, counted.sum(axis=0), (dosages < 1.5).sum(axis=0)),
        np.where(minor, copies, 2 * n - copies),
    )


def common(dosages: np.ndarray, threshold: float) -> np.ndarray:
    """Whether the minor allele is at least so frequent, for each marker of dosages (n, M)."""
    af = dosages.mean(axis=0) / 2
    return np.minimum(af, 1 - af) >= threshold - FREQUENCY_TOLERANCE


class Neighbourhood(NamedTuple):
    """Some genes observed in the same individuals, and all markers near any of them.

    Attributes
    ----------
    genes : (T,)
        Numbers of the genes, -1 where a place is empty.
    block : Block
        The genes as a scan takes them.
    pattern : Pattern
        The decomposition they share (leading axis 1).
    markers : Markers
        Rotated markers, padded to S.
    kept : (S,)
        Markers that are frequent enough.
    first, size : int
        Number of the first marker, and how many there are before the padding.
    start, stop : (T,)
        Window of each gene, counted from ``first``; empty where there is no gene.
    members : (n,)
        Individuals observed.
    dosages : (n, size)
        Theirs, missing genotypes replaced by the mean.
    """

    genes: np.ndarray
    block: Block
    pattern: Pattern
    markers: Markers
    kept: np.ndarray
    first: int
    size: int
    start: np.ndarray
    stop: np.ndarray
    members: np.ndarray
    dosages: np.ndarray

    def inside(self) -> np.ndarray:
        """(S, T): whether a marker is in the window of a gene."""
        number = np.arange(self.kept.size)[:, None]
        return (number >= self.start) & (number < self.stop) & self.kept[:, None]


def engines(
    data: ScanData, windows: np.ndarray, options: Options, tol: float
) -> Iterator[tuple[Engine, Sample, np.ndarray]]:
    """For each kinship an engine and the genes it serves, in the order of their windows."""
    p = data.design.shape[1]
    usable = (data.counts >= p + 2) & (windows[:, 1] > windows[:, 0])
    for K, chosen in data.kinships:
        served = np.zeros(data.genotypes.markers + 1, dtype=bool)
        served[chosen] = True
        begins, ends = served[windows[:, 0]], served[np.maximum(windows[:, 1] - 1, 0)]
        torn = usable & (begins != ends)
        if torn.any():
            raise ValueError(
                f"window[{np.flatnonzero(torn)[0]}] has markers of two chromosomes: a gene is "
                "tested on its own."
            )
        genes = np.flatnonzero(usable & begins)
        if genes.size:
            sample = Sample(K, data.design, data.weights)
            order = np.lexsort((windows[genes, 1], windows[genes, 0]))
            yield make_engine(sample, options, tol=tol), sample, genes[order]


def neighbourhoods(
    data: ScanData,
    windows: np.ndarray,
    group: Group,
    method: Method,
    *,
    maf_threshold: float = 0.0,
    interaction: np.ndarray | None = None,
    wanted: np.ndarray | None = None,
) -> Iterator[Neighbourhood]:
    """Genes of a group of fits with the markers near them.

    With an ``interaction`` i (n,) a marker has the columns i, g and g·i. Neighbours of whom none
    is ``wanted`` (m,) are passed over.
    """
    heritability = np.asarray(group.fit.hsq)
    for c, numbers in enumerate(group.traits):
        if not np.any(numbers >= 0):
            continue
        k = int(group.which[c])
        one = jax.tree.map(lambda a, k=k: a[k : k + 1], group.patterns)
        status = np.asarray(group.fit.status)[c]
        n = float(np.asarray(group.fit.n)[c, 0])
        whole = None
        if method.variance == "null":
            whole = traits_at(one, group.rotated, c, heritability[c], status, dtype=method.dtype)
        skeleton = group.rotated.profile.skeleton
        by = marker_rotation(one, skeleton, n=len(data.values), dtype=method.dtype)
        members = np.asarray(one.members)[0]
        members = members[members >= 0]
        for low, high in _runs(numbers, windows):
            width = min(GENES_AT_ONCE, numbers.size)
            begin = min(low, numbers.size - width)
            part = slice(begin, begin + width)
            place = np.arange(begin, begin + width)
            genes = np.where((place >= low) & (place < high), numbers[part], -1)
            if wanted is not None and not wanted[genes[genes >= 0]].any():
                continue
            own = np.where((genes >= 0)[:, None], windows[genes], 0)
            first = int(own[genes >= 0, 0].min())
            count = int(own[:, 1].max()) - first
            if whole is not None:
                block = Block(
                    np.arange(width), n, _columns(whole, begin, width), hsq=heritability[c][part]
                )
            else:
                null = null_traits(
                    one,
                    group.rotated,
                    c,
                    begin,
                    heritability[c][part],
                    status[part],
                    reml=method.reml(),
                )
                nodes = np.asarray(group.rotated.profile.skeleton.nodes)
                points = grid_points(nodes, singular=bool(np.any(np.asarray(one.zeros) > 0)))
                block = Block(np.arange(width), n, null, points)
            G = data.genotypes.block(np.arange(first, first + count), padded(count))
            dosages = G[members, :count, 0]
            if interaction is not None:
                i = np.broadcast_to(interaction[:, None, None], G.shape)
                G = np.concatenate([i, G, G * i], axis=2)
            kept = np.zeros(G.shape[1], dtype=bool)
            kept[:count] = common(dosages, maf_threshold) if maf_threshold > 0 else True
            yield Neighbourhood(
                genes,
                block,
                one,
                rotate_markers(by, G.T, dtype=method.dtype),
                kept,
                first,
                count,
                np.where(genes >= 0, own[:, 0] - first, 0),
                np.where(genes >= 0, own[:, 1] - first, 0),
                members,
                dosages,
            )


def padded(count: int) -> int:
    """Size of an array for so many markers: a power of two."""
    return max(FEWEST_MARKERS, 2 ** int(np.ceil(np.log2(count))))


def _runs(numbers: np.ndarray, windows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs [low, high) of genes of a block that are worked on together."""
    of_genes = windows[numbers]
    low = 0
    while low < numbers.size and numbers[low] >= 0:
        first, last = of_genes[low]
        high = low + 1
        while high < numbers.size and numbers[high] >= 0 and high - low < GENES_AT_ONCE:
            joined = max(last, of_genes[high, 1])
            if joined - first > max(USUAL_MARKERS, last - first):
                break
            last, high = joined, high + 1
        yield low, high
        low = high


@partial(jax.jit, static_argnames="width")
def _columns(traits: Traits, begin: Any, width: int) -> Traits:
    def some(values: Any) -> Any:
        return lax.dynamic_slice_in_dim(values, begin, width, axis=-1)

    return Traits(some(traits.weighted), some(traits.weights), some(traits.rss), traits.dof)
