"""What a run does to its phenotypes before it maps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.preparation import inverse_normal, phenotype_components
from lmmlite_jax.pipeline.inputs import Inputs

__all__ = ["prepared"]


def prepared(
    inputs: Inputs, normalize: str, phenotype_pcs: int, log: Callable[[str], None]
) -> Inputs:
    """Phenotypes by their ranks, and principal components of them among the covariates.

    Raises
    ------
    ValueError
        If there are not so many components, or covariates have their names.
    """
    if normalize == "inverse-normal":
        inputs = replace(inputs, values=inverse_normal(inputs.values))
        log("phenotypes are brought to normal quantiles by their ranks")
    if phenotype_pcs == 0:
        return inputs
    covariates = inputs.covariates
    names = [f"phenotype_pc{i}" for i in range(1, phenotype_pcs + 1)]
    if taken := [name for name in names if name in covariates.columns]:
        raise ValueError(f"The covariates have a column {taken[0]} already: give it another name.")
    found = phenotype_components(inputs.values, phenotype_pcs, covariates)
    what = counted(phenotype_pcs, "principal component")
    verb = "is a covariate" if phenotype_pcs == 1 else "are covariates"
    log(f"{what} of the phenotypes {verb}, with {np.sum(found.share):.0%} of their variance")
    columns = dict(zip(names, found.values.T, strict=True))
    return replace(inputs, covariates=covariates.assign(**columns))
