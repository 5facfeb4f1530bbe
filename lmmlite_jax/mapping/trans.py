"""Pairs over a threshold among all traits and markers, but for the markers near a gene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from lmmlite_jax.mapping.alleles import FREQUENCY_TOLERANCE, allele_statistics
from lmmlite_jax.mapping.blocks import (
    Batch,
    Fits,
    batches,
    block_width,
    collect,
    every,
    markers_of_kinships,
)
from lmmlite_jax.mapping.cis.near import as_windows
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_dosages
from lmmlite_jax.mapping.keep import Keeper, keeper, traits_at_once
from lmmlite_jax.mapping.method import Method, check_choices
from lmmlite_jax.mapping.tables import TRANS_COLUMNS, names_at
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.devices import spread
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.trait_block import blocks_on

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TransPairs", "TransUnit", "map_trans", "trans_units"]

_FEWEST, _MOST_MARKERS = 512, 8192
_MOST_NUMBERS = 2**25


class TransUnit(NamedTuple):
    """A piece of the work: the kinship's number, the batch of traits, and the first marker."""

    kinship: int
    batch: int
    first: int


@dataclass(frozen=True)
class TransPairs:
    """Pairs over the threshold among some markers and traits, by marker and trait.

    Names of columns are tensorQTL's.

    Attributes
    ----------
    marker, trait : (pairs,)
        Numbers of the marker and of the trait (column of Y).
    pval, log10p : (pairs,)
        p-value, and its -log10, which does not underflow.
    b, b_se : (pairs,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    af : (pairs,)
        Frequency of the counted allele among the individuals observed.
    lod : (pairs,)
        LOD score.
    hsq : (pairs,)
        Heritability: the trait's without marker, or with ``variance="refit"`` the pair's.
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
    pval: Float[np.ndarray, " pairs"]
    b: Float[np.ndarray, " pairs"]
    b_se: Float[np.ndarray, " pairs"]
    af: Float[np.ndarray, " pairs"]
    log10p: Float[np.ndarray, " pairs"]
    lod: Float[np.ndarray, " pairs"]
    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]
    unit: TransUnit
    tested_markers: Int[np.ndarray, " tested"]
    missing: Int[np.ndarray, " tested"]
    tested_traits: Int[np.ndarray, " T"]
    status: Int[np.ndarray, " T"]
    markers: tuple[str, ...] | None
    traits: tuple[str, ...] | None

    def to_pandas(self) -> pd.DataFrame:
        """Return tensorQTL's table, one row a pair (needs pandas)."""
        import pandas as pd

        columns = {
            "variant_id": names_at(self.markers, self.marker),
            "phenotype_id": names_at(self.traits, self.trait),
        }
        return pd.DataFrame(columns | {name: getattr(self, name) for name in TRANS_COLUMNS})


def map_trans(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    *,
    threshold: float = 1e-5,
    windows: ArrayOrFrame | None = None,
    variance: str = "null",
    test: str = "wald",
    asymptotic: bool = False,
    maf_threshold: float = 0.0,
    chromosome: ArrayOrFrame | None = None,
    wanted: Callable[[TransUnit], bool] | None = None,
) -> Iterator[TransPairs]:
    """Test every trait with every marker, and keep the pairs over a threshold.

    What `scan` does with a threshold, some thousand markers at a time, so that the markers may be
    in a file: heritabilities and decompositions are computed once.

    Parameters
    ----------
    null, G, variance, test, asymptotic, chromosome
        As in `scan`; G with one column a marker.
    threshold : float
        Largest p-value of a pair that is kept.
    windows : (m, 2) array of int, optional
        For each trait the first marker and the one after the last that are left out as near it, as
        `cis_windows` makes them.
    maf_threshold : float
        Pairs with a marker whose minor allele is rarer among the individuals observed are left
        out.
    wanted : function, optional
        Whether a piece of the work is still to be done; all by default.

    Yields
    ------
    TransPairs
        The pairs of some markers, in ascending order of the markers for each kinship and each batch
        of traits.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=3, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 90)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7, 40, 80]]
    >>> near = np.array([[0, 10], [0, 10], [0, 10]])
    >>> null = lmm.NullModel(cohort.kinship, Y)
    >>> (pairs,) = lmm.map_trans(null, G, threshold=1e-8, windows=near)
    >>> print(pairs.marker, pairs.trait)
    [40 80] [1 2]
    """
    genotypes = as_dosages(G, null)
    check_choices(variance, test, "all", 1)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a p-value above 0 and at most 1, got {threshold}.")
    near = None if windows is None else as_windows(windows, null.m, genotypes.markers)
    method = Method(variance, test, 1, null.dtype, null.tol, asymptotic)
    null = null.with_likelihood(reml=method.reml(null.reml))
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    search = _Trans(null, genotypes, near, method, -np.log10(threshold), maf_threshold)
    return each_in_float64(search.units(served, wanted or (lambda unit: True)))


def trans_units(markers: Int[np.ndarray, " M"], n: int) -> Int[np.ndarray, " units"]:
    """Positions in ``markers`` at which pieces of the work begin, for n individuals."""
    return np.arange(0, markers.size, _width(n))


