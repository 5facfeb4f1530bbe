"""Association of every marker with every trait in a linear mixed model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmmlite_jax.mapping.association import Markers, marker_rotation, rotate_markers, traits_at
from lmmlite_jax.mapping.collect import All, Best, BestRefit, Block, Collector, Hits, Method
from lmmlite_jax.mapping.differentiable import differentiable_scan
from lmmlite_jax.mapping.genotypes import Genotypes, as_genotypes
from lmmlite_jax.mapping.refit import null_traits
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.engine import Group, make_engine
from lmmlite_jax.model.estimate import NO_PRIOR, Options, check_options
from lmmlite_jax.model.inputs import (
    NOTHING,
    Labelled,
    all_finite,
    as_covariates,
    as_kinship,
    as_traits,
    as_weights,
    check_same_individuals,
    collinear_column,
)
from lmmlite_jax.model.known_kinship import decompose_known
from lmmlite_jax.model.maximum import grid_points
from lmmlite_jax.model.pattern import Pattern, Sample
from lmmlite_jax.model.patterns import TRAITS_AT_ONCE
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.result import reasons_of, status_of_counts
from lmmlite_jax.model.rotation import clipped, scaled
from lmmlite_jax.model.skeleton import Skeleton

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ScanData",
    "ScanResult",
    "blocks_of_patterns",
    "check_choices",
    "markers_at_once",
    "null_models",
    "rotated_markers",
    "scan",
    "scan_data",
]

MARKERS_AT_ONCE = 512
"""Markers worked on together on a CPU: twice as many of at most `FEW_INDIVIDUALS`."""

FEW_INDIVIDUALS = 128

NUMBERS_AT_ONCE = 2**23
"""Numbers that the products of the columns of those markers may be, for all traits of a block."""

ACCELERATOR = 16
"""How many times more an accelerator works on together."""

MARKERS_OF_A_CALL = 16
"""What a block costs beside its markers, in markers."""

REFIT_TRAITS = 64
"""Traits whose pairs with a block of markers have their likelihoods maximised together."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScanResult:
    """Effects of markers on traits, and their tests.

    Attributes
    ----------
    beta, se : (M, m), (M, m, k), or as ``marker`` says
        Effects and standard errors, NaN where there is no test: a monomorphic marker, one in the
        span of the covariates, a trait without a fit.
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

    beta: AnyArray
    se: AnyArray
    lod: AnyArray
    log10p: AnyArray
    hsq: AnyArray
    marker: AnyArray | None
    trait: AnyArray | None
    n: AnyArray
    dof: AnyArray
    missing: AnyArray
    reasons: tuple[str, ...] = field(metadata={"static": True})
    markers: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    @in_float64
    def log10p_columns(self) -> AnyArray:
        """-log10 p of each column's own effect, shaped like ``beta``: Wald's F test given the rest.

        With ``interaction``, the tests of g and of g·e, where ``log10p`` tests both.
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
        columns: dict[str, Any] = {
            "marker": _named(self.markers, marker),
            "trait": _named(self.traits, trait),
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
    K: Any,
    Y: Any,
    G: Any,
    X: Any = None,
    *,
    variance: str = "null",
    test: str = "wald",
    reml: bool = True,
    keep: str | float = "all",
    chromosome: Any = None,
    weights: Any = None,
    interaction: Any = None,
    clip_negative: bool = False,
    scale_kinship: bool = False,
    tol: float = 1e-8,
    dtype: str = "float64",
) -> ScanResult:
    """Test every marker for association with every trait.

    Parameters
    ----------
    K : (n, n) array or data frame, dict of them, or None
        Kinship matrix; one for each chromosome, by its label, to leave each chromosome out of its
        own kinship (`kinship` makes them); or None for ordinary regression.
    Y : (n, m) array or data frame
        Phenotypes; NaN where missing. Each trait is tested in the individuals observed for it.
    G : (n, M) or (n, M, k) array or data frame
        Dosages; or k columns a marker, such as founder probabilities, tested together. Columns
        that others span are left out of a test (the last of 8 founder probabilities). NaN is
        replaced by the marker's mean.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    variance : "null" or "refit"
        Heritability of each trait estimated once, without markers (EMMAX, FaST-LMM, R/qtl2); or
        again for every pair (GEMMA), for markers of one column.
    test : "wald", "lrt" or "score"
        With ``variance="null"``: F test of the effects given h²; χ² test of n log(rss₀/rss₁); F
        test with the variance estimated without marker. With "refit": F test at the REML maximum;
        likelihood-ratio test of ML maxima with and without the marker.
    reml : bool
        Likelihood that estimates h² for ``variance="null"``. For "refit" the test decides.
    keep : "all", "best" or float
        Everything; the best marker of each trait; or the pairs with -log10 p at least this.
        The last two never hold M × m numbers.
    chromosome : (M,), optional
        Chromosome of each marker, for a dict of kinships.
    weights, clip_negative, scale_kinship, tol, dtype
        As in `fit_traits`.
    interaction : (n,), optional
        A covariate e whose product with each marker is tested with the marker: ``beta`` has the
        columns g and g·e, and the test is of both; `ScanResult.log10p_columns` tests each. e joins
        the covariates if it is not there.

    Returns
    -------
    ScanResult

    Raises
    ------
    ValueError
        If an argument cannot be used, as in `fit_traits`.

    Notes
    -----
    Inside a trace, all statistics are differentiable in Y, X and G, forward and reverse, for
    complete Y, ``variance="null"`` and ``keep="all"``; K is known.

    Lippert et al. 2011 and Kang et al. 2010 for h² under the null, Zhou and Stephens 2012 for
    "refit". LOD is n/2 log10(rss₀/rss₁), and for "lrt" of a refit the gain in log likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=4, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 50)).astype(float)
    >>> Y = cohort.pheno + 20 * G[:, [7]]
    >>> result = lmm.scan(cohort.kinship, Y, G, cohort.covar, keep="best")
    >>> print(result.marker, result.log10p.shape)
    [7 7 7 7] (4,)
    """
    data = scan_data(Y, G, X, weights, interaction, K, chromosome, clip_negative, scale_kinship)
    check_choices(variance, test, keep, dtype, data.genotypes.columns)
    check_options(tol, NO_PRIOR)
    method = Method(variance, test, data.genotypes.columns, dtype, tol)
    if is_traced(K, Y, G, X, weights, interaction):
        if keep != "all":
            raise ValueError(f"inside a trace keep must be 'all', got {keep!r}.")
        return _scan_inside_trace(data, method, reml, several=isinstance(K, Mapping))
    if variance == "refit":
        reml = test == "wald"
    counts, p, m = data.counts, data.design.shape[1], len(data.counts)
    status = status_of_counts(counts, p)
    kept = _collector(keep, data.genotypes.markers, m, method)
    hsq, width = [], data.block_width()
    for chosen, batches in null_models(data, Options(reml=reml), tol, dtype):
        hsq.append(np.full(m, np.nan))
        for groups in batches:
            for group in groups:
                used = group.traits >= 0
                hsq[-1][group.traits[used]] = np.asarray(group.fit.hsq)[used]
                status[group.traits[used]] = np.asarray(group.fit.status)[used]
            skeleton = groups[0].rotated.profile.skeleton
            patterns, blocks = zip(*blocks_of_patterns(groups, method), strict=True)
            for numbers, k, markers in rotated_markers(
                data.genotypes, chosen, width, patterns, skeleton, dtype
            ):
                for block in blocks[k]:
                    kept.add(numbers, markers, block)

    pairs, marker, trait = kept.pairs()
    of_traits = np.reshape(hsq, (len(hsq), m)) if isinstance(K, Mapping) else hsq[0]
    return ScanResult(
        beta=pairs.beta,
        se=pairs.se,
        lod=pairs.lod,
        log10p=pairs.log10p,
        hsq=of_traits if pairs.hsq is None else pairs.hsq,
        marker=marker,
        trait=trait,
        n=counts,
        dof=counts - p,
        missing=data.genotypes.missing,
        reasons=reasons_of(status, data.covariates),
        markers=data.genotypes.names,
        traits=data.traits,
    )


