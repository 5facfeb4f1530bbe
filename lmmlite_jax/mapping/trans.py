"""Pairs over a threshold among all traits and markers, but for the markers near a gene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from lmmlite_jax.mapping.blocks import Piece, collect, markers_of_kinships
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_dosages
from lmmlite_jax.mapping.keep import Keeper, keeper, traits_at_once
from lmmlite_jax.mapping.method import Method, check_choices
from lmmlite_jax.mapping.tables import TRANS_COLUMNS
from lmmlite_jax.mapping.trans_search import (
    DistantPairs,
    Found,
    TransSearch,
    TransUnit,
    as_least,
    as_near,
)
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64

__all__ = ["TransPairs", "map_trans"]


@dataclass(frozen=True)
class TransPairs(DistantPairs):
    """Pairs over the threshold among some markers and traits, by marker and trait.

    Names of columns are tensorQTL's.

    Attributes
    ----------
    marker, trait, af, n, unit, tested_markers, missing, tested_traits, status, markers, traits
        As in `DistantPairs`: numbers of the marker and the trait of each pair; allele frequency and
        number of the individuals observed; the piece of the work, its markers with their missing
        genotypes, and its traits; names.
    pval, log10p : (pairs,)
        p-value, and its -log10, which does not underflow.
    b, b_se : (pairs,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    lod : (pairs,)
        LOD score.
    hsq : (pairs,)
        Heritability: the trait's without marker, or with ``variance="refit"`` the pair's.
    """

    pval: Float[np.ndarray, " pairs"]
    b: Float[np.ndarray, " pairs"]
    b_se: Float[np.ndarray, " pairs"]
    log10p: Float[np.ndarray, " pairs"]
    lod: Float[np.ndarray, " pairs"]

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table, but for the names."""
        return {name: getattr(self, name) for name in TRANS_COLUMNS}


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
    check_choices(variance, test, "all")
    least, near = as_least(threshold), as_near(windows, null, genotypes)
    method = Method(variance, test, 1, null.dtype, null.tol, asymptotic)
    null = null.with_likelihood(reml=method.reml(null.reml))
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    search = _Pairs(null, genotypes, near, least, maf_threshold, method)
    found = search.units(served, wanted)
    return each_in_float64(TransPairs(**fields) for fields in found)


@dataclass(frozen=True)
class _Pairs(TransSearch):
    """Pairs of a marker and a trait."""

    method: Method

    @property
    def traits_at_once(self) -> int:
        return traits_at_once(self.method)

    def _keeper(self) -> Keeper:
        return keeper(self.least, self.genotypes.markers, self.null, self.method)

    def found(self, part: Genotypes, pieces: Iterable[Piece], hsq: np.ndarray) -> Found:
        kept = self._keeper()
        missing = collect(kept, part, pieces)
        tests, *places = kept.pairs()
        marker, trait = (np.asarray(place) for place in places)
        columns = {
            "pval": 10**-tests.log10p,
            "b": tests.beta,
            "b_se": tests.se,
            "log10p": tests.log10p,
            "lod": tests.lod,
            "hsq": hsq[trait] if tests.hsq is None else tests.hsq,
        }
        of_pairs = {name: np.asarray(values) for name, values in columns.items()}
        return Found(of_pairs, marker, trait, missing)
