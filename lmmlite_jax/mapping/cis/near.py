"""Genes with the markers near them, brought into few shapes of arrays.

Neighbouring genes share most of their markers. They are therefore taken a few at a time, with all
markers that any of them needs, rotated once; the number of markers is padded to one of few sizes,
so that thousands of genes with windows of all sizes go through a handful of compiled programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from lmmlite_jax.mapping.alleles import common
from lmmlite_jax.mapping.blocks import Piece, Tile, markers_of_kinships, tiles
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.mapping.method import Method
from lmmlite_jax.mapping.statistics import Pairs, empty_pairs, pair_statistics
from lmmlite_jax.model.devices import spread
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.trait_block import TraitBlock, blocks_on

__all__ = [
    "FEWEST_MARKERS",
    "Neighbourhood",
    "as_windows",
    "each_neighbourhood",
    "genes_of_kinships",
    "neighbourhood_of",
    "neighbourhoods",
    "padded_size",
    "pairs_nearby",
]

GENES_AT_ONCE = 32
"""Genes worked on together, with the markers near any of them."""

FEWEST_MARKERS = 256
"""Smallest padded number of markers, and how many are multiplied together."""

FEW_SIZES = 4096
"""Padded number of markers up to which sizes are four times one another, and beyond it twice."""

USUAL_MARKERS = 8192
"""Markers of neighbouring genes that are rotated together; more where one window is wider."""

LESS_THAN_A_PROGRAM = 2**31
"""Multiplications that take less time than to compile, or to load, the programs of another size."""

A = TypeVar("A")

Batches = Callable[[str, Int[np.ndarray, " genes"]], Iterator[list[TraitBlock]]]
"""Gives blocks of fitted genes, by the label of their kinship and their numbers."""

Windows = Int[np.ndarray, "m 2"]
"""Of each gene the first marker, and the one after the last."""


def as_windows(windows: ArrayOrFrame, m: int, M: int) -> Windows:
    """Windows (m, 2) checked against the markers there are."""
    windows = np.asarray(windows)
    if windows.shape != (m, 2) or windows.dtype.kind not in "iu":
        raise ValueError(
            f"windows must hold the first marker and the one after the last for each of the {m} "
            f"traits, integers of shape ({m}, 2), got {windows.dtype} of shape {windows.shape}: "
            "cis_windows makes them."
        )
    wrong = (windows[:, 0] < 0) | (windows[:, 1] > M) | (windows[:, 0] > windows[:, 1])
    if wrong.any():
        gene = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"windows[{gene}] is [{windows[gene, 0]}, {windows[gene, 1]}), which is no range of "
            f"the {M} markers."
        )
    return windows.astype(np.int64)


class Neighbourhood(NamedTuple):
    """Some genes observed in the same individuals, and all markers near any of them.

    Attributes
    ----------
    block : TraitBlock
        T genes.
    markers : Markers
        Rotated markers, padded to S.
    kept : (S,)
        Markers that are frequent enough.
    first, size : int
        Number of the first marker, and how many there are before the padding.
    start, stop : (T,)
        Window of each gene, counted from ``first``; empty where there is no gene.
    of_everyone : (N, size)
        Dosages of all individuals, missing genotypes replaced by the mean.
    """

    block: TraitBlock
    markers: Markers
    kept: Bool[np.ndarray, " S"]
    first: int
    size: int
    start: Int[np.ndarray, " T"]
    stop: Int[np.ndarray, " T"]
    of_everyone: Float[np.ndarray, "N size"]

    @property
    def dosages(self) -> Float[np.ndarray, "n size"]:
        """Of the individuals observed."""
        return self.of_everyone[self.block.individuals.numbers]

    @property
    def genes(self) -> Int[np.ndarray, " some"]:
        """Numbers of the genes there are."""
        return self.block.traits[self.block.traits >= 0]

    def inside(self) -> Bool[np.ndarray, "S T"]:
        """Whether a marker is in the window of a gene."""
        number = np.arange(self.kept.size)[:, None]
        return (number >= self.start) & (number < self.stop) & self.kept[:, None]

    def parts(self) -> Iterator[tuple[slice, Markers]]:
        """Markers multiplied together, as long as one of them is in the window of a gene."""
        width = min(FEWEST_MARKERS, self.kept.size)
        used = np.flatnonzero(self.inside().any(axis=1))
        for part in np.unique(used // width).tolist():
            start = part * width
            yield slice(start, start + width), self.markers.part(start, width)


def genes_of_kinships(
    null: NullModel,
    genotypes: Genotypes,
    windows: Windows,
    chromosome: ArrayOrFrame | None,
) -> list[tuple[str, Int[np.ndarray, " _"]]]:
    """Label of each kinship that is needed, and the genes to map with it, by their windows."""
    usable = np.zeros(null.m, dtype=bool)
    usable[null.fitted] = True
    usable &= windows[:, 1] > windows[:, 0]
    found = []
    for label, markers in markers_of_kinships(null, chromosome, genotypes.markers):
        served = np.zeros(genotypes.markers + 1, dtype=bool)
        served[markers] = True
        begins, ends = served[windows[:, 0]], served[np.maximum(windows[:, 1] - 1, 0)]
        torn = usable & (begins != ends)
        if torn.any():
            raise ValueError(
                f"windows[{np.flatnonzero(torn)[0]}] has markers of two chromosomes: a gene is "
                "tested on its own."
            )
        genes = np.flatnonzero(usable & begins)
        if genes.size:
            found.append((label, genes))
    return found


def each_neighbourhood(
    null: NullModel,
    genotypes: Genotypes,
    windows: Windows,
    chromosome: ArrayOrFrame | None,
    work: Callable[[Neighbourhood], A],
    *,
    maf_threshold: float = 0.0,
    wanted: Bool[AnyArray, " m"] | None = None,
    batches: Batches | None = None,
) -> Iterator[tuple[Neighbourhood, A]]:
    """All genes with the markers near them, under the kinship of their chromosome, and ``work``.

    Neighbourhoods are spread over the devices there are. ``batches`` fits the genes of a kinship,
    `NullModel.batches` by default. Windows that cannot be mapped are refused at once, before the
    first neighbourhood is asked for.
    """
    fitted = null.batches if batches is None else batches
    kinships = genes_of_kinships(null, genotypes, windows, chromosome)
    return (
        near
        for label, genes in kinships
        for near in neighbourhoods(
            fitted(label, genes),
            genotypes,
            windows,
            genes,
            work,
            maf_threshold=maf_threshold,
            wanted=wanted,
        )
    )


def neighbourhoods(
    batches: Iterable[Sequence[TraitBlock]],
    genotypes: Genotypes,
    windows: Windows,
    genes: Int[np.ndarray, " genes"],
    work: Callable[[Neighbourhood], A],
    *,
    maf_threshold: float = 0.0,
    wanted: Bool[AnyArray, " m"] | None = None,
) -> Iterator[tuple[Neighbourhood, A]]:
    """Some genes of batches of fitted traits, with the markers near them, and ``work`` on each.

    Neighbours of whom none is ``wanted`` are passed over.
    """
    chosen = np.isin(np.arange(len(windows)), genes)

    def worked_on(
        blocks: Callable[[jax.Device | None], Sequence[TraitBlock]],
        device: jax.Device | None,
        run_and_size: tuple[_Run, int],
    ) -> tuple[Neighbourhood, A]:
        run, size = run_and_size
        part = blocks(device)[run.block].part(run.places)
        piece = Piece([part], np.asarray(run.markers), size)
        (tile,) = tiles(genotypes, [piece])
        near = _neighbourhood(tile, genotypes, windows, maf_threshold)
        return near, work(near)

    for blocks in batches:
        on_device = cache(partial(blocks_on, blocks))
        runs = list(_runs(blocks, windows, chosen))
        sizes = _sizes([len(run.markers) for run in runs], genotypes.values.shape[0])
        pieces = (
            (run, size)
            for run, size in zip(runs, sizes, strict=True)
            if wanted is None or np.asarray(wanted)[run.genes].any()
        )
        yield from spread(partial(worked_on, on_device), pieces, overlapping=True)


def pairs_nearby(near: Neighbourhood, method: Method) -> Pairs:
    """Statistics (S, T) of pairs; NaN where a marker is in no gene's window."""
    pairs = empty_pairs(near.inside().shape, method)
    for some, markers in near.parts():
        found = pair_statistics(markers, near.block, method)
        for kept, values in zip(pairs, found, strict=True):
            if kept is not None:
                kept[some] = np.asarray(values)
    return pairs