def _scan_inside_trace(data: ScanData, method: Method, reml: bool, *, several: bool) -> ScanResult:
    """Differentiable in Y, X and G; what is not known inside of a trace is refused."""
    if method.variance != "null" or method.dtype != "float64":
        raise ValueError("inside a trace a scan has variance='null' and dtype='float64' alone.")
    n, p = data.design.shape
    if np.any(data.counts < n):
        raise ValueError("inside a trace Y must be complete: leave out individuals or traits.")
    G, parts = data.genotypes.whole(), []
    for K, chosen in data.kinships:
        if is_traced(K, data.weights):
            raise NotImplementedError(
                "a scan has no derivative in K or weights: leave them out of the trace, or use "
                "log_likelihood and heritability, which have one in K."
            )
        known = decompose_known(Sample(K, data.design, data.weights))
        some = G[:, chosen]
        parts.append(differentiable_scan(known, data.values, data.design, some, method, reml))
    order = np.argsort(np.concatenate([chosen for _, chosen in data.kinships]))
    pairs = jax.tree.map(
        lambda *of_parts: jnp.concatenate(of_parts)[order], *(pairs for _, pairs in parts)
    )
    hsq = [fit.hsq for fit, _ in parts]
    return ScanResult(
        beta=pairs.beta,
        se=pairs.se,
        lod=pairs.lod,
        log10p=pairs.log10p,
        hsq=jnp.stack(hsq) if several else hsq[0],
        marker=None,
        trait=None,
        n=data.counts,
        dof=data.counts - p,
        missing=data.genotypes.missing,
        reasons=(),
        markers=data.genotypes.names,
        traits=data.traits,
    )