def _width(n: int) -> int:
    return int(np.clip(_MOST_NUMBERS // n // _FEWEST * _FEWEST, _FEWEST, _MOST_MARKERS))


def _on(batch: Batch, device: jax.Device | None) -> Batch:
    return batch._replace(blocks=blocks_on(batch.blocks, device))


class _Trans(NamedTuple):
    """What is looked for, and among what."""

    null: NullModel
    genotypes: Genotypes
    near: Int[np.ndarray, "m 2"] | None
    method: Method
    least: float
    maf_threshold: float

    def units(
        self,
        served: Sequence[tuple[str, Int[np.ndarray, " _"]]],
        wanted: Callable[[TransUnit], bool],
    ) -> Iterator[TransPairs]:
        """Pairs of each piece of the work."""
        null, width = self.null, _width(self.null.n)
        fits = Fits(null, len(served))
        for batch in fits.note(batches(null, served, self.traits_at_once())):
            traits = np.concatenate([block.traits[block.traits >= 0] for block in batch.blocks])
            starts = [
                int(start)
                for start in trans_units(batch.markers, null.n)
                if wanted(TransUnit(batch.kinship, batch.number, int(start)))
            ]
            parts = [batch.markers[start : start + width] for start in starts]
            read = self.genotypes.in_turn(parts)
            tested = partial(self.tested, cache(partial(_on, batch)), fits.hsq[batch.kinship])
            found = spread(tested, zip(parts, read, strict=True))
            for start, numbers, (columns, missing) in zip(starts, parts, found, strict=True):
                yield TransPairs(
                    **columns,
                    unit=TransUnit(batch.kinship, batch.number, start),
                    tested_markers=numbers,
                    missing=missing,
                    tested_traits=traits,
                    status=fits.status[traits],
                    markers=self.genotypes.names,
                    traits=null.traits,
                )

    def tested(
        self,
        batch_on: Callable[[jax.Device | None], Batch],
        hsq: Float[np.ndarray, " m"],
        device: jax.Device | None,
        piece: tuple[Int[np.ndarray, " tested"], Genotypes],
    ) -> tuple[dict[str, Shaped[np.ndarray, " pairs"]], Int[np.ndarray, " tested"]]:
        """Columns of the pairs of a piece of the work, done on a device, and missing genotypes."""
        return halved_if_full(lambda: self.pairs(batch_on(device), *piece, hsq))

    def traits_at_once(self) -> int:
        """Traits worked on together."""
        return traits_at_once(self.keeper(), self.method.variance)

    def keeper(self) -> Keeper:
        """What keeps the pairs of a piece of the work."""
        return keeper(self.least, self.genotypes.markers, self.null, self.method)

    def pairs(
        self,
        batch: Batch,
        numbers: Int[np.ndarray, " tested"],
        part: Genotypes,
        hsq: Float[np.ndarray, " m"],
    ) -> tuple[dict[str, Shaped[np.ndarray, " pairs"]], Int[np.ndarray, " tested"]]:
        """Columns of the pairs of some markers, in order, and their missing genotypes."""
        null = self.null
        width = block_width(null, 1, [_width(null.n)])
        kept, most = self.keeper(), self.traits_at_once()
        blocks = [part for block in batch.blocks for part in block.parts(most)]
        missing = collect(kept, part, every(blocks, np.arange(numbers.size), width))
        tests, *places = kept.pairs()
        own, trait = (np.asarray(place) for place in places)
        af = self.frequencies(batch, part, own, trait)
        columns = {
            "marker": numbers[own],
            "trait": trait,
            "pval": 10**-tests.log10p,
            "b": tests.beta,
            "b_se": tests.se,
            "af": af,
            "log10p": tests.log10p,
            "lod": tests.lod,
            "hsq": hsq[trait] if tests.hsq is None else tests.hsq,
            "n": null.counts[trait],
        }
        kept = np.minimum(af, 1 - af) >= self.maf_threshold - FREQUENCY_TOLERANCE
        kept |= self.maf_threshold <= 0
        if self.near is not None:
            marker = columns["marker"]
            kept &= (marker < self.near[trait, 0]) | (marker >= self.near[trait, 1])
        return {name: values[kept] for name, values in columns.items()}, missing

    def frequencies(
        self,
        batch: Batch,
        part: Genotypes,
        marker: Int[np.ndarray, " pairs"],
        trait: Int[np.ndarray, " pairs"],
    ) -> Float[np.ndarray, " pairs"]:
        """Allele frequency of each pair's marker among the individuals of its trait."""
        af = np.full(marker.size, np.nan)
        distinct, back = np.unique(marker, return_inverse=True)
        dosages = part.dosages_of(distinct)
        together = {id(block.individuals): block.individuals for block in batch.blocks}
        for individuals in together.values():
            of_these = np.concatenate(
                [block.traits for block in batch.blocks if block.individuals is individuals]
            )
            rows = np.isin(trait, of_these)
            af[rows] = allele_statistics(dosages[individuals.numbers]).af[back[rows]]
        return af
