"""The best of the markers near each gene, and how often chance does as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lmmlite_jax.mapping.association import Markers, Traits
from lmmlite_jax.mapping.beta_approximation import FEWEST_PERMUTATIONS, beta_approximation
from lmmlite_jax.mapping.collect import All, Method, Pairs
from lmmlite_jax.mapping.permutation import permuted
from lmmlite_jax.mapping.scan import ScanData, scan_data
from lmmlite_jax.mapping.windows import (
    FEWEST_MARKERS,
    Neighbourhood,
    allele_statistics,
    as_windows,
    engines,
    neighbourhoods,
)
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.inputs import NOTHING, Labelled
from lmmlite_jax.model.precision import AnyArray, in_float64
from lmmlite_jax.model.result import Status, reasons_of, status_of_counts

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "BestMarkers",
    "BestNearby",
    "CisResult",
    "Fits",
    "Names",
    "best_markers",
    "best_nearby",
    "check_permutations",
    "cis_data",
    "distances",
    "map_cis",
    "names_at",
    "pairs_nearby",
]

PERMUTATIONS_AT_ONCE = 1024
"""Permutations whose products with a block of markers stay in cache."""

LN10 = float(np.log(10))


@dataclass(frozen=True)
class BestMarkers:
    """The best marker in each of R searches near a gene; names are tensorQTL's.

    Attributes
    ----------
    marker : (R,)
        Best marker, -1 without one.
    num_var : (R,)
        Markers tested: those in the window that are frequent enough and vary beside the
        covariates.
    slope, slope_se : (R,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    pval_nominal, log10p : (R,)
        p-value of the F test of the best marker, and its -log10, which does not underflow.
    lod : (R,)
        n/2 log10(rss₀/rss₁) of the best marker.
    pval_perm : (R,)
        Share of permutations in which the best marker does as well, the data counted in.
    pval_beta : (R,)
        The same by the beta approximation, which resolves small ones.
    beta_shape1, beta_shape2, true_df, pval_true_df : (R,)
        Shapes and degrees of freedom of the approximation, and the best marker's p-value with
        these degrees of freedom.
    af, ma_samples, ma_count : (R,)
        Of the best marker among the individuals observed: frequency of the counted allele,
        carriers of the minor allele, and its copies.
    hsq : (R,)
        Heritability without the marker; NaN without kinship.
    n : (R,)
        Individuals observed.
    """

    marker: AnyArray
    num_var: AnyArray
    slope: AnyArray
    slope_se: AnyArray
    pval_nominal: AnyArray
    log10p: AnyArray
    lod: AnyArray
    pval_perm: AnyArray
    pval_beta: AnyArray
    beta_shape1: AnyArray
    beta_shape2: AnyArray
    true_df: AnyArray
    pval_true_df: AnyArray
    af: AnyArray
    ma_samples: AnyArray
    ma_count: AnyArray
    hsq: AnyArray
    n: AnyArray

    def table(
        self,
        genes: np.ndarray,
        rows: np.ndarray,
        names: Names,
        position: Any,
        start: Any,
        end: Any,
    ) -> pd.DataFrame:
        """Return tensorQTL's table of some rows, which belong to these genes (needs pandas)."""
        import pandas as pd

        marker = np.asarray(self.marker)[rows]
        columns = {name: np.asarray(getattr(self, name))[rows] for name in COLUMNS}
        first = {name: columns.pop(name) for name in COLUMNS[:5]}
        first["variant_id"] = names_at(names.markers, marker)
        table = pd.DataFrame(first | distances(genes, marker, position, start, end) | columns)
        table.index = pd.Index(names_at(names.genes, genes), name="phenotype_id")
        return table


class Names(NamedTuple):
    """Names of genes and markers, or None."""

    genes: tuple[str, ...] | None
    markers: tuple[str, ...] | None


def distances(
    gene: np.ndarray, marker: np.ndarray, position: Any, start: Any, end: Any
) -> dict[str, np.ndarray]:
    """Base pairs from the start and the end of a gene to a marker, where these are given."""
    return {
        name: np.asarray(position)[marker] - np.asarray(places)[gene]
        for name, places in (("start_distance", start), ("end_distance", end))
        if places is not None
    }


COLUMNS = (
    "num_var",
    "beta_shape1",
    "beta_shape2",
    "true_df",
    "pval_true_df",
    "ma_samples",
    "ma_count",
    "af",
    "pval_nominal",
    "slope",
    "slope_se",
    "pval_perm",
    "pval_beta",
    "log10p",
    "lod",
    "hsq",
    "n",
)
"""Columns of tables of best markers, tensorQTL's before our own."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CisResult(BestMarkers):
    """The best marker near each of m genes: the fields of `BestMarkers`, of shape (m,), and these.

    Attributes
    ----------
    reasons : tuple of str
        Why a gene has no test; empty where it has, or where no marker is near.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    reasons: tuple[str, ...] = field(metadata={"static": True})
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    def to_pandas(
        self, *, position: Any = None, start: Any = None, end: Any = None
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a gene that has a test (needs pandas).

        Parameters
        ----------
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        tested = np.flatnonzero(np.asarray(self.marker) >= 0)
        names = Names(self.traits, self.markers)
        return self.table(tested, tested, names, position, start, end)


@in_float64
def map_cis(
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    window: Any,
    permutations: int = 10_000,
    seed: int = 0,
    maf_threshold: float = 0.0,
    chromosome: Any = None,
    weights: Any = None,
    reml: bool = True,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    dtype: str = "float32",
) -> CisResult:
    """Find the best marker near each gene, with p-values by permutation (tensorQTL's ``cis``).

    Parameters
    ----------
    K, Y, G, X, chromosome, weights, clip_negative, scale_kinship, tol
        As in `scan`; G with one column a marker. A kinship that leaves the gene's chromosome out
        comes as a dict, as in `scan`.
    window : (m, 2) array of int
        For each gene (trait) its first marker and the one after its last, as `cis_windows` makes
        them.
    permutations : int
        How many. The order of the individuals in each depends on ``seed`` and the number observed
        alone, so that genes may be mapped a chromosome at a time.
    seed : int
        Seed of the permutations.
    maf_threshold : float
        Markers whose minor allele is rarer among the individuals observed are left out.
    reml : bool
        Likelihood that estimates the heritabilities.
    dtype : "float32" or "float64"
        Precision of the products with permuted residuals. All else is in double precision.

    Returns
    -------
    CisResult

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Phenotypes of relatives are not exchangeable. What is permuted are the n - p residuals of the
    null model, rotated and divided by their standard deviations at the gene's own h². FastQTL's
    beta approximation is Ongen et al. 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=3, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 90)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7, 40, 80]]
    >>> window = np.array([[0, 30], [30, 60], [50, 90]])
    >>> result = lmm.map_cis(
    ...     cohort.kinship, Y, G, cohort.covar, window=window, permutations=100
    ... )
    >>> print(result.marker, result.num_var, result.pval_perm.round(4))
    [ 7 40 80] [30 30 40] [0.0099 0.0099 0.0099]
    """
    check_permutations(permutations, dtype)
    data = cis_data(K, Y, G, X, weights, chromosome, clip_negative, scale_kinship)
    check_options(tol, NO_PRIOR)
    m, p = len(data.counts), data.design.shape[1]
    windows = as_windows(window, m, data.genotypes.markers)
    method = Method("null", "wald", 1, "float64", tol)
    status = status_of_counts(data.counts, p)
    found = {name: np.full(m, np.nan) for name in COLUMNS}
    marker = np.full(m, -1)
    for name in ("num_var", "ma_samples", "ma_count"):
        found[name] = np.zeros(m, dtype=np.int64)
    found["n"] = data.counts
    for near, of_genes in best_markers(
        data, windows, method, Options(reml=reml), permutations, seed, maf_threshold, dtype
    ):
        status[near.genes], found["hsq"][near.genes] = near.status, near.hsq
        marker[of_genes.genes] = of_genes.marker
        for name, values in of_genes.columns.items():
            found[name][of_genes.genes] = values
    status[marker >= 0] = Status.OK  # tested, even where K does not identify a heritability
    return CisResult(
        marker,
        **found,
        reasons=reasons_of(status, data.covariates),
        markers=data.genotypes.names,
        traits=data.traits,
    )


class Fits(NamedTuple):
    """Genes (T,) that were fitted without markers, with their status and heritability."""

    genes: np.ndarray
    status: np.ndarray
    hsq: np.ndarray


def best_markers(
    data: ScanData,
    windows: np.ndarray,
    method: Method,
    options: Options,
    permutations: int,
    seed: int,
    maf_threshold: float,
    dtype: str,
    wanted: np.ndarray | None = None,
) -> Iterator[tuple[Fits, BestNearby]]:
    """Best markers of some neighbouring genes after the others, as in `neighbourhoods`."""
    for engine, _, genes in engines(data, windows, options, method.tol):
        status = np.zeros(len(windows), dtype=int)
        for group in engine.groups(data.values, genes):
            used = group.traits >= 0
            status[group.traits[used]] = np.asarray(group.fit.status)[used]
            for near in neighbourhoods(
                data, windows, group, method, maf_threshold=maf_threshold, wanted=wanted
            ):
                here = near.genes >= 0
                genes = near.genes[here]
                fits = Fits(genes, status[genes], np.asarray(near.block.hsq)[here])
                yield fits, best_nearby(near, method, permutations, seed, dtype)


def check_permutations(permutations: int, dtype: str) -> None:
    """Refuse too few permutations and unknown types."""
    if permutations < FEWEST_PERMUTATIONS:
        raise ValueError(
            f"permutations must be at least {FEWEST_PERMUTATIONS}, got {permutations}."
        )
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}.")


def cis_data(
    K: Any,
    Y: Any,
    G: Any,
    X: Any,
    weights: Any,
    chromosome: Any,
    clip_negative: bool,
    scale_kinship: bool,
    interacting: Labelled = NOTHING,
) -> ScanData:
    """Check what every function of this kind takes."""
    data = scan_data(
        Y, G, X, weights, None, K, chromosome, clip_negative, scale_kinship, interacting
    )
    if data.genotypes.columns > 1:
        raise ValueError(
            f"G must have one column a marker here, got {data.genotypes.columns}: use scan for "
            "markers of several."
        )
    return data


def pairs_nearby(near: Neighbourhood, method: Method) -> Pairs:
    """Statistics (S, T) of pairs; NaN where a marker is in no gene's window."""
    S = near.kept.size
    kept = All(S, near.genes.size, method)
    used = np.flatnonzero(near.inside().any(axis=1))
    width = min(FEWEST_MARKERS, S)
    for part in np.unique(used // width):
        some = slice(part * width, (part + 1) * width)
        kept.add(np.arange(some.start, some.stop), near.markers.part(some), near.block)
    return kept.pairs()[0]


def names_at(names: tuple[str, ...] | None, numbers: np.ndarray) -> np.ndarray:
    """Names where there are any, numbers otherwise."""
    return numbers if names is None else np.asarray(names, dtype=object)[numbers]


class BestNearby(NamedTuple):
    """Genes that have a test, their best markers, and columns of `CisResult`."""

    genes: np.ndarray
    marker: np.ndarray
    columns: dict[str, np.ndarray]


def best_nearby(
    near: Neighbourhood, method: Method, permutations: int, seed: int, dtype: str
) -> BestNearby:
    """Best markers of some genes, with p-values by permutation."""
    pairs = pairs_nearby(near, method)
    tested: np.ndarray = near.inside() & np.isfinite(pairs.lod)
    genes = np.flatnonzero(tested.any(axis=0))
    top = np.where(tested, pairs.lod, -1.0).argmax(axis=0)
    best = Pairs(*(None if x is None else x[top, np.arange(top.size)] for x in pairs))
    share = np.asarray(-np.expm1(-best.lod * 2 * LN10 / near.block.n))
    permuted = permuted_shares(near, tested, permutations, seed, dtype)
    fitted = beta_approximation(permuted, share, float(near.block.traits.dof) - 1)
    alleles = allele_statistics(near.dosages[:, np.minimum(top, near.size - 1)])
    columns = {
        **fitted._asdict(),
        **alleles._asdict(),
        "num_var": tested.sum(axis=0),
        "slope": best.beta,
        "slope_se": best.se,
        "pval_nominal": 10**-best.log10p,
        "log10p": best.log10p,
        "lod": best.lod,
    }
    return BestNearby(
        near.genes[genes],
        near.first + top[genes],
        {name: values[genes] for name, values in columns.items()},
    )


def permuted_shares(
    near: Neighbourhood,
    tested: np.ndarray,
    permutations: int,
    seed: int,
    dtype: str,
) -> np.ndarray:
    """Largest share of residual variance that any marker explains in each permutation (T, P).

    ``tested`` (S, T) says which pairs count.
    """
    Kva = near.pattern.projection.Kva[0]
    inverse, residuals, weights = _standardised(
        near.markers, near.block.traits, Kva, near.block.hsq, tested, dtype=dtype
    )
    values = near.markers.values[0].astype(dtype)
    some = tested.any(axis=0)
    start, stop = (np.where(some, x, 0) for x in (near.start, near.stop))
    real = int(near.block.traits.dof)
    found = [
        np.asarray(_largest_shares(values, inverse, residuals, weights, orders, start, stop))
        for orders in _orders(real, Kva.size, permutations, seed)
    ]
    return np.concatenate(found, axis=1)[:, :permutations].astype(np.float64)


@lru_cache(maxsize=8)
def _orders(real: int, size: int, permutations: int, seed: int) -> np.ndarray:
    """Permutations (C, width, size) of the first ``real`` elements, the others being padding.

    They come in C parts of one width; those beyond the number asked for repeat the first.
    """
    parts = -(-permutations // PERMUTATIONS_AT_ONCE)
    width = -(-permutations // parts)
    return np.resize(permuted(real, size, permutations, seed), (parts, width, size))


@partial(jax.jit, static_argnames="dtype")
def _standardised(
    markers: Markers, traits: Traits, Kva: Array, hsq: Array, tested: Array, *, dtype: str
) -> tuple[Array, Array, Array]:
    """What permutations need, in any precision.

    1/d of each pair (S, T), zero where there is no test; and for each gene (T, q) its whitened
    residuals, scaled to squares that sum to 1, and the square roots of the weights.
    """
    h = jnp.where(jnp.isnan(hsq), 0.0, hsq)
    roots = 1 / jnp.sqrt(h * Kva[:, None] + (1 - h))
    d = markers.squares[0, 0] @ traits.weights
    inverse = jnp.where(tested, 1 / jnp.where(tested, d, 1.0), 0.0)
    residuals = traits.weighted / roots / jnp.sqrt(traits.rss)
    return inverse.astype(dtype), residuals.T.astype(dtype), roots.T.astype(dtype)


@jax.jit
def _largest_shares(
    values: Array,
    inverse: Array,
    residuals: Array,
    roots: Array,
    orders: Array,
    start: Array,
    stop: Array,
) -> Array:
    """Largest share (T, P) of genes in orders (P, q) of their residuals.

    Blocks of the markers (S, q) of a gene's window are multiplied by all permutations of the gene,
    and only the maxima of their products kept.
    """
    S, q = values.shape
    width = min(FEWEST_MARKERS, S)

    def of_gene(gene: Array) -> Array:
        permuted = residuals[gene][orders] * roots[gene]
        own = inverse[:, gene]

        def add(k: Any, largest: Array) -> Array:
            begin = jnp.minimum(start[gene] + k * width, S - width)
            block = lax.dynamic_slice(values, (begin, 0), (width, q))
            scale = lax.dynamic_slice(own, (begin,), (width,))
            product = jnp.matmul(permuted, block.T, precision=lax.Precision.HIGHEST)
            return jnp.maximum(largest, jnp.max(product**2 * scale, axis=1))

        blocks = -(-(stop[gene] - start[gene]) // width)
        return lax.fori_loop(0, blocks, add, jnp.zeros(len(orders), values.dtype))

    return lax.map(of_gene, jnp.arange(start.size))