class ScanData(NamedTuple):
    """Checked arguments: Y (n, m), markers, X (n, p), weights, and a kinship for some markers.

    Inside a trace, any of the arrays may be traced.
    """

    values: np.ndarray
    genotypes: Genotypes
    design: np.ndarray
    weights: np.ndarray | None
    kinships: list[tuple[np.ndarray, np.ndarray]]
    counts: np.ndarray
    traits: tuple[str, ...] | None
    covariates: tuple[str, ...] | None

    def block_width(self) -> int:
        """Markers worked on together: one width, hence one compiled program, for all chromosomes.

        Of the widths allowed, that with the least work in all chromosomes, padding included.
        """
        most = markers_at_once(len(self.values), self.genotypes.columns, len(self.counts))
        sizes = np.array([chosen.size for _, chosen in self.kinships])
        widest = max(min(most, sizes.max(initial=0)), 1)
        widths = np.arange(widest, widest // 2, -1)
        blocks = -(-sizes[:, None] // widths)
        return int(widths[np.argmin((blocks * (widths + MARKERS_OF_A_CALL)).sum(axis=0))])


def markers_at_once(n: int, columns: int, traits: int) -> int:
    """Markers worked on together: enough to fill the cores, and with the traits they fit in cache.

    An accelerator wants more, and has the memory for it.
    """
    most, numbers = MARKERS_AT_ONCE, NUMBERS_AT_ONCE
    if jax.default_backend() != "cpu":
        most, numbers = ACCELERATOR * most, ACCELERATOR * numbers
    elif n <= FEW_INDIVIDUALS:
        most *= 2
    most_traits = max(min(traits, TRAITS_AT_ONCE), 1)
    return int(np.clip(numbers // (columns**2 * most_traits), 64, most))


def scan_data(
    Y: Any,
    G: Any,
    X: Any,
    weights: Any,
    interaction: Any,
    K: Any,
    chromosome: Any,
    clip_negative: bool,
    scale_kinship: bool,
    interacting: Labelled = NOTHING,
) -> ScanData:
    """Check what every scan takes; ``interacting`` is a covariate of the same individuals."""
    table = as_traits("Y", Y, len(Y), missing=True)
    values = table.values if table.values.ndim == 2 else table.values[:, None]
    n, m = values.shape
    covariates, genotypes = as_covariates(X, n), as_genotypes(G, n)
    residual = as_weights(weights, n)
    tables = {
        "Y": table,
        "X": covariates,
        "G": Labelled(genotypes.values, genotypes.individuals, genotypes.names),
        "weights": residual,
        "interaction": interacting if interaction is None else as_covariates(interaction, n),
    }
    check_same_individuals(**tables)
    design = covariates.values
    if interaction is not None:
        if genotypes.columns > 1:
            raise ValueError(
                "interaction is for markers of one column: multiply the columns yourself."
            )
        design, genotypes = _with_interaction(design, tables["interaction"].values, genotypes)
    p = design.shape[1]
    if n < p + 2:
        raise ValueError(f"a scan with {p} covariates needs at least {p + 2} individuals, got {n}.")
    kinships = []
    for K_one, chosen in _kinships(K, chromosome, genotypes.markers, tables):
        K_one = scaled(K_one) if scale_kinship else K_one
        kinships.append((clipped(K_one) if clip_negative else K_one, chosen))
    complete = is_traced(values) or all_finite(values)
    counts = np.full(m, n) if complete else n - np.isnan(values).sum(axis=0)
    return ScanData(
        values,
        genotypes,
        design,
        residual.values,
        kinships,
        counts,
        table.columns,
        covariates.columns,
    )


def null_models(
    data: ScanData, options: Options, tol: float, dtype: str
) -> Iterator[tuple[np.ndarray, Iterator[list[Group]]]]:
    """For each kinship its markers, and the traits fitted in batches of decompositions."""
    enough = np.flatnonzero(data.counts >= data.design.shape[1] + 2)
    for K, chosen in data.kinships:
        sample = Sample(K, data.design, data.weights)
        groups = make_engine(sample, options, tol=tol, dtype=dtype).groups(data.values, enough)
        # Groups of the same decompositions follow one another.
        together = groupby(groups, key=lambda group: id(group.patterns))
        yield chosen, (list(batch) for _, batch in together)


def blocks_of_patterns(
    groups: list[Group], method: Method
) -> Iterator[tuple[Pattern, list[Block]]]:
    """Each pattern of a batch, with the blocks of traits that have it."""
    patterns = groups[0].patterns
    for k in np.unique(np.concatenate([group.which for group in groups])):
        one = jax.tree.map(lambda a, k=int(k): a[k : k + 1], patterns)
        blocks = [block for group in groups for block in _blocks(group, int(k), one, method)]
        if blocks:
            yield one, blocks


def rotated_markers(
    genotypes: Genotypes,
    chosen: np.ndarray,
    width: int,
    patterns: Sequence[Pattern],
    skeleton: Skeleton,
    dtype: str,
) -> Iterator[tuple[np.ndarray, int, Markers]]:
    """Blocks of the markers chosen, rotated once for all traits of each pattern."""
    n = genotypes.values.shape[0]
    rotations = [marker_rotation(one, skeleton, n=n, dtype=dtype) for one in patterns]
    for start in range(0, chosen.size, width):
        numbers = chosen[start : start + width]
        G = jax.device_put(genotypes.block(numbers, width).T)
        for k, by in enumerate(rotations):
            yield numbers, k, rotate_markers(by, G, dtype=dtype)


def _blocks(group: Group, k: int, one: Pattern, method: Method) -> Iterator[Block]:
    """Blocks of a group's traits that have the pattern k."""
    for c in np.flatnonzero(group.which == k):
        numbers = group.traits[c]
        if not np.any(numbers >= 0):
            continue
        hsq, status = (np.asarray(x)[c] for x in (group.fit.hsq, group.fit.status))
        n = float(np.asarray(group.fit.n)[c, 0])
        if method.variance == "null":
            at = traits_at(one, group.rotated, c, hsq, status, dtype=method.dtype)
            yield Block(numbers, n, at, hsq=hsq)
            continue
        nodes = np.asarray(group.rotated.profile.skeleton.nodes)
        points = grid_points(nodes, singular=bool(np.any(np.asarray(one.zeros) > 0)))
        width = min(REFIT_TRAITS, numbers.size)
        for start in [*range(0, numbers.size - width, width), numbers.size - width]:
            part = slice(start, start + width)
            null = null_traits(
                one,
                group.rotated,
                c,
                start,
                hsq[part],
                status[part],
                reml=method.test == "wald",
            )
            yield Block(numbers[part], n, null, points)


def _collector(keep: str | float, M: int, m: int, method: Method) -> Collector:
    if keep == "all":
        return All(M, m, method)
    if keep == "best":
        return Best(m, method) if method.variance == "null" else BestRefit(m, method)
    return Hits(float(keep), method)


def _kinships(
    K: Any, chromosome: Any, M: int, tables: dict[str, Labelled]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each kinship matrix with the markers that are tested with it."""
    n = len(tables["Y"].values)
    if K is None:
        yield np.eye(n), np.arange(M)
        return
    if not isinstance(K, Mapping):
        kinship = as_kinship(K)
        _check_kinship(kinship, tables, "K")
        yield kinship.values, np.arange(M)
        return
    if chromosome is None or np.shape(chromosome) != (M,):
        found = "nothing" if chromosome is None else f"shape {np.shape(chromosome)}"
        raise ValueError(
            f"chromosome must have one label for each of the {M} markers where K is a dict of "
            f"kinship matrices, got {found}."
        )
    labels = np.asarray(chromosome)
    without = sorted({str(label) for label in labels} - {str(label) for label in K})
    if without:
        raise ValueError(
            f"K has no kinship matrix for chromosome {', '.join(without)}: make one for each with "
            "kinship(..., loco=True)."
        )
    for label, matrix in K.items():
        chosen = np.flatnonzero(labels.astype(str) == str(label))
        if chosen.size:
            kinship = as_kinship(matrix)
            _check_kinship(kinship, tables, f"K[{label!r}]")
            yield kinship.values, chosen


def _check_kinship(kinship: Labelled, tables: dict[str, Labelled], name: str) -> None:
    n = len(tables["Y"].values)
    if len(kinship.values) != n:
        raise ValueError(
            f"{name} is of {len(kinship.values)} individuals and Y of {n}: give the same "
            "individuals in the same order."
        )
    check_same_individuals(**{name: kinship}, **tables)


def _with_interaction(
    design: np.ndarray, e: np.ndarray, genotypes: Genotypes
) -> tuple[np.ndarray, Genotypes]:
    """Covariates with the interacting one among them, and markers that know it."""
    if e.shape[1] != 1:
        raise ValueError(f"interaction must be one covariate, got {e.shape[1]}.")
    with_e = np.column_stack([design, e])
    if collinear_column(with_e) is None:
        design = with_e
    return design, replace(genotypes, interaction=e[:, 0])


def check_choices(variance: str, test: str, keep: Any, dtype: str, columns: int) -> None:
    """Refuse what a scan cannot do."""
    if variance not in ("null", "refit"):
        raise ValueError(f"variance must be 'null' or 'refit', got {variance!r}.")
    tests = ("wald", "lrt", "score") if variance == "null" else ("wald", "lrt")
    if test not in tests:
        hint = ": the score test fits no pair, use variance='null'" if test == "score" else ""
        raise ValueError(f"test must be one of {', '.join(tests)} here, got {test!r}{hint}.")
    if variance == "refit" and columns > 1:
        raise ValueError("variance='refit' is for markers of one column: use variance='null'.")
    if isinstance(keep, str) and keep not in ("all", "best"):
        raise ValueError(f"keep must be 'all', 'best' or the least -log10 p, got {keep!r}.")
    if not isinstance(keep, str) and not keep > 0:
        raise ValueError(f"keep must be a positive -log10 p, got {keep}.")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}.")


def _named(names: tuple[str, ...] | None, numbers: np.ndarray) -> Any:
    return numbers if names is None else np.asarray([*names, None], dtype=object)[numbers]
