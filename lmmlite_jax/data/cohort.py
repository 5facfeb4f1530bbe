"""A cohort: the tables of one study, and their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax._optional import require

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cohort"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """The tables of one study, their individuals in one order.

    Attributes
    ----------
    kinship : (n, n) numpy.ndarray or pandas.DataFrame
        Kinship matrix.
    pheno : (n, m) numpy.ndarray or pandas.DataFrame
        Phenotypes; NaN where one is missing.
    covar : (n, p) numpy.ndarray or pandas.DataFrame
        Covariates, intercept included.
    individuals, phenotypes, covariates : tuple of str
        The n, m and p names.
    hsq : (m,) numpy.ndarray or None
        True heritabilities of a simulated cohort, None for real data.

    Raises
    ------
    ValueError
        If a table's shape differs from the number of its names.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.data import Cohort
    >>> cohort = Cohort(
    ...     kinship=np.eye(2),
    ...     pheno=np.array([[1.0], [2.0]]),
    ...     covar=np.ones((2, 1)),
    ...     individuals=("mouse1", "mouse2"),
    ...     phenotypes=("weight",),
    ...     covariates=("intercept",),
    ... )
    >>> cohort.to_pandas().pheno
            weight
    id
    mouse1     1.0
    mouse2     2.0
    """

    kinship: np.ndarray | pd.DataFrame
    pheno: np.ndarray | pd.DataFrame
    covar: np.ndarray | pd.DataFrame
    individuals: tuple[str, ...]
    phenotypes: tuple[str, ...]
    covariates: tuple[str, ...]
    hsq: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, m, p = len(self.individuals), len(self.phenotypes), len(self.covariates)
        _check_shape("kinship", self.kinship, (n, n))
        _check_shape("pheno", self.pheno, (n, m))
        _check_shape("covar", self.covar, (n, p))
        if self.hsq is not None:
            _check_shape("hsq", self.hsq, (m,))

    def to_pandas(self) -> Cohort:
        """Label the three tables with the names of their rows and columns.

        Returns
        -------
        Cohort
            The same cohort with data frames for tables.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        """
        pd = require("pandas", "io")
        rows = pd.Index(self.individuals, name="id")
        return replace(
            self,
            kinship=pd.DataFrame(np.asarray(self.kinship), rows, list(self.individuals)),
            pheno=pd.DataFrame(np.asarray(self.pheno), rows, list(self.phenotypes)),
            covar=pd.DataFrame(np.asarray(self.covar), rows, list(self.covariates)),
        )


def _check_shape(name: str, table: np.ndarray | pd.DataFrame, expected: tuple[int, ...]) -> None:
    if table.shape != expected:
        raise ValueError(f"{name} has shape {table.shape}, but its names need {expected}.")
