"""The null model: what is fitted to the traits before any marker is tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from lmmlite_jax.model.decomposition import Sample
from lmmlite_jax.model.engine import Engine, Group, bytes_of, make_engine, of_one_decomposition
from lmmlite_jax.model.inputs import ArrayOrFrame, Labelled, as_covariates, column_name
from lmmlite_jax.model.known_kinship import KnownKinship, decompose_known
from lmmlite_jax.model.missing import batches as pattern_batches
from lmmlite_jax.model.options import NO_PRIOR, Options, check_dtype, check_options
from lmmlite_jax.model.paired import as_paired
from lmmlite_jax.model.precision import AnyArray, in_float64, is_traced
from lmmlite_jax.model.profile_log_likelihood import profiles_of_model
from lmmlite_jax.model.result import LMMFit, status_of_counts
from lmmlite_jax.model.study import ALL_CHROMOSOMES, Kinships, as_study
from lmmlite_jax.model.trait_block import TraitBlock, trait_blocks
from lmmlite_jax.model.traits import collected, fit_study

__all__ = ["NullModel"]

KEPT_BYTES = 2**30
"""Decompositions and rotated traits up to this size are kept; what is more is computed again."""


class NullModel:
    """Linear mixed models of many traits without a marker: what `scan` and its like test against.

    K, Y and X are checked, named, clipped and scaled once. The traits are grouped by the
    individuals observed for them, decomposed and fitted when they are first needed. What that gives
    is kept while it is small (`KEPT_BYTES`), so that a scan, its permutation thresholds and a
    mapping of cis windows share it, and computed again each time where it is not.

    Parameters
    ----------
    K : (n, n) array or data frame, dict of them, or None
        Kinship matrix; one for each chromosome, by its label, to leave each chromosome out of its
        own kinship (`kinship` makes them); or None for ordinary regression.
    Y : (n, m) array or data frame
        Phenotypes; NaN where missing. Each trait is fitted to the individuals observed for it.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    paired_covariates : (n, m) array or data frame, optional
        For each trait one more covariate of its own, such as the same gene in another tissue; a
        column of NaN where it has none. Columns of a data frame are some of the traits' names. Its
        effect and h² are estimated together, so that each such trait is decomposed on its own.
    weights : (n,), optional
        Weights of the individuals' residuals, whose variance is σe² / weight.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    tol : float
        Largest last step in h², relative to h²(1 - h²).
    dtype : "float64" or "float32"
        Precision of the rotations and of the products over individuals; all else is in float64.
    clip_negative : bool
        Set negative eigenvalues of K to zero instead of refusing them.
    scale_kinship : bool
        Divide K by its mean diagonal first, so that h² is a heritability.

    Attributes
    ----------
    n, m, p : int
        Individuals, traits and covariates.
    counts : (m,)
        Individuals observed for each trait.
    individuals, traits, covariates : tuple of str or None
        Names, where data frames came in.

    Raises
    ------
    ValueError
        If an argument cannot be used, as in `fit_traits`.

    Notes
    -----
    GMMAT, SAIGE and GENESIS have an object of this name. Inside a trace, Y and X may be traced, and
    statistics of a scan are differentiable in them.

    Examples
    --------
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> cohort = lmm.simulate_cohort(n=120, m=4, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 50)).astype(float)
    >>> null = lmm.NullModel(cohort.kinship, cohort.pheno + 20 * G[:, [7]], cohort.covar)
    >>> null.fit.hsq.shape
    (4,)
    >>> result = lmm.scan(null, G, keep="best")
    >>> limits = lmm.permutation_threshold(null, G, permutations=100)
    >>> print(result.marker, bool(np.all(result.lod > limits)))
    [7 7 7 7] True
    """

    @in_float64
    def __init__(
        self,
        K: Kinships,
        Y: ArrayOrFrame,
        X: ArrayOrFrame | None = None,
        *,
        paired_covariates: ArrayOrFrame | None = None,
        weights: ArrayOrFrame | None = None,
        reml: bool = True,
        tol: float = 1e-8,
        dtype: str = "float64",
        clip_negative: bool = False,
        scale_kinship: bool = False,
    ) -> None:
        check_dtype(dtype)
        check_options(tol, NO_PRIOR)
        self._study = as_study(
            K, Y, X, weights, clip_negative=clip_negative, scale_kinship=scale_kinship
        )
        self.reml, self.tol, self.dtype = reml, tol, dtype
        self.n, self.m = (int(size) for size in self._study.phenotypes.shape)
        self.p = self._study.covariates.shape[1]
        self.counts = self._study.counts
        self._paired = np.full((self.n, 0 if paired_covariates is None else self.m), np.nan)
        if paired_covariates is not None:
            self._paired = as_paired(self._study, paired_covariates)
        self.individuals = self._study.individuals
        self.traits, self.covariates = self._study.trait_names, self._study.covariate_names
        self._engines: dict[str, Engine] = {}
        self._kept: dict[str, list[list[Group]]] = {}
        self._fits: dict[str, LMMFit] = {}
        self._other: NullModel | None = None

    @cached_property
    def patterns(self) -> int:
        """How many different sets of individuals traits are observed in."""
        if self._study.complete:
            return 1
        observed = np.packbits(~np.isnan(self._numbers), axis=0)
        return len({column.tobytes() for column in observed.T})

    @cached_property
    def is_paired(self) -> Bool[np.ndarray, " m"]:
        """Which traits have a covariate of their own."""
        if self._paired.size == 0:
            return np.zeros(self.m, dtype=bool)
        return ~np.isnan(self._paired[0])

    @property
    def parameters(self) -> Int[np.ndarray, " m"]:
        """Covariates of each trait."""
        return self.p + self.is_paired

    @property
    def fitted(self) -> Int[np.ndarray, " some"]:
        """Traits that enough individuals are observed for."""
        return np.flatnonzero(self.counts >= self.parameters + 2)

    def status_of_counts(self) -> Int[np.ndarray, " m"]:
        """`Status` of each trait before any fit."""
        return status_of_counts(self.counts, self.parameters)

    @cached_property
    def batches_of_traits(self) -> int:
        """How many batches traits come in that are fitted with one kinship."""
        everyone = np.ones((self.n, 1), bool)
        observed = everyone if self._study.complete else ~np.isnan(self._numbers)
        paired = self.is_paired[self.fitted]
        shared = sum(1 for _ in pattern_batches(observed, self.fitted[~paired]))
        return shared + int(paired.sum())

    @property
    def chromosomes(self) -> tuple[str, ...]:
        """Chromosomes that have kinships of their own; empty where one serves them all."""
        labels = tuple(self._study.kinships)
        return () if labels == (ALL_CHROMOSOMES,) else labels

    @property
    def kinship_labels(self) -> tuple[str, ...]:
        """What `batches` calls the kinships."""
        return tuple(self._study.kinships)

    @property
    def is_traced(self) -> bool:
        """Whether it was made inside a trace, of traced arrays."""
        return self._study.is_traced

    @property
    def fit(self) -> LMMFit | dict[str, LMMFit]:
        """The fit of every trait, as `fit_traits` has it; one for each chromosome of a dict."""
        fits = {label: self._fit(label) for label in self._study.kinships}
        return fits if self.chromosomes else fits[ALL_CHROMOSOMES]

    def profile_log_likelihood(self, K: ArrayOrFrame) -> Float[AnyArray, " m"]:
        """`profile_log_likelihood` of Y with another kinship K, differentiable in it.

        Parameters
        ----------
        K : (n, n) array or data frame
            Kinship matrix in place of the model's own; a traced one as well.

        Returns
        -------
        loglik : (m,)
            Of every trait at its own ĥ², with the model's X, weights and likelihood.

        Raises
        ------
        ValueError
            If K cannot be used.
        NotImplementedError
            If K is traced and the model has weights.

        Examples
        --------
        >>> import jax
        >>> import lmmlite_jax as lmm
        >>> cohort = lmm.simulate_cohort(n=60, m=3, hsq=0.5, seed=1)
        >>> null = lmm.NullModel(None, cohort.pheno, cohort.covar)
        >>> print(null.profile_log_likelihood(cohort.kinship).round(3))
        [-132.388  -71.782 -148.914]
        """
        study = self._study
        if self.is_paired.any():
            raise ValueError("profiles are of a null model without paired_covariates.")
        return profiles_of_model(
            self.reml, K, study.phenotypes, study.covariates, study.weights, study.individuals
        )

    def with_likelihood(self, *, reml: bool) -> NullModel:
        """The same model fitted by restricted or full likelihood."""
        if reml == self.reml:
            return self
        if self._other is None:
            other = NullModel.__new__(NullModel)
            other.__dict__ |= self.__dict__
            other.reml, other._engines, other._kept, other._fits = reml, {}, {}, {}
            other._other = self
            self._other = other
        return self._other

    def batches(
        self, label: str, traits: Int[np.ndarray, " some"] | None = None
    ) -> Iterator[list[TraitBlock]]:
        """Blocks of fitted traits, in batches whose decompositions are held together.

        Parameters
        ----------
        label : str
            Which kinship, of `kinship_labels`.
        traits : (some,), optional
            Traits (columns of Y) that are needed; more may come.
        """
        for groups in self._groups(label, traits):
            yield list(trait_blocks(groups, self.n, self.reml, self.dtype))

    def without_covariates(
        self, columns: Sequence[int], label: str, traits: Int[np.ndarray, " some"]
    ) -> Iterator[list[TraitBlock]]:
        """Blocks of some traits at their heritabilities here, covariates left to the markers."""
        fewer = np.delete(self._study.covariates, columns, axis=1)
        fitted = self._each_group(self._engine(label), traits)
        # An engine of its own: with fewer covariates the spectrum is wider.
        sample = self._study.sample(label)._replace(X=fewer)
        without = self._each_group(self._engine_for(sample), traits)
        pairs = (
            group._replace(estimates=with_all.estimates, fit=with_all.fit)
            for with_all, group in zip(fitted, without, strict=True)
        )
        for groups in of_one_decomposition(pairs):
            yield list(trait_blocks(groups, self.n, self.reml, self.dtype))

    def given(
        self, trait: int, covariates: Float[np.ndarray, "n more"], label: str
    ) -> TraitBlock | None:
        """One trait with more covariates; None where too few individuals are observed for them."""
        engine = self._engine(label)
        both = np.column_stack([self._covariates_of(trait, engine), covariates])
        if self.counts[trait] < both.shape[1] + 2:
            return None
        engine = engine.with_covariates(both)
        groups = list(engine.groups(self._numbers, np.array([trait])))
        (block,) = trait_blocks(groups, self.n, self.reml, self.dtype)
        return block

    @property
    def names_of_individuals(self) -> Labelled:
        """What names of other tables are compared with."""
        return self._study.names_of_individuals

    def covariate_columns(self, covariates: ArrayOrFrame) -> list[int]:
        """Numbers of the covariates that have these values; ``ValueError`` if one is not there."""
        table = as_covariates(covariates, self.n, "interaction")
        found = []
        for k, values in enumerate(np.asarray(table.values).T):
            same = np.all(np.asarray(self._study.covariates) == values[:, None], axis=0)
            if not same.any():
                name = "" if table.columns is None else f" {column_name(table.columns, k)}"
                raise ValueError(
                    f"the interaction{name} is not among the covariates: add it to X of the null "
                    "model."
                )
            found.append(int(np.argmax(same)))
        return found

    def known_kinship(self, label: str) -> KnownKinship:
        """Decomposition of a kinship that is no traced array, for use inside a trace."""
        sample = self._study.sample(label)
        if is_traced(sample.K, sample.weights):
            raise NotImplementedError(
                "a scan has no derivative in K or weights: leave them out of the trace, or use "
                "log_likelihood and heritability, which have one in K."
            )
        return decompose_known(sample)

    @property
    def phenotypes(self) -> Float[AnyArray, "n m"]:
        """Y, as numbers."""
        return self._study.phenotypes

    @property
    def design(self) -> Float[AnyArray, "n p"]:
        """X, as numbers."""
        return self._study.covariates

    @property
    def _numbers(self) -> Float[np.ndarray, "n m"]:
        """Y, which is no traced array."""
        return np.asarray(self._study.phenotypes)

    @property
    def _options(self) -> Options:
        return Options(reml=self.reml)

    def _engine(self, label: str) -> Engine:
        if label not in self._engines:
            self._engines[label] = self._engine_for(self._study.sample(label))
        return self._engines[label]

    def _engine_for(self, sample: Sample) -> Engine:
        complete = self._study.complete
        return make_engine(sample, self._options, tol=self.tol, dtype=self.dtype, complete=complete)

    def _groups(
        self, label: str, traits: Int[np.ndarray, " some"] | None = None
    ) -> Iterator[list[Group]]:
        """Groups of fits, those of one decomposition together; kept where there is room."""
        if label in self._kept:
            yield from self._kept[label]
            return
        some = self.chromosomes and traits is not None
        chosen = np.intersect1d(traits, self.fitted) if some and traits is not None else self.fitted
        room = KEPT_BYTES - sum(bytes_of(batch) for kept in self._kept.values() for batch in kept)
        batches: list[list[Group]] | None = [] if chosen.size == self.fitted.size else None
        for batch in of_one_decomposition(self._each_group(self._engine(label), chosen)):
            if batches is not None:
                room -= bytes_of(batch)
                batches = [*batches, batch] if room >= 0 else None
            yield batch
        if batches is not None:
            self._kept[label] = batches

    def _each_group(self, engine: Engine, traits: Int[np.ndarray, " some"]) -> Iterator[Group]:
        """Groups of traits beside an engine's covariates, and those that they have of their own."""
        paired = self.is_paired[traits]
        yield from engine.groups(self._numbers, traits[~paired])
        for trait in traits[paired].tolist():
            beside = engine.with_covariates(self._covariates_of(trait, engine))
            yield from beside.groups(self._numbers, np.array([trait]))

    def _covariates_of(self, trait: int, engine: Engine) -> Float[np.ndarray, "n some"]:
        """Covariates of an engine, and the trait's own."""
        own = [self._paired[:, trait]] if self.is_paired[trait] else []
        return np.column_stack([engine.sample.X, *own])

    @in_float64
    def _fit(self, label: str) -> LMMFit:
        if label in self._fits:
            return self._fits[label]
        study = self._study
        if self.is_traced:
            return fit_study(study, label, self._options, tol=self.tol, dtype=self.dtype)
        groups = (group for batch in self._groups(label) for group in batch)
        fit = collected(self._engine(label), groups, self.counts, self.status_of_counts())
        self._fits[label] = replace(fit, traits=study.trait_names, covariates=study.covariate_names)
        return self._fits[label]
