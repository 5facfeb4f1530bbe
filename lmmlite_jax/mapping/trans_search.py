"""A search of all traits and markers, some at a time, for pairs over a threshold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from lmmlite_jax.mapping.alleles import allele_frequency, common
from lmmlite_jax.mapping.blocks import Batch, Fits, Piece, batches, block_width, every
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.genotypes import Genotypes, as_run
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.devices import spread
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.trait_block import TraitBlock, blocks_on

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DistantPairs",
    "Found",
    "TransSearch",
    "TransUnit",
    "as_least",
    "as_near",
    "trans_units",
]

_FEWEST, _MOST_MARKERS = 512, 8192
_MOST_NUMBERS = 2**25


class TransUnit(NamedTuple):
    """A piece of the work: the kinship's number, the batch of traits, and the first marker."""

    kinship: int
    batch: int
    first: int


@dataclass(frozen=True)
class DistantPairs:
    """What results of pairs over a threshold have in common.

    Attributes
    ----------
    marker, trait : (pairs,)
        Numbers of the marker and of the trait (column of Y).
    af : (pairs,)
        Frequency of the counted allele among the individuals observed.
    hsq : (pairs,)
        Heritability.
    n : (pairs,)
        Individuals observed.
    unit : TransUnit
        Which piece of the work this is.
    tested_markers : (tested,)
        Numbers of the markers that were tested.
    missing : (tested,)
        Genotypes of each that were missing and replaced by the mean.
    tested_traits, status : (T,)
        Numbers of the traits that were tested, and `Status` of each.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]
    af: Float[np.ndarray, " pairs"]
    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]
    unit: TransUnit
    tested_markers: Int[np.ndarray, " tested"]
    missing: Int[np.ndarray, " tested"]
    tested_traits: Int[np.ndarray, " T"]
    status: Int[np.ndarray, " T"]
    markers: tuple[str, ...] | None
    traits: tuple[str, ...] | None

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table, but for the names."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """Return tensorQTL's table, one row a pair (needs pandas)."""
        import pandas as pd

        names = {
            "variant_id": names_at(self.markers, self.marker),
            "phenotype_id": names_at(self.traits, self.trait),
        }
        return pd.DataFrame(names | self.columns())


