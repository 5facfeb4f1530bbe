"""Covariates that each trait has of its own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    as_traits,
    check_same_individuals,
    column_name,
)
from lmmlite_jax.model.precision import is_traced
from lmmlite_jax.model.study import Study

__all__ = ["as_paired"]


def as_paired(study: Study, paired_covariates: ArrayOrFrame) -> Float[np.ndarray, "n m"]:
    """One covariate of each trait, NaN throughout where it has none; 0 where it is not observed."""
    if study.is_traced or is_traced(paired_covariates):
        raise ValueError("inside a trace there can be no paired_covariates: leave them out.")
    Y = np.asarray(study.phenotypes)
    table = as_traits("paired_covariates", paired_covariates, len(Y), missing=True)
    check_same_individuals(Y=study.names_of_individuals, paired_covariates=table)
    values, names = np.asarray(table.values).reshape(len(Y), -1), study.trait_names
    every = np.full(Y.shape, np.nan)
    if names is not None and table.columns is not None:
        place = {name: trait for trait, name in enumerate(names)}
        unknown = [name for name in table.columns if name not in place]
        if unknown:
            raise ValueError(
                f"paired_covariates has a column {unknown[0]!r}, and Y has no such trait: leave it "
                "out."
            )
        every[:, [place[name] for name in table.columns]] = values
    elif values.shape == Y.shape:
        every[:] = values
    else:
        raise ValueError(
            f"paired_covariates must have a column for each of the {Y.shape[1]} traits, of NaN "
            f"where a trait has none, got shape {values.shape}."
        )
    there = ~np.isnan(every).all(axis=0)
    lacking = np.isnan(every) & ~np.isnan(Y) & there
    if lacking.any():
        row, trait = np.argwhere(lacking)[0].tolist()
        raise ValueError(
            f"paired_covariates has no value for individual {row}, in whom trait "
            f"{column_name(names, trait)} is observed: make the phenotype missing too, or all of "
            "the column where the trait has no such covariate."
        )
    every[:, there] = np.nan_to_num(every[:, there])
    return every