def _neighbourhood(
    tile: Tile, genotypes: Genotypes, windows: Windows, maf_threshold: float
) -> Neighbourhood:
    first, traits = int(tile.numbers[0]), tile.block.traits
    own = np.where((traits >= 0)[:, None], windows[traits] - first, 0)
    return neighbourhood_of(tile, genotypes, first, own, maf_threshold)


def neighbourhood_of(
    tile: Tile,
    genotypes: Genotypes,
    first: int,
    own: Int[np.ndarray, "T 2"],
    maf_threshold: float,
) -> Neighbourhood:
    """The markers of a tile with its traits, whose windows are ``own``, counted from ``first``."""
    size = tile.numbers.size
    of_everyone = tile.dosages[:, :size, genotypes.dosage_column]
    kept = np.arange(tile.dosages.shape[1]) < size
    start, stop = own.T
    near = Neighbourhood(tile.block, tile.markers, kept, first, size, start, stop, of_everyone)
    if maf_threshold > 0:
        kept[:size] = common(near.dosages, maf_threshold)
    return near


class _Run(NamedTuple):
    """Neighbouring genes: their block, places there (-1 for none), their numbers, their markers."""

    block: int
    places: Int[np.ndarray, " T"]
    genes: Int[np.ndarray, " genes"]
    markers: range


