"""Association of every marker with every trait in a linear mixed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.mapping.blocks import (
    Batch,
    Fits,
    batches,
    block_width,
    collect,
    every,
    markers_of_kinships,
)
from lmmlite_jax.mapping.differentiable import differentiable_scan
from lmmlite_jax.mapping.genotypes import DosageReader, Genotypes, as_genotypes
from lmmlite_jax.mapping.keep import Numbers, joined_pairs, keepers, traits_at_once
from lmmlite_jax.mapping.method import Method, check_choices
from lmmlite_jax.mapping.statistics import Pairs
from lmmlite_jax.mapping.tables import names_at
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.at_once import halved_if_full
from lmmlite_jax.model.devices import devices, spread
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.result import reasons_of
from lmmlite_jax.model.trait_block import blocks_on

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ScanResult", "scan"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScanResult:
    """Effects of markers on traits, and their tests.

    Attributes
    ----------
    beta, se : (M, m), (M, m, k), or as ``marker`` says
        Effects and standard errors, NaN where there is no test: a monomorphic marker, one in the
        span of the covariates, a trait without a fit, a pair whose likelihood has no maximum.
        A standard error takes h² as known; with ``variance="refit"`` the p-value does not.
    lod, log10p : (M, m), or as ``marker`` says
        LOD score and -log10 p of the test asked for.
    hsq : (m,), (C, m) or (M, m)
        Heritability of each trait without marker, for each of C chromosomes where they have
        kinships of their own; of each pair for ``variance="refit"`` (as ``marker`` says).
    marker, trait : (m,), or (hits,) both, or None
        With ``keep="best"``, each trait's best marker (-1 without one), and all of the above have
        one row a trait; with a threshold, the marker and the trait of every hit, in order.
    n, dof : (m,)
        Individuals observed, and those less the covariates.
    missing : (M,)
        Genotypes that were missing and replaced by the marker's mean.
    reasons : tuple of str
        Why a trait has no tests; empty where it has. None inside a trace.
    markers, traits : tuple of str or None
        Names, where data frames came in.
    """

    beta: Float[AnyArray, "*columns"]
    se: Float[AnyArray, "*columns"]
    lod: Float[AnyArray, "*pairs"]
    log10p: Float[AnyArray, "*pairs"]
    hsq: Float[AnyArray, "*fits"]
    marker: Int[AnyArray, " kept"] | None
    trait: Int[AnyArray, " kept"] | None
    n: Int[AnyArray, " m"]
    dof: Int[AnyArray, " m"]
    missing: Int[AnyArray, " M"]
    reasons: tuple[str, ...] = field(metadata={"static": True})
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    @in_float64
    def log10p_columns(self) -> AnyArray:
        """-log10 p of each column's own effect, shaped like ``beta``: Wald's F test given the rest.

        With ``interaction``, the tests of g and of g·e, where ``log10p`` tests both. h² is taken
        as known.
        """
        beta, se, log10p = (jnp.asarray(x) for x in (self.beta, self.se, self.log10p))
        several = beta.ndim > log10p.ndim
        rank = jnp.isfinite(beta).sum(-1) if several else 1
        dof = jnp.asarray(self.dof if self.trait is None else np.asarray(self.dof)[self.trait])
        left = jnp.broadcast_to(dof - rank, log10p.shape).astype(float)
        left = left[..., None] if several else left
        return log10p_f((beta / se) ** 2 / left, 1, left)

    def to_pandas(self) -> pd.DataFrame:
        """Return a long table, one row a pair (needs pandas, in the extra ``io``)."""
        import pandas as pd

        M, m = len(self.missing), len(self.n)
        if self.marker is None:
            marker, trait = (x.ravel() for x in np.indices((M, m)))
        elif self.trait is None:
            marker, trait = np.asarray(self.marker), np.arange(m)
        else:
            marker, trait = np.asarray(self.marker), np.asarray(self.trait)
        columns: dict[str, np.ndarray] = {
            "marker": names_at(self.markers, marker),
            "trait": names_at(self.traits, trait),
            "n": np.asarray(self.n)[trait],
        }
        for name in ("beta", "se"):
            values = np.asarray(getattr(self, name))
            if values.ndim == np.ndim(self.lod):
                columns[name] = values.ravel()
            else:
                columns |= {f"{name}_{i}": values[..., i].ravel() for i in range(values.shape[-1])}
        columns["lod"] = np.asarray(self.lod).ravel()
        columns["log10p"] = np.asarray(self.log10p).ravel()
        return pd.DataFrame(columns)


@in_float64
def scan(
    null: NullModel,
    G: ArrayOrFrame | DosageReader,
    *,
    variance: str = "null",
    test: str = "wald",
    asymptotic: bool = False,
    keep: str | float = "all",
    chromosome: ArrayOrFrame | None = None,
    interaction: ArrayOrFrame | None = None,
) -> ScanResult:
    """Test every marker for association with every trait.

    Parameters
    ----------
    null : NullModel
        Kinship, traits and covariates. Each trait is tested in the individuals observed for it.
    G : (n, M) or (n, M, k) array or data frame
        Dosages; or k columns a marker, such as founder probabilities, tested together. Columns
        that others span are left out of a test (the last of 8 founder probabilities). NaN, and
        -127 in int8, is replaced by the marker's mean.
    variance : "null" or "refit"
        Heritability of each trait estimated once, without markers (EMMAX, FaST-LMM, R/qtl2); or
        again for every pair (GEMMA). The likelihood is the null model's for "null"; for "refit" the
        test decides. ML underestimates variances where covariates are
        many, and all tests then reject too often.
    test : "wald", "lrt" or "score"
        With ``variance="null"`` three statistics of the same share of variance, and hence one
        p-value: that of the F test given h². With "refit" the effect at the REML maximum (F test
        of Kenward and Roger), or the ratio of restricted likelihoods, in which the covariates have
        no part, with and without the marker ("lrt", with Bartlett's correction).
    asymptotic : bool
        GEMMA's p-values instead, by laws that hold for many individuals and few covariates: with
        40 covariates and 100 individuals "lrt" rejects 13 to 15% of true hypotheses at 5%. "lrt"
        is then χ² of n log(rss₀/rss₁), or with "refit" of full likelihoods (ML); "score" is F with
        1 and n - p - 1 degrees of freedom of n times the share (GEMMA's own with a null model of
        ``reml=False``); "wald" is as before, or with "refit" F with n - p - 1 degrees of freedom.
    keep : "all", "best" or float
        Everything; the most significant marker of each trait; or the pairs with -log10 p at least
        this.
        The last two never hold M × m numbers.
    chromosome : (M,), optional
        Chromosome of each marker, for a dict of kinships.
    interaction : (n,), optional
        A covariate e whose product with each marker is tested with the marker: ``beta`` has the
        columns g and g·e, and the test is of both; `ScanResult.log10p_columns` tests each. e must
        be among the covariates of the null model.

    Returns
    -------
    ScanResult

    Raises
    ------
    ValueError
        If an argument cannot be used.

    Notes
    -----
    Inside a trace, all statistics are differentiable in Y, X and G, forward and reverse, for
    complete Y, ``variance="null"`` and ``keep="all"``; K is known.

    Lippert et al. 2011 and Kang et al. 2010 for h² under the null, Zhou and Stephens 2012 for
    "refit", Kenward and Roger 1997 and Zucker, Lieberman and Manor 2000 for its p-values. LOD is
    n/2 log10(rss₀/rss₁), and for "lrt" of a refit the gain in log10 likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=4, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 50)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7]]
    >>> result = lmm.scan(lmm.NullModel(cohort.kinship, Y, cohort.covar), G, keep="best")
    >>> print(result.marker, result.log10p.shape)
    [7 7 7 7] (4,)
    """
    genotypes = as_genotypes(G, null, interaction)
    check_choices(variance, test, keep)
    every_column = genotypes.columns
    if not (null.is_traced or is_traced(G, interaction)):
        genotypes = genotypes.independent(null.design)
    method = Method(variance, test, genotypes.columns, null.dtype, null.tol, asymptotic)
    served = markers_of_kinships(null, chromosome, genotypes.markers)
    if null.is_traced or is_traced(G, interaction):
        if keep != "all":
            raise ValueError(f"inside a trace keep must be 'all', got {keep!r}.")
        return _scan_inside_trace(null, genotypes, served, method)
    null = null.with_likelihood(reml=method.reml(null.reml))
    fits, kept, missing = halved_if_full(lambda: _search(keep, null, genotypes, served, method))
    pairs, marker, trait = kept
    of_traits = fits.hsq if null.chromosomes else fits.hsq[0]
    return ScanResult(
        beta=_with_columns(pairs.beta, every_column),
        se=_with_columns(pairs.se, every_column),
        lod=pairs.lod,
        log10p=pairs.log10p,
        hsq=of_traits if pairs.hsq is None else pairs.hsq,
        marker=marker,
        trait=trait,
        n=null.counts,
        dof=null.counts - null.parameters,
        missing=missing,
        reasons=reasons_of(fits.status, null.covariates, null.p),
        markers=genotypes.names,
        traits=null.traits,
    )


def _search(
    keep: str | float,
    null: NullModel,
    genotypes: Genotypes,
    served: Sequence[tuple[str, Int[np.ndarray, " _"]]],
    method: Method,
) -> tuple[Fits, tuple[Pairs, Numbers, Numbers], Int[np.ndarray, " M"]]:
    """Fits of the traits, what is kept of all pairs, and the missing genotypes of each marker."""
    count = len(devices())
    kept = keepers(count, keep, genotypes.markers, null, method)
    fits = Fits(null, len(served))
    sizes = [-(-markers.size // count) for _, markers in served]
    width = block_width(null, genotypes.columns, sizes)
    missing = np.zeros(genotypes.markers, dtype=np.int64)

    def collected(batch: Batch, device: jax.Device | None, k: int) -> Int[np.ndarray, " M"]:
        """Every so manieth block of markers."""
        pieces = every(blocks_on(batch.blocks, device), batch.markers, width)
        return collect(kept[k], genotypes, islice(pieces, k, None, count))

    most = traits_at_once(method)
    for batch in fits.note(batches(null.batches, served, most)):
        for of_part in spread(partial(collected, batch), range(count)):
            missing = np.maximum(missing, of_part)
    found = list(spread(lambda device, k: kept[k].pairs(), range(count)))
    return fits, joined_pairs(found, keep, method), missing


def _with_columns(tested: Float[AnyArray, "*some"], columns: int) -> Float[AnyArray, "*every"]:
    """NaN for a last column that was left out."""
    if columns == 1 or tested.shape[-1] == columns:
        return tested
    whole = np.full((*tested.shape[:-1], columns), np.nan)
    whole[..., :-1] = tested
    return whole


def _scan_inside_trace(
    null: NullModel,
    genotypes: Genotypes,
    served: Sequence[tuple[str, np.ndarray]],
    method: Method,
) -> ScanResult:
    """Differentiable in Y, X and G; what is not known inside of a trace is refused."""
    if method.variance != "null" or method.dtype != "float64":
        raise ValueError("inside a trace a scan has variance='null' and dtype='float64' alone.")
    if null.is_paired.any():
        raise ValueError("inside a trace a null model has no paired_covariates: leave them out.")
    if np.any(null.counts < null.n):
        raise ValueError("inside a trace Y must be complete: leave out individuals or traits.")
    G, missing = genotypes.whole()
    parts = [differentiable_scan(null, label, G[:, markers], method) for label, markers in served]
    order = np.argsort(np.concatenate([markers for _, markers in served]))
    pairs = jax.tree.map(
        lambda *of_parts: jnp.concatenate(of_parts)[order], *(pairs for _, pairs in parts)
    )
    hsq = [fit.hsq for fit, _ in parts]
    return ScanResult(
        beta=pairs.beta,
        se=pairs.se,
        lod=pairs.lod,
        log10p=pairs.log10p,
        hsq=jnp.stack(hsq) if null.chromosomes else hsq[0],
        marker=None,
        trait=None,
        n=null.counts,
        dof=null.counts - null.p,
        missing=missing,
        reasons=(),
        markers=genotypes.names,
        traits=null.traits,
    )
