"""Kinship, phenotypes and covariates of the same individuals, checked once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from lmmlite_jax.model.decomposition import Sample
from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    Labelled,
    all_finite,
    as_covariates,
    as_kinship,
    as_traits,
    as_weights,
    check_enough,
    check_same_individuals,
    has_intercept,
)
from lmmlite_jax.model.precision import AnyArray, double_precision, is_traced
from lmmlite_jax.model.rotation import (
    NEGATIVE_TOLERANCE,
    check_scale,
    check_spectrum,
    clipped,
    scaled,
)

__all__ = ["ALL_CHROMOSOMES", "Kinships", "Study", "as_complete", "as_study"]

Kinships = ArrayOrFrame | Mapping[object, ArrayOrFrame] | None
"""One kinship matrix, one for each chromosome by its label, or none."""

ALL_CHROMOSOMES = ""
"""Label of a kinship matrix that serves the markers of every chromosome."""


class Study(NamedTuple):
    """Phenotypes (n, m), covariates (n, p) and kinship matrices (n, n) of n individuals.

    ``kinships`` are by chromosome, or one under `ALL_CHROMOSOMES`; ``weights`` (n,) those of the
    residuals, or None; ``counts`` (m,) the individuals observed for each trait. Inside a trace any
    of the arrays may be traced.
    """

    kinships: dict[str, AnyArray]
    phenotypes: AnyArray
    covariates: AnyArray
    weights: AnyArray | None
    counts: np.ndarray
    individuals: tuple[str, ...] | None
    trait_names: tuple[str, ...] | None
    covariate_names: tuple[str, ...] | None

    @property
    def is_traced(self) -> bool:
        """Whether any of the arrays is traced."""
        return is_traced(self.kinships, self.phenotypes, self.covariates, self.weights)

    @property
    def complete(self) -> bool:
        """Whether every trait is observed in all individuals."""
        return bool(np.all(self.counts == len(self.covariates)))

    @property
    def names_of_individuals(self) -> Labelled:
        """What names of other tables are compared with."""
        return Labelled(None, self.individuals, names_in="individuals")

    def sample(self, chromosome: str) -> Sample:
        """What all traits share where markers of a chromosome are tested."""
        return Sample(self.kinships[chromosome], self.covariates, self.weights)


def as_study(
    K: Kinships,
    Y: ArrayOrFrame,
    X: ArrayOrFrame | None,
    weights: ArrayOrFrame | None,
    *,
    clip_negative: bool,
    scale_kinship: bool,
) -> Study:
    """Check, name, clip and scale; ``ValueError`` says what cannot be used, and why."""
    named = {f"K[{label!r}]": one for label, one in K.items()} if isinstance(K, Mapping) else {}
    if isinstance(K, Mapping) and not named:
        raise ValueError("K is an empty dict: give a kinship matrix for each chromosome.")
    if K is not None and not isinstance(K, Mapping):
        named = {"K": K}
    tables = {name: as_kinship(one) for name, one in named.items()}
    n = len(next(iter(tables.values())).values) if tables else len(Y)
    for name, table in tables.items():
        if len(table.values) != n:
            raise ValueError(
                f"{name} is of {len(table.values)} individuals and {next(iter(tables))} of {n}: "
                "give the same individuals in the same order."
            )
    traits, covariates = as_traits("Y", Y, n, missing=True), as_covariates(X, n)
    residual = as_weights(weights, n)
    check_same_individuals(**tables, Y=traits, X=covariates, weights=residual)
    every = (*tables.values(), traits, covariates, residual)
    phenotypes = traits.values if traits.values.ndim == 2 else traits.values[:, None]
    p = covariates.values.shape[1]
    check_enough(n, p)
    if not (is_traced(covariates.values) or has_intercept(covariates.values)):
        warnings.warn(
            "X has no intercept: add a column of ones, unless the traits have mean zero.",
            stacklevel=2,
        )
    kinships = {}
    labels = [str(label) for label in K] if isinstance(K, Mapping) else [ALL_CHROMOSOMES]
    for label, matrix in zip(labels, _matrices(tables, n), strict=True):
        matrix = scaled(matrix) if scale_kinship else matrix
        kinships[label] = clipped(matrix) if clip_negative else matrix
    complete = is_traced(phenotypes) or traits.complete or all_finite(phenotypes)
    counts = np.full(phenotypes.shape[1], n)
    return Study(
        kinships,
        phenotypes,
        covariates.values,
        residual.values,
        counts if complete else counts - np.isnan(phenotypes).sum(axis=0),
        next((table.rows for table in every if table.rows), None),
        traits.columns,
        covariates.columns,
    )


def _matrices(tables: Mapping[str, Labelled], n: int) -> list[AnyArray]:
    """Kinship matrices; without any, individuals are unrelated."""
    return [table.values for table in tables.values()] or [np.eye(n)]


def as_complete(
    K: ArrayOrFrame, y: ArrayOrFrame, X: ArrayOrFrame | None, *, missing: bool = False
) -> tuple[Num[AnyArray, "n n"], Num[AnyArray, "n *m"], Num[AnyArray, "n p"]]:
    """Kinship, phenotypes and covariates as arrays; traced ones as they came.

    Phenotypes are complete, unless ``missing`` says that they need not be.
    """
    with double_precision():
        kinship = as_kinship(K)
        n = np.shape(kinship.values)[0]
        traits, covariates = as_traits("y", y, n, missing=missing), as_covariates(X, n)
    check_same_individuals(K=kinship, y=traits, X=covariates)
    if not is_traced(K):
        _check_semidefinite(kinship.values)
    p = np.shape(covariates.values)[1]
    if n <= p:
        raise ValueError(f"X has {p} columns for {n} individuals: a likelihood needs more than p.")
    pairs = zip((K, y, X), (kinship, traits, covariates), strict=True)
    K, y, X = (given if is_traced(given) else table.values for given, table in pairs)
    return K, y, X if np.ndim(X) == 2 else X[:, None]


def _check_semidefinite(K: np.ndarray) -> None:
    """Refuse negative eigenvalues; a Cholesky factor of a little more than K tells it has none."""
    try:
        np.linalg.cholesky(K + NEGATIVE_TOLERANCE * np.max(np.abs(K)) * np.eye(len(K)))
    except np.linalg.LinAlgError:
        check_spectrum(np.linalg.eigvalsh((K + K.T) / 2), clip_negative=False)
    check_scale(float(np.trace(K)) / len(K))