def _runs(
    blocks: Sequence[TraitBlock], windows: Windows, chosen: Bool[np.ndarray, " m"]
) -> Iterator[_Run]:
    """Runs of neighbouring genes of each block."""
    for number, block in enumerate(blocks):
        places = np.flatnonzero((block.traits >= 0) & chosen[block.traits])
        own = windows[block.traits[places]]
        places = places[np.lexsort((own[:, 1], own[:, 0]))]
        width = min(GENES_AT_ONCE, block.traits.size)
        for run in _neighbours(places, windows[block.traits[places]]):
            genes = block.traits[run]
            first, last = windows[genes, 0].min(), windows[genes, 1].max()
            empty = np.full(width - run.size, -1)
            yield _Run(number, np.concatenate([run, empty]), genes, range(first, last))


def _neighbours(
    places: Int[np.ndarray, " genes"], windows: Int[np.ndarray, "genes 2"]
) -> Iterator[Int[np.ndarray, " run"]]:
    """Places of genes, by their windows, that are worked on together."""
    low = 0
    while low < places.size:
        first, last = windows[low]
        high = low + 1
        while high < places.size and high - low < GENES_AT_ONCE:
            joined = max(last, windows[high, 1])
            if joined - first > max(USUAL_MARKERS, last - first):
                break
            last, high = joined, high + 1
        yield places[low:high]
        low = high


def _sizes(counts: Sequence[int], n: int) -> list[int]:
    """Padded sizes of runs of so many markers: one for all where padding is the lesser work."""
    sizes = [padded_size(count) for count in counts]
    largest = max(sizes, default=0)
    padding = sum(largest - size for size in sizes)
    return [largest] * len(sizes) if padding * n**2 <= LESS_THAN_A_PROGRAM else sizes


def padded_size(count: int) -> int:
    """Size of an array for so many markers: few sizes where they are small, as padding is then."""
    size = FEWEST_MARKERS
    while size < count:
        size *= 4 if size < FEW_SIZES else 2
    return size