def as_least(threshold: float) -> float:
    """-log10 of the largest p-value of a pair that is kept."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a p-value above 0 and at most 1, got {threshold}.")
    return float(-np.log10(threshold))


def as_near(
    windows: ArrayOrFrame | None, null: NullModel, genotypes: Genotypes
) -> Int[np.ndarray, "m 2"] | None:
    """Windows of the traits, if any, checked against the markers there are."""
    return None if windows is None else as_windows(windows, null.m, genotypes.markers)


def trans_units(markers: Int[np.ndarray, " M"], n: int) -> Int[np.ndarray, " units"]:
    """Positions in ``markers`` at which pieces of the work begin, for n individuals."""
    return np.arange(0, markers.size, _width(n))


def _width(n: int) -> int:
    return int(np.clip(_MOST_NUMBERS // n // _FEWEST * _FEWEST, _FEWEST, _MOST_MARKERS))


def _on(batch: Batch, device: jax.Device | None) -> Batch:
    return batch._replace(blocks=blocks_on(batch.blocks, device))


class Found(NamedTuple):
    """Pairs over the threshold in a piece of the work, by marker and trait, and their columns.

    Markers are numbered within the piece, of whose markers ``missing`` counts the gaps.
    """

    columns: dict[str, Shaped[np.ndarray, " pairs"]]
    marker: Int[np.ndarray, " pairs"]
    trait: Int[np.ndarray, " pairs"]
    missing: Int[np.ndarray, " tested"]


@dataclass(frozen=True)
class TransSearch(ABC):
    """What is looked for, and among what.

    ``near`` are the windows that are left out, ``least`` the -log10 p of a pair that is kept, and
    ``maf_threshold`` the frequency of a minor allele.
    """

    null: NullModel
    genotypes: Genotypes
    near: Int[np.ndarray, "m 2"] | None
    least: float
    maf_threshold: float

    @property
    @abstractmethod
    def traits_at_once(self) -> int:
        """Traits worked on together."""

    @abstractmethod
    def found(self, part: Genotypes, pieces: Iterable[Piece], hsq: np.ndarray) -> Found:
        """Pairs of some markers and traits over the threshold; ``hsq`` (m,) are the traits'."""

    def fitted(self, label: str) -> Iterator[list[TraitBlock]]:
        """Blocks of all traits fitted with a kinship."""
        return self.null.batches(label)

    def frequent(
        self, dosages: Float[np.ndarray, "n B"], individuals: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " B"]:
        """Whether markers are frequent enough among some individuals."""
        if self.maf_threshold <= 0:
            return np.ones(dosages.shape[1], dtype=bool)
        return common(dosages, self.maf_threshold)

    def units(
        self,
        served: Sequence[tuple[str, Int[np.ndarray, " _"]]],
        wanted: Callable[[TransUnit], bool] | None,
    ) -> Iterator[dict[str, Any]]:
        """Fields of `DistantPairs`, and the columns found, of each piece of the work."""
        null, width = self.null, _width(self.null.n)
        fits = Fits(null, len(served))
        for batch in fits.note(batches(self.fitted, served, self.traits_at_once)):
            traits = np.concatenate([block.traits[block.traits >= 0] for block in batch.blocks])
            starts = [
                int(start)
                for start in trans_units(batch.markers, null.n)
                if wanted is None or wanted(TransUnit(batch.kinship, batch.number, int(start)))
            ]
            parts = [batch.markers[start : start + width] for start in starts]
            read = self.genotypes.in_turn(parts)
            tested = partial(self._tested, cache(partial(_on, batch)), fits.hsq[batch.kinship])
            found = spread(tested, zip(parts, read, strict=True))
            for start, numbers, (columns, missing) in zip(starts, parts, found, strict=True):
                yield {
                    **columns,
                    "unit": TransUnit(batch.kinship, batch.number, start),
                    "tested_markers": numbers,
                    "missing": missing,
                    "tested_traits": traits,
                    "status": fits.status[traits],
                    "markers": self.genotypes.names,
                    "traits": null.traits,
                }

    def _tested(
        self,
        batch_on: Callable[[jax.Device | None], Batch],
        hsq: Float[np.ndarray, " m"],
        device: jax.Device | None,
        piece: tuple[Int[np.ndarray, " tested"], Genotypes],
    ) -> tuple[dict[str, Shaped[np.ndarray, " pairs"]], Int[np.ndarray, " tested"]]:
        """Columns of the pairs of a piece of the work, done on a device, and missing genotypes."""
        return halved_if_full(lambda: self._pairs(batch_on(device), *piece, hsq))

    def _pairs(
        self,
        batch: Batch,
        numbers: Int[np.ndarray, " tested"],
        part: Genotypes,
        hsq: Float[np.ndarray, " m"],
    ) -> tuple[dict[str, Shaped[np.ndarray, " pairs"]], Int[np.ndarray, " tested"]]:
        """Columns of the pairs of some markers, in order, and their missing genotypes."""
        null, most = self.null, self.traits_at_once
        width = block_width(null, part.columns, [_width(null.n)])
        blocks = [part for block in batch.blocks for part in block.parts(most)]
        found = self.found(part, every(blocks, np.arange(numbers.size), width), hsq)
        marker, trait = numbers[found.marker], found.trait
        af, kept = self._alleles(batch, part, found)
        if self.near is not None:
            kept &= (marker < self.near[trait, 0]) | (marker >= self.near[trait, 1])
        columns = {
            "marker": marker,
            "trait": trait,
            "af": af,
            "n": null.counts[trait],
            **found.columns,
        }
        return {name: values[kept] for name, values in columns.items()}, found.missing

    def _alleles(
        self, batch: Batch, part: Genotypes, found: Found
    ) -> tuple[Float[np.ndarray, " pairs"], Bool[np.ndarray, " pairs"]]:
        """Allele frequency of each pair's marker among the individuals of its trait, if enough."""
        af, frequent = np.full(found.marker.size, np.nan), np.zeros(found.marker.size, dtype=bool)
        distinct, back = np.unique(found.marker, return_inverse=True)
        dosages = part.dosages_of(distinct)
        together = {id(block.individuals): block.individuals for block in batch.blocks}
        for individuals in together.values():
            of_these = np.concatenate(
                [block.traits for block in batch.blocks if block.individuals is individuals]
            )
            rows = np.isin(found.trait, of_these)
            seen = dosages[as_run(individuals.numbers)]
            af[rows] = allele_frequency(seen)[back[rows]]
            frequent[rows] = self.frequent(seen, individuals.numbers)[back[rows]]
        return af, frequent
