"""Every pair of a gene and a marker near it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lmmlite_jax.mapping.association import Markers, Traits, effects_of_block
from lmmlite_jax.mapping.cis import cis_data, distances, names_at, pairs_nearby
from lmmlite_jax.mapping.collect import Method
from lmmlite_jax.mapping.scan import ScanData
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.mapping.windows import (
    FEWEST_MARKERS,
    Neighbourhood,
    allele_statistics,
    as_windows,
    common,
    engines,
    neighbourhoods,
)
from lmmlite_jax.model.engine import make_engine
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.inputs import as_covariates, collinear_column
from lmmlite_jax.model.precision import each_in_float64

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CisInteractions", "CisPairs", "map_cis_interaction", "map_cis_nominal"]

LN10 = float(np.log(10))


@dataclass(frozen=True)
class _Pairs:
    """What tables of pairs have in common: fields are columns, except for names."""

    genes: np.ndarray
    gene: np.ndarray
    marker: np.ndarray
    af: np.ndarray
    ma_samples: np.ndarray
    ma_count: np.ndarray

    def to_pandas(
        self,
        *,
        traits: tuple[str, ...] | None = None,
        markers: tuple[str, ...] | None = None,
        position: Any = None,
        start: Any = None,
        end: Any = None,
    ) -> pd.DataFrame:
        """Return tensorQTL's table, one row a pair (needs pandas).

        Parameters
        ----------
        traits, markers : tuple of str, optional
            Names; numbers where left out.
        position, start, end : (M,), (m,), (m,), optional
            Positions of the markers and of the genes, for the columns ``start_distance`` and
            ``end_distance``.
        """
        import pandas as pd

        columns = {
            "phenotype_id": names_at(traits, self.gene),
            "variant_id": names_at(markers, self.marker),
            **distances(self.gene, self.marker, position, start, end),
        }
        for item in fields(self)[3:]:
            columns[item.name] = getattr(self, item.name)
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class CisPairs(_Pairs):
    """Pairs of genes and markers near them, by gene and marker; names are tensorQTL's.

    Attributes
    ----------
    genes : (genes,)
        Numbers of the genes (columns of Y) that were mapped.
    gene, marker : (pairs,)
        Numbers of the gene and the marker.
    af, ma_samples, ma_count : (pairs,)
        Of the marker among the individuals observed: frequency of the counted allele, carriers of
        the minor allele, and its copies.
    pval_nominal, log10p : (pairs,)
        p-value of the test, and its -log10, which does not underflow. NaN, like the effects, for a
        marker that is monomorphic or in the span of the covariates.
    slope, slope_se : (pairs,)
        Effect of a copy of the counted allele, in the trait's units, and its standard error.
    lod : (pairs,)
        LOD score.
    hsq : (pairs,)
        Heritability: the gene's without marker, or with ``variance="refit"`` the pair's.
    n : (pairs,)
        Individuals observed.
    """

    pval_nominal: np.ndarray
    slope: np.ndarray
    slope_se: np.ndarray
    log10p: np.ndarray
    lod: np.ndarray
    hsq: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class CisInteractions(_Pairs):
    """Pairs of genes and markers near them, tested for an interaction; names are tensorQTL's.

    Attributes
    ----------
    genes, gene, marker, af, ma_samples, ma_count
        As in `CisPairs`.
    pval_g, b_g, b_g_se, pval_i, b_i, b_i_se, pval_gi, b_gi, b_gi_se : (pairs,)
        p-value, effect and standard error of the marker g, the interacting covariate i and their
        product g·i, all in one model.
    log10p_gi, lod_gi : (pairs,)
        -log10 p and LOD score of the product.
    hsq : (pairs,)
        The gene's heritability without marker.
    n : (pairs,)
        Individuals observed.
    """

    pval_g: np.ndarray
    b_g: np.ndarray
    b_g_se: np.ndarray
    pval_i: np.ndarray
    b_i: np.ndarray
    b_i_se: np.ndarray
    pval_gi: np.ndarray
    b_gi: np.ndarray
    b_gi_se: np.ndarray
    log10p_gi: np.ndarray
    lod_gi: np.ndarray
    hsq: np.ndarray
    n: np.ndarray


def map_cis_nominal(
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    window: Any,
    variance: str = "null",
    test: str = "wald",
    maf_threshold: float = 0.0,
    chromosome: Any = None,
    weights: Any = None,
    reml: bool = True,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    wanted: Any = None,
) -> Iterator[CisPairs]:
    """Test every gene with every marker near it (tensorQTL's ``cis_nominal``).

    Parameters
    ----------
    K, Y, G, X, window, chromosome, weights, clip_negative, scale_kinship, tol
        As in `map_cis`.
    variance, test, reml
        As in `scan`: heritability estimated without markers, or again for every pair.
    maf_threshold : float
        Pairs with a marker whose minor allele is rarer among the individuals observed are left
        out.
    wanted : (m,) array of bool, optional
        Genes that are still to be mapped; all by default. What is computed for them is the same.

    Yields
    ------
    CisPairs
        The pairs of some genes, whose numbers and order follow from the windows and the pattern of
        missing values. Each gene comes once, unless it has no marker or too few individuals.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 5)).astype(float)
    >>> window = np.array([[0, 3], [2, 5]])
    >>> for pairs in lmm.map_cis_nominal(cohort.kinship, cohort.pheno, G, window=window):
    ...     print(pairs.to_pandas()[["phenotype_id", "variant_id", "slope", "n"]].round(2))
       phenotype_id  variant_id  slope    n
    ...
    """
    data = _data(K, Y, G, X, weights, chromosome, clip_negative, scale_kinship)
    windows = as_windows(window, len(data.counts), data.genotypes.markers)
    if variance not in ("null", "refit"):
        raise ValueError(f"variance must be 'null' or 'refit', got {variance!r}.")
    tests = ("wald", "lrt", "score") if variance == "null" else ("wald", "lrt")
    if test not in tests:
        raise ValueError(f"test must be one of {', '.join(tests)} here, got {test!r}.")
    check_options(tol, NO_PRIOR)
    method = Method(variance, test, 1, "float64", tol)
    options = Options(reml=test == "wald" if variance == "refit" else reml)

    def batches() -> Iterator[CisPairs]:
        for engine, _, genes in engines(data, windows, options, tol):
            for group in engine.groups(data.values, genes):
                for near in neighbourhoods(
                    data, windows, group, method, maf_threshold=maf_threshold, wanted=wanted
                ):
                    yield _pairs_of(near, method)

    return each_in_float64(batches())


def map_cis_interaction(
    K: Any,
    Y: Any,
    G: Any,
    interaction: Any,
    X: Any = None,
    *,
    window: Any,
    maf_threshold_interaction: float = 0.05,
    chromosome: Any = None,
    weights: Any = None,
    reml: bool = True,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    wanted: Any = None,
) -> Iterator[CisInteractions]:
    """Test whether effects of markers near a gene depend on a covariate (``--interaction``).

    The model has the covariates, the marker g, the interacting covariate i and their product g·i;
    each of the three gets a t test with n - p - 3 degrees of freedom.

    Parameters
    ----------
    K, Y, G, X, window, chromosome, weights, reml, clip_negative, scale_kinship, tol
        As in `map_cis`.
    interaction : (n,)
        The interacting covariate, which is not in X.
    maf_threshold_interaction : float
        Markers whose minor allele is rarer in either half of the individuals observed, below or
        above the median of the interacting covariate, are left out.
    wanted : (m,) array of bool, optional
        Genes that are still to be mapped, as in `map_cis_nominal`.

    Yields
    ------
    CisInteractions
        The pairs of some genes, as from `map_cis_nominal`.

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Heritabilities are estimated with i among the covariates and without marker.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=1, seed=1)
    >>> rng = np.random.default_rng(1)
    >>> G, e = rng.binomial(2, 0.3, (200, 4)).astype(float), rng.standard_normal(200)
    >>> Y = cohort.pheno + 30 * G[:, [2]] * e[:, None]
    >>> (pairs,) = lmm.map_cis_interaction(cohort.kinship, Y, G, e, window=np.array([[0, 4]]))
    >>> print(pairs.log10p_gi.argmax(), pairs.b_gi[2].round())
    2 30.0
    """
    term = as_covariates(interaction, len(Y))
    data = _data(K, Y, G, X, weights, chromosome, clip_negative, scale_kinship, term)
    windows = as_windows(window, len(data.counts), data.genotypes.markers)
    check_options(tol, NO_PRIOR)
    e = term.values
    if e.shape[1] != 1:
        raise ValueError(f"interaction must be one covariate, got {e.shape[1]}.")
    with_e = data._replace(design=np.column_stack([data.design, e]))
    if collinear_column(with_e.design) is not None:
        raise ValueError(
            "interaction is a linear combination of the covariates: leave it out of X, where it "
            "joins by itself."
        )
    method = Method("null", "wald", 3, "float64", tol)
    options = Options(reml=reml)

    def batches() -> Iterator[CisInteractions]:
        for engine, sample, genes in engines(with_e, windows, options, tol):
            # The marker's columns include i; the heritability is that of the model with i.
            without = make_engine(sample._replace(X=data.design), options, tol=tol)
            for fitted, group in zip(
                engine.groups(data.values, genes), without.groups(data.values, genes), strict=True
            ):
                group = group._replace(fit=fitted.fit)
                for near in neighbourhoods(
                    data, windows, group, method, interaction=e[:, 0], wanted=wanted
                ):
                    yield _interactions_of(near, e[near.members, 0], maf_threshold_interaction)

    return each_in_float64(batches())


def _data(*arguments: Any) -> ScanData:
    with jax.enable_x64(True):
        return cis_data(*arguments)


def _pairs_of(near: Neighbourhood, method: Method) -> CisPairs:
    """Statistics of the pairs in some windows."""
    pairs = pairs_nearby(near, method)
    gene, marker = np.nonzero(near.inside().T)
    hsq = pairs.hsq[marker, gene] if pairs.hsq is not None else np.asarray(near.block.hsq)[gene]
    log10p = pairs.log10p[marker, gene]
    return CisPairs(
        **_identity(near, gene, marker),
        pval_nominal=10**-log10p,
        slope=pairs.beta[marker, gene],
        slope_se=pairs.se[marker, gene],
        log10p=log10p,
        lod=pairs.lod[marker, gene],
        hsq=hsq,
        n=np.full(gene.size, int(near.block.n)),
    )


def _identity(near: Neighbourhood, gene: np.ndarray, marker: np.ndarray) -> dict[str, np.ndarray]:
    alleles = allele_statistics(near.dosages)
    return {
        "genes": near.genes[near.genes >= 0],
        "gene": near.genes[gene],
        "marker": near.first + marker,
        **{name: values[marker] for name, values in alleles._asdict().items()},
    }


def _interactions_of(near: Neighbourhood, e: np.ndarray, threshold: float) -> CisInteractions:
    """Statistics of the pairs in some windows whose markers vary in both halves."""
    upper = np.ones(e.size, dtype=bool)
    upper[np.argsort(e, kind="stable")[: e.size // 2]] = False
    kept = np.zeros_like(near.kept)
    kept[: near.size] = np.ptp(near.dosages, axis=0) > 0
    for half in (upper, ~upper):
        kept[: near.size] &= common(near.dosages[half], threshold)
    near = near._replace(kept=kept)
    inside = near.inside()
    gene, marker = np.nonzero(inside.T)
    statistics = np.full((4, *inside.shape, 3), np.nan)
    for start in range(0, kept.size, FEWEST_MARKERS):
        some = slice(start, start + FEWEST_MARKERS)
        if inside[some].any():
            block = near.markers.part(some)
            statistics[:, some] = _each_coefficient(block, near.block.traits, near.block.n)
    beta, se, log10p, lod = (values[marker, gene].T for values in statistics)
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(("i", "g", "gi")):
        columns |= {f"pval_{name}": 10 ** -log10p[i], f"b_{name}": beta[i], f"b_{name}_se": se[i]}
    return CisInteractions(
        **_identity(near, gene, marker),
        **columns,
        log10p_gi=log10p[2],
        lod_gi=lod[2],
        hsq=np.asarray(near.block.hsq)[gene],
        n=np.full(gene.size, int(near.block.n)),
    )


@jax.jit
def _each_coefficient(markers: Markers, traits: Traits, n: Any) -> Any:
    """Effects, standard errors, -log10 p and LOD of three columns, (4, B, T, 3)."""
    effects = effects_of_block(markers, traits)
    df = traits.dof - 3
    together = (effects.rank == 3)[..., None]
    ratio = jnp.where(together, (effects.beta / effects.se) ** 2 / df, jnp.nan)
    alive = jnp.isfinite(ratio)
    return jnp.stack(
        [
            jnp.where(alive, effects.beta, jnp.nan),
            jnp.where(alive, effects.se, jnp.nan),
            log10p_f(ratio, 1, df),
            n / 2 * jnp.log1p(ratio) / LN10,
        ]
    )
