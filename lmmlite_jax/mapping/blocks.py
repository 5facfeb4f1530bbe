"""The loop over blocks of traits and blocks of markers: every search among pairs goes through it.

Tiles are a block of traits with a block of markers rotated for their individuals. Scans,
permutations and searches near genes differ in the pieces of work they ask for, and in what they
keep of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from lmmlite_jax.mapping.genotypes import Genotypes, without_gaps
from lmmlite_jax.mapping.pair_bounds import CellMarkers, rotate_into_cells
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.individuals import Individuals
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.screening import ScreenMarkers
from lmmlite_jax.model.threads import on_cpu
from lmmlite_jax.model.trait_block import TraitBlock

__all__ = [
    "GROUP",
    "WHOLE_TILES",
    "Adds",
    "Batch",
    "Fits",
    "MarkerBlock",
    "Piece",
    "Tile",
    "batches",
    "block_width",
    "collect",
    "every",
    "markers_of_kinships",
    "tiles",
]

FEW_INDIVIDUALS = 128
"""Individuals up to whom a CPU works on twice as many markers together."""

WHOLE_TILES = 128
"""Markers of which blocks are multiples on an accelerator, where they are as many."""

SMALLEST = 64
"""Markers of a block at least, however many numbers they make."""

GROUP = 16
"""Neighbouring markers of which a screen keeps the largest correlation alone; blocks are some."""

MARKERS_OF_A_CALL = 16
"""What a block costs beside its markers, in markers."""


class Batch(NamedTuple):
    """Fitted traits whose decompositions are held together, and the markers to test them with.

    ``kinship`` and ``number`` say which kinship, and which batch of its traits; ``markers`` are
    numbers, ascending.
    """

    kinship: int
    number: int
    blocks: Sequence[TraitBlock]
    markers: Int[np.ndarray, " M"]


class Piece(NamedTuple):
    """Some markers (numbers, ascending) for some blocks of traits, to be padded to ``width``."""

    blocks: Sequence[TraitBlock]
    markers: Int[np.ndarray, " B"]
    width: int


class MarkerBlock:
    """A block of markers for some individuals, rotated when that is first needed.

    Attributes
    ----------
    numbers : (B,)
        Of the markers.
    individuals : Individuals
        In whom they are rotated.
    stored : (n, width, k)
        Genotypes of all individuals, as `Genotypes.stored` has them; zeros beyond B.
    missing : (B,)
        How many were missing of each marker.
    wider : MarkerBlock or None
        The same markers for more individuals: see `TraitBlock.among_more`.
    """

    def __init__(
        self,
        numbers: Int[np.ndarray, " B"],
        individuals: Individuals,
        stored: Shaped[np.ndarray, "n width k"],
        missing: Int[np.ndarray, " B"],
        on_device: Shaped[Array, "k width n"],
        wider: MarkerBlock | None = None,
    ) -> None:
        self.numbers, self.individuals, self.wider = numbers, individuals, wider
        self.stored, self.missing = stored, missing
        self._on_device = on_device
        self._screened: dict[bool, ScreenMarkers] = {}

    @cached_property
    def dosages(self) -> Float[np.ndarray, "n width k"]:
        """Genotypes in double precision, missing ones replaced by the mean."""
        return without_gaps(self.stored)

    @cached_property
    def rotated(self) -> Markers:
        """The markers as tests need them, padded to the width."""
        if "_rotated_into_cells" in vars(self):
            return self._rotated_into_cells[0]
        return self.individuals.rotate_markers(self._on_device)

    @property
    def in_cells(self) -> CellMarkers:
        """Markers of one column in the cells of the heritability that the individuals have."""
        return self._rotated_into_cells[1]

    @cached_property
    def _rotated_into_cells(self) -> tuple[Markers, CellMarkers]:
        own = self.individuals
        cells = own.cells, own.fine_cells
        return rotate_into_cells(own.rotation, self._on_device, *cells, dtype=own.dtype)

    def screened(self, double: bool) -> ScreenMarkers:
        """Markers of one column in single precision, rotated in ``double`` precision or in it."""
        if double not in self._screened:
            self._screened[double] = self.individuals.screen_markers(self._on_device, double)
        return self._screened[double]


class Tile(NamedTuple):
    """A block of markers against a block of traits."""

    marker_block: MarkerBlock
    block: TraitBlock

    @property
    def widest(self) -> MarkerBlock:
        """The markers for the most individuals in whom they are rotated for these traits."""
        return self.marker_block.wider or self.marker_block

    @property
    def numbers(self) -> Int[np.ndarray, " B"]:
        """Of the markers."""
        return self.marker_block.numbers

    @property
    def markers(self) -> Markers:
        """The markers, rotated for the individuals of the block of traits."""
        return self.marker_block.rotated

    @property
    def dosages(self) -> Float[np.ndarray, "n width k"]:
        """Genotypes of all individuals without gaps."""
        return self.marker_block.dosages


@runtime_checkable
class Adds(Protocol):
    """What takes tiles."""

    def add(self, tile: Tile) -> None:
        """Take one."""


def tiles(genotypes: Genotypes, pieces: Iterable[Piece]) -> Iterator[Tile]:
    """Tiles of each piece of work: its markers rotated once for all traits of the individuals."""
    for piece in pieces:
        stored, missing = genotypes.stored(piece.markers, piece.width)
        on_device = _markers_in_rows(stored)
        together = {id(block.individuals): block.individuals for block in piece.blocks}
        block_of = partial(
            MarkerBlock, piece.markers, stored=stored, missing=missing, on_device=on_device
        )
        wider = {id(of.wider): block_of(of.wider) for of in together.values() if of.wider}
        # Those that share a rotation follow one another.
        shared_first = sorted(
            together.values(), key=lambda of: of.wider is None and id(of) not in wider
        )
        for individuals in shared_first:
            markers = wider.get(id(individuals)) or block_of(
                individuals, wider=wider.get(id(individuals.wider))
            )
            for block in piece.blocks:
                if block.individuals is individuals:
                    yield Tile(markers, block)


def collect(keep: Adds, genotypes: Genotypes, pieces: Iterable[Piece]) -> Int[np.ndarray, " M"]:
    """Give every tile to what keeps; count the missing genotypes of each marker seen."""
    missing = np.zeros(genotypes.markers, dtype=np.int64)
    for tile in tiles(genotypes, pieces):
        missing[tile.numbers] = tile.marker_block.missing
        keep.add(tile)
    return missing


def _markers_in_rows(stored: Shaped[np.ndarray, "n width k"]) -> Shaped[Array, "k width n"]:
    """Genotypes on the device. Turned around there, where that is another machine's work."""
    if on_cpu():
        return jax.device_put(stored.T)
    # A view of some columns would travel element by element.
    return jnp.transpose(jax.device_put(np.ascontiguousarray(stored)))


