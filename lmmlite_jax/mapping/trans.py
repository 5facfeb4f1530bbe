"""Pairs over a threshold among all traits and markers, but for the markers near a gene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lmmlite_jax.mapping.cis import cis_data, names_at
from lmmlite_jax.mapping.collect import Block, Hits, Method
from lmmlite_jax.mapping.genotypes import Genotypes
from lmmlite_jax.mapping.scan import (
    ScanData,
    blocks_of_patterns,
    check_choices,
    markers_at_once,
    null_models,
    rotated_markers,
)
from lmmlite_jax.mapping.windows import allele_statistics, as_windows, common
from lmmlite_jax.model.engine import Group
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.pattern import Pattern
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.skeleton import Skeleton

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
    markers : (markers,)
        Numbers of the markers that were tested.
    missing : (markers,)
        Genotypes of each that were missing and replaced by the mean.
    traits, status : (traits,)
        Numbers of the traits that were tested, and `Status` of each.
    """

    marker: np.ndarray
    trait: np.ndarray
    pval: np.ndarray
    b: np.ndarray
    b_se: np.ndarray
    af: np.ndarray
    log10p: np.ndarray
    lod: np.ndarray
    hsq: np.ndarray
    n: np.ndarray
    unit: TransUnit
    markers: np.ndarray
    missing: np.ndarray
    traits: np.ndarray
    status: np.ndarray

    def to_pandas(
        self, *, traits: tuple[str, ...] | None = None, markers: tuple[str, ...] | None = None
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a pair, numbers where names are left out."""
        import pandas as pd

        columns = {
            "variant_id": names_at(markers, self.marker),
            "phenotype_id": names_at(traits, self.trait),
        }
        for name in ("pval", "b", "b_se", "af", "log10p", "lod", "hsq", "n"):
            columns[name] = getattr(self, name)
        return pd.DataFrame(columns)


def map_trans(
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    threshold: float = 1e-5,
    window: Any = None,
    variance: str = "null",
    test: str = "wald",
    asymptotic: bool = False,
    maf_threshold: float = 0.0,
    chromosome: Any = None,
    weights: Any = None,
    reml: bool = True,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    dtype: str = "float64",
    wanted: Callable[[TransUnit], bool] | None = None,
) -> Iterator[TransPairs]:
    """Test every trait with every marker, and keep the pairs over a threshold.

    What `scan` does with a threshold, some thousand markers at a time, so that the markers may be
    in a file: heritabilities and decompositions are computed once.

    Parameters
    ----------
    K, Y, G, X, chromosome, weights, clip_negative, scale_kinship, tol, dtype
        As in `scan`; G with one column a marker.
    variance, test, asymptotic, reml
        As in `scan`.
    threshold : float
        Largest p-value of a pair that is kept.
    window : (m, 2) array of int, optional
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
    >>> (pairs,) = lmm.map_trans(cohort.kinship, Y, G, threshold=1e-8, window=near)
    >>> print(pairs.marker, pairs.trait)
    [40 80] [1 2]
    """
    with jax.enable_x64(True):
        data = cis_data(K, Y, G, X, weights, chromosome, clip_negative, scale_kinship)
    check_choices(variance, test, "all", dtype, 1)
    check_options(tol, NO_PRIOR)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a p-value above 0 and at most 1, got {threshold}.")
    windows = None
    if window is not None:
        windows = as_windows(window, len(data.counts), data.genotypes.markers)
    method = Method(variance, test, 1, dtype, tol, asymptotic)
    options = Options(reml=method.reml(reml))
    search = _Search(data, windows, method, -np.log10(threshold), maf_threshold)
    return each_in_float64(search.units(options, wanted or (lambda unit: True)))


def trans_units(markers: np.ndarray, n: int) -> np.ndarray:
    """Positions in ``markers`` at which pieces of the work begin, for n individuals."""
    return np.arange(0, markers.size, _width(n))


def _width(n: int) -> int:
    return int(np.clip(_MOST_NUMBERS // n // _FEWEST * _FEWEST, _FEWEST, _MOST_MARKERS))


class _Search(NamedTuple):
    """What is looked for, and among what."""

    data: ScanData
    windows: np.ndarray | None
    method: Method
    least: float
    maf_threshold: float

    def units(self, options: Options, wanted: Callable[[TransUnit], bool]) -> Iterator[TransPairs]:
        """Pairs of each piece of the work."""
        data, method = self.data, self.method
        n = len(data.values)
        hsq = np.full(len(data.counts), np.nan)
        models = null_models(data, options, method.tol, method.dtype)
        for k, (chosen, batches) in enumerate(models):
            for b, groups in enumerate(batches):
                units = [TransUnit(k, b, int(start)) for start in trans_units(chosen, n)]
                left = [unit for unit in units if wanted(unit)]
                if not left:
                    continue
                traits, status = _fits(groups, hsq)
                patterns, blocks = zip(*blocks_of_patterns(groups, method), strict=True)
                skeleton = groups[0].rotated.profile.skeleton
                ranges = [np.arange(u.first, min(u.first + _width(n), chosen.size)) for u in left]
                markers = chosen[np.concatenate(ranges)]
                for unit, (numbers, part) in zip(
                    left, data.genotypes.in_turn(markers, _width(n)), strict=True
                ):
                    columns = self.pairs(patterns, blocks, skeleton, numbers, part, hsq)
                    yield TransPairs(
                        **columns,
                        unit=unit,
                        markers=numbers,
                        missing=part.missing,
                        traits=traits,
                        status=status,
                    )

    def pairs(
        self,
        patterns: Sequence[Pattern],
        blocks: Sequence[list[Block]],
        skeleton: Skeleton,
        numbers: np.ndarray,
        part: Genotypes,
        hsq: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Columns of the pairs of some markers, in order."""
        n, method = len(self.data.values), self.method
        width = min(markers_at_once(n, 1, len(self.data.counts)), _width(n))
        hits = [Hits(self.least, method) for _ in patterns]
        for own, k, markers in rotated_markers(
            part, np.arange(numbers.size), width, patterns, skeleton, method.dtype
        ):
            for block in blocks[k]:
                hits[k].add(own, markers, block)
        found = [
            self.columns(of_pattern, one, numbers, part, hsq)
            for of_pattern, one in zip(hits, patterns, strict=True)
        ]
        columns = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        order = np.lexsort((columns["trait"], columns["marker"]))
        return {name: values[order] for name, values in columns.items()}

    def columns(
        self, hits: Hits, one: Pattern, numbers: np.ndarray, part: Genotypes, hsq: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Columns of the pairs with the traits of one pattern."""
        tests, own, trait = hits.pairs()
        distinct, back = np.unique(own, return_inverse=True)
        members = np.asarray(one.members)[0]
        dosages = part.block(distinct, distinct.size)[members[members >= 0], :, 0]
        kept = common(dosages, self.maf_threshold)[back] | (self.maf_threshold <= 0)
        if self.windows is not None:
            marker = numbers[own]
            kept &= (marker < self.windows[trait, 0]) | (marker >= self.windows[trait, 1])
        columns = {
            "marker": numbers[own],
            "trait": trait,
            "pval": 10**-tests.log10p,
            "b": tests.beta,
            "b_se": tests.se,
            "af": allele_statistics(dosages).af[back],
            "log10p": tests.log10p,
            "lod": tests.lod,
            "hsq": hsq[trait] if tests.hsq is None else tests.hsq,
            "n": self.data.counts[trait],
        }
        return {name: values[kept] for name, values in columns.items()}


def _fits(groups: list[Group], hsq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Traits of a batch and their status; their heritabilities go into ``hsq``."""
    traits, status = [], []
    for group in groups:
        used = group.traits >= 0
        hsq[group.traits[used]] = np.asarray(group.fit.hsq)[used]
        traits.append(group.traits[used])
        status.append(np.asarray(group.fit.status)[used].astype(int))
    return np.concatenate(traits), np.concatenate(status)
