"""Effects of markers near genes that depend on a covariate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from lmmlite_jax.mapping.alleles import common
from lmmlite_jax.mapping.cis.near import (
    Neighbourhood,
    as_windows,
    each_neighbourhood,
)
from lmmlite_jax.mapping.cis.pairs import NearbyPairs, identity_of
from lmmlite_jax.mapping.effects import effects_of_block
from lmmlite_jax.mapping.genotypes import DosageReader, as_dosages, interacting_columns
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.tested_traits import Traits

__all__ = ["CisInteractions", "map_cis_interaction"]


@dataclass(frozen=True)
class CisInteractions(NearbyPairs):
    """Pairs of genes and markers near them, tested for an interaction; names are tensorQTL's.

    Attributes
    ----------
    genes, gene, marker, af, ma_samples, ma_count, markers, traits
        As in `CisPairs`.
    pval_g, b_g, b_g_se, pval_i, b_i, b_i_se, pval_gi, b_gi, b_gi_se : (pairs,)
        p-value, effect and standard error of the marker g, the interacting covariate i and their
        product g·i, all in one model. With several covariates those of i and g·i are (pairs,
        terms).
    log10p_gi, lod_gi : (pairs,)
        -log10 p and LOD score of the product, or (pairs, terms).
    hsq : (pairs,)
        The gene's heritability without marker.
    n : (pairs,)
        Individuals observed.
    terms : tuple of str
        Names of several interacting covariates; empty for one.
    """

    pval_g: Float[np.ndarray, " pairs"]
    b_g: Float[np.ndarray, " pairs"]
    b_g_se: Float[np.ndarray, " pairs"]
    pval_i: Float[np.ndarray, "pairs *terms"]
    b_i: Float[np.ndarray, "pairs *terms"]
    b_i_se: Float[np.ndarray, "pairs *terms"]
    pval_gi: Float[np.ndarray, "pairs *terms"]
    b_gi: Float[np.ndarray, "pairs *terms"]
    b_gi_se: Float[np.ndarray, "pairs *terms"]
    log10p_gi: Float[np.ndarray, "pairs *terms"]
    lod_gi: Float[np.ndarray, "pairs *terms"]
    hsq: Float[np.ndarray, " pairs"]
    n: Int[np.ndarray, " pairs"]
    terms: tuple[str, ...]

    def columns(self) -> dict[str, Shaped[np.ndarray, " pairs"]]:
        """Columns of the table; of several covariates named by them: x and g-x in place of i, gi.

        ``ValueError`` if a covariate has a name by which two columns would be the same.
        """
        whole = super().columns()
        whole.pop("terms")
        columns = {}
        for name, values in whole.items():
            if values.ndim == 1:
                columns[name] = values
        for k, term in enumerate(self.terms):
            for name, values in whole.items():
                if values.ndim == 2:
                    own = name.replace("_gi", f"_g-{term}").replace("_i", f"_{term}")
                    if own in columns:
                        raise ValueError(
                            f"the interaction has a covariate {term!r}, by which there would be "
                            f"two columns {own}: give it another name."
                        )
                    columns[own] = values[:, k]
        return columns


def map_cis_interaction(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    windows: ArrayOrFrame,
    interaction: ArrayOrFrame,
    *,
    maf_threshold_interaction: float = 0.05,
    chromosome: ArrayOrFrame | None = None,
    wanted: ArrayOrFrame | None = None,
) -> Iterator[CisInteractions]:
    """Test whether effects of markers near a gene depend on a covariate (``--interaction``).

    The model has the covariates, one of which is the interacting covariate i, the marker g and
    their product g·i; each of the three gets a t test with n - p - 2 degrees of freedom. Several
    interacting covariates are in one model, with a product for each.

    Parameters
    ----------
    null, G, windows, chromosome
        As in `map_cis`.
    interaction : (n,) or (n, terms)
        The interacting covariates, which are among the covariates of the null model.
    maf_threshold_interaction : float
        Markers whose minor allele is rarer in either half of the individuals observed, below or
        above the median of an interacting covariate, are left out.
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
    Heritabilities are the null model's: with i among the covariates and without marker.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=200, m=1, seed=1)
    >>> rng = np.random.default_rng(1)
    >>> G, e = rng.binomial(2, 0.3, (200, 4)).astype(float), rng.standard_normal(200)
    >>> Y = cohort.pheno + 30 * G[:, [2]] * e[:, None]
    >>> null = lmm.NullModel(cohort.kinship, Y, np.column_stack([np.ones(200), e]))
    >>> (pairs,) = lmm.map_cis_interaction(null, G, np.array([[0, 4]]), e)
    >>> print(pairs.log10p_gi.argmax(), pairs.b_gi[2].round())
    2 30.0
    """
    genotypes = as_dosages(G, null)
    of_genes = as_windows(windows, null.m, genotypes.markers)
    columns = interacting_columns(null, genotypes, interaction)
    e = np.asarray(null.design)[:, columns]
    if np.any(np.ptp(e, axis=0) == 0):
        raise ValueError("interaction has a covariate that is constant: leave it out.")
    genotypes = replace(genotypes, interaction=e, with_covariate=True)
    terms = _names_of(interaction, len(columns))
    # The markers' columns include i; the heritability is that of the model with i.

    def work(near: Neighbourhood) -> CisInteractions:
        varying = _varying_in_halves(near, e, maf_threshold_interaction)
        return _interactions_of(varying, terms, genotypes.names, null.traits)

    nearby = each_neighbourhood(
        null,
        genotypes,
        of_genes,
        chromosome,
        work,
        wanted=wanted,
        batches=partial(null.without_covariates, columns),
    )
    return each_in_float64(pairs for _, pairs in nearby)


def _names_of(interaction: ArrayOrFrame, terms: int) -> tuple[str, ...]:
    """Names of several covariates."""
    if terms == 1:
        return ()
    names = getattr(interaction, "columns", [f"i{k}" for k in range(1, terms + 1)])
    return tuple(str(name) for name in names)


def _varying_in_halves(
    near: Neighbourhood, e: Float[np.ndarray, "everyone terms"], threshold: float
) -> Neighbourhood:
    """Keep the markers that are frequent enough on both sides of the median of each covariate."""
    kept = np.zeros_like(near.kept)
    kept[: near.size] = np.ptp(near.dosages, axis=0) > 0
    for observed in e[near.block.individuals.numbers].T:
        upper = np.ones(observed.size, dtype=bool)
        upper[np.argsort(observed, kind="stable")[: observed.size // 2]] = False
        for half in (upper, ~upper):
            kept[: near.size] &= common(near.dosages[half], threshold)
    return near._replace(kept=kept)


def _interactions_of(
    near: Neighbourhood,
    terms: tuple[str, ...],
    markers: tuple[str, ...] | None,
    traits: tuple[str, ...] | None,
) -> CisInteractions:
    """Statistics of the pairs in some windows."""
    inside = near.inside()
    gene, marker = np.nonzero(inside.T)
    number = max(1, len(terms))
    statistics = np.full((4, *inside.shape, 1 + 2 * number), np.nan)
    for some, markers_here in near.parts():
        found = _each_coefficient(markers_here, near.block.at_null, float(near.block.n))
        statistics[:, some] = found
    beta, se, log10p, lod = (values[marker, gene].T for values in statistics)
    i, g, gi = (slice(number), number, slice(number + 1, None)) if terms else (0, 1, 2)
    columns: dict[str, np.ndarray] = {}
    for name, at in (("i", i), ("g", g), ("gi", gi)):
        columns |= {
            f"pval_{name}": 10 ** -log10p[at].T,
            f"b_{name}": beta[at].T,
            f"b_{name}_se": se[at].T,
        }
    return CisInteractions(
        **identity_of(near, gene, marker),
        markers=markers,
        traits=traits,
        **columns,
        log10p_gi=log10p[gi].T,
        lod_gi=lod[gi].T,
        hsq=near.block.hsq[gene],
        n=np.full(gene.size, near.block.n),
        terms=terms,
    )


@jax.jit
def _each_coefficient(markers: Markers, traits: Traits, n: Array) -> Float[Array, "4 B T k"]:
    """Effects, standard errors, -log10 p and LOD of each of k columns, (4, B, T, k)."""
    effects = effects_of_block(markers, traits)
    k = len(markers.values)
    df = traits.dof - k
    together = (effects.rank == k)[..., None]
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