def every(
    blocks: Sequence[TraitBlock], markers: Int[np.ndarray, " M"], width: int
) -> Iterator[Piece]:
    """All markers, ``width`` at a time, with all traits."""
    for start in range(0, markers.size, width):
        yield Piece(blocks, markers[start : start + width], width)


def batches(
    fitted: Callable[[str], Iterator[list[TraitBlock]]],
    served: Sequence[tuple[str, Int[np.ndarray, " _"]]],
    traits_at_once: int | None = None,
) -> Iterator[Batch]:
    """All traits ``fitted``, by `NullModel.batches`, with the markers tested with each kinship."""
    most = traits_at_once or at_once().traits
    for kinship, (label, markers) in enumerate(served):
        for number, blocks in enumerate(fitted(label)):
            parts = [part for block in blocks for part in block.parts(most)]
            yield Batch(kinship, number, parts, markers)


class Fits:
    """Status and heritabilities of the traits that have passed, for each of C kinships.

    Attributes
    ----------
    hsq : (C, m)
        NaN where there is none.
    status : (m,)
        `Status`; that of the last kinship where there are several.
    """

    def __init__(self, null: NullModel, kinships: int) -> None:
        self.hsq = np.full((kinships, null.m), np.nan)
        self.status = null.status_of_counts()

    def note(self, passing: Iterable[Batch]) -> Iterator[Batch]:
        """Hand batches on, and note their fits."""
        for batch in passing:
            for block in batch.blocks:
                used = block.traits >= 0
                traits = block.traits[used]
                self.hsq[batch.kinship, traits] = block.hsq[used]
                self.status[traits] = block.status[used]
            yield batch


def markers_of_kinships(
    null: NullModel, chromosome: ArrayOrFrame | None, M: int
) -> list[tuple[str, Int[np.ndarray, " _"]]]:
    """Label of each kinship that is needed, and the markers that are tested with it."""
    if not null.chromosomes:
        (label,) = null.kinship_labels
        return [(label, np.arange(M))]
    if chromosome is None or np.shape(chromosome) != (M,):
        found = "nothing" if chromosome is None else f"shape {np.shape(chromosome)}"
        raise ValueError(
            f"chromosome must have one label for each of the {M} markers where K is a dict of "
            f"kinship matrices, got {found}."
        )
    labels = np.asarray(chromosome).astype(str)
    without = sorted({*labels.tolist()} - {*null.chromosomes})
    if without:
        raise ValueError(
            f"K has no kinship matrix for chromosome {', '.join(without)}: make one for each with "
            "kinship(..., loco=True)."
        )
    served = [(label, np.flatnonzero(labels == label)) for label in null.chromosomes]
    return [(label, markers) for label, markers in served if markers.size]


def block_width(null: NullModel, columns: int, sizes: Sequence[int]) -> int:
    """Markers worked on together: one width, hence one compiled program, for all chromosomes.

    Enough to fill the cores, and with the traits they fit in cache; an accelerator wants more, and
    has the memory for it. Of the widths allowed, that with the least work in chromosomes of these
    sizes, padding included.
    """
    limits = at_once()
    most = limits.markers * (2 if on_cpu() and null.n <= FEW_INDIVIDUALS else 1)
    traits = max(1, min(null.m, limits.traits))
    enough = int(np.clip(limits.statistics // (columns**2 * traits), SMALLEST, most))
    widest = max(1, min(enough, max(sizes, default=0)))
    step = GROUP if on_cpu() or widest < WHOLE_TILES else WHOLE_TILES
    widths = np.arange(-(-widest // step), widest // (2 * step), -1) * step
    blocks = -(-np.asarray(sizes)[:, None] // widths)
    return int(widths[np.argmin((blocks * (widths + MARKERS_OF_A_CALL)).sum(axis=0))])
