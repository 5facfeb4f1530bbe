"""What a fit returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.model.inputs import column_name
from lmmlite_jax.model.precision import AnyArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LMMFit", "Status", "reasons_of", "status_of_counts"]


class Status(IntEnum):
    """Why a trait's fit is not what one would expect.

    Values from ``COLLINEAR`` upwards say which covariate is collinear among the individuals
    observed for the trait: its column is the value less ``COLLINEAR``.
    """

    OK = 0
    CONSTANT = 1
    TOO_FEW = 2
    ALL_MISSING = 3
    FLAT = 4
    ML_UNBOUNDED = 5
    EXACT = 6
    NOT_FINITE = 7
    NOT_CONVERGED = 8
    COLLINEAR = 100


REASONS = {
    Status.OK: "",
    Status.CONSTANT: "the trait is constant, or a linear combination of the covariates",
    Status.TOO_FEW: "fewer than p + 2 individuals observed",
    Status.ALL_MISSING: "no individual observed",
    Status.FLAT: "heritability not identifiable: K is proportional to the identity here",
    Status.ML_UNBOUNDED: "ML unbounded: K is singular along the covariates, use REML",
    Status.NOT_FINITE: "missing values, or K not positive semidefinite (inside a trace)",
    Status.EXACT: "likelihood unbounded at h² = 1: the trait lies in the range of a singular K",
    Status.NOT_CONVERGED: "no maximum found: the steps ran out, or the likelihood has no bound",
}


_COLUMNS = (
    "n",
    "hsq",
    "hsq_se",
    "hsq_low",
    "hsq_high",
    "sigmasq",
    "sigmasq_g",
    "sigmasq_g_se",
    "sigmasq_e",
    "sigmasq_e_se",
    "loglik",
    "lrt",
    "lrt_pvalue",
    "lrt_pvalue_simulated",
)
"""Fields with one number a trait, in the order of a table."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LMMFit:
    """A fitted linear mixed model, or one for each of m traits.

    Attributes
    ----------
    beta : (p,) or (p, m)
        Fixed effects, in the trait's units per unit of the covariate.
    sigmasq : () or (m,)
        Total variance σ² = σg² + σe².
    hsq : () or (m,)
        Heritability h², in [0, 1].
    sigmasq_g, sigmasq_e : () or (m,)
        Genetic and residual variance.
    loglik : () or (m,)
        Log likelihood in R/lmmlite's convention.
    lrt, lrt_pvalue : () or (m,)
        Likelihood-ratio statistic of h² = 0, and its p-value by the half-half mixture of zero and
        χ² with one degree of freedom. Where the statistic is 0, p is 1. It is up to about twice too
        large where individuals form few groups or are correlated smoothly.
    n : () or (m,)
        Individuals observed.
    status : () or (m,)
        A `Status`; zero for a regular fit. Fields are NaN where a trait has no fit; where h² is
        not identifiable, σ² is that of h² = 0.
    beta_se : (p,) or (p, m), or None
        Standard errors of β at the estimated h² and σ². Like all standard errors, None where not
        asked for.
    hsq_se, sigmasq_g_se, sigmasq_e_se : () or (m,), or None
        Standard errors from the observed information (delta method for the variances); NaN where
        the likelihood is not concave at the maximum. At a boundary they are those of the
        curvature there: an interval is what to report.
    hsq_low, hsq_high : () or (m,), or None
        Confidence limits of h², where `fit_traits` was asked for an ``interval``.
    lrt_pvalue_simulated : () or (m,), or None
        p-value of h² = 0 by the statistic's simulated distribution, with the ``interval`` or
        ``simulate_pvalue``; at least 1/(simulations + 1).
    blup : (n,) or (n, m), or None
        Best linear unbiased predictions of the genetic values g, where `fit_traits` was asked.
    traits, covariates : tuple of str or None
        Names, where data frames came in.
    """

    # (p, *m), but that `jax.vmap` puts its own axis before both.
    beta: Float[AnyArray, "*effects"]
    sigmasq: Float[AnyArray, "*m"]
    hsq: Float[AnyArray, "*m"]
    sigmasq_g: Float[AnyArray, "*m"]
    sigmasq_e: Float[AnyArray, "*m"]
    loglik: Float[AnyArray, "*m"]
    lrt: Float[AnyArray, "*m"]
    lrt_pvalue: Float[AnyArray, "*m"]
    n: Int[AnyArray, "*m"]
    status: Int[AnyArray, "*m"]
    beta_se: Float[AnyArray, "*effects"] | None = None
    hsq_se: Float[AnyArray, "*m"] | None = None
    sigmasq_g_se: Float[AnyArray, "*m"] | None = None
    sigmasq_e_se: Float[AnyArray, "*m"] | None = None
    hsq_low: Float[AnyArray, "*m"] | None = None
    hsq_high: Float[AnyArray, "*m"] | None = None
    lrt_pvalue_simulated: Float[AnyArray, "*m"] | None = None
    blup: Float[AnyArray, "everyone *m"] | None = None
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    covariates: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    def reasons(self) -> tuple[str, ...]:
        """One string a trait: why its fit is not regular, empty where it is."""
        return reasons_of(self.status, self.covariates, len(np.atleast_1d(self.beta)))

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row for each trait (needs pandas, in the extra ``io``)."""
        import pandas as pd

        names = self.covariates or tuple(str(i) for i in range(len(self.beta)))
        columns: dict[str, AnyArray | list[str]] = {
            name: np.atleast_1d(np.asarray(getattr(self, name)))
            for name in _COLUMNS
            if getattr(self, name) is not None
        }
        for prefix, effects in (("beta", self.beta), ("beta_se", self.beta_se)):
            if effects is not None:
                rows = np.asarray(effects).reshape(len(names), -1)
                columns |= {f"{prefix}_{name}": row for name, row in zip(names, rows, strict=True)}
        columns["reason"] = list(self.reasons)
        index = self.traits or range(np.size(self.hsq))
        return pd.DataFrame(columns, index=pd.Index(index, name="trait"))


def status_of_counts(
    counts: Int[np.ndarray, " m"], p: int | Int[np.ndarray, " m"]
) -> Int[np.ndarray, " m"]:
    """Status of traits before any fit with p covariates: whether enough individuals are seen."""
    status = np.where(counts >= p + 2, Status.OK, Status.TOO_FEW)
    status[counts == 0] = Status.ALL_MISSING
    return status


def reasons_of(
    status: Int[AnyArray, "*m"], covariates: tuple[str, ...] | None, p: int
) -> tuple[str, ...]:
    """Words for each `Status`; behind the p covariates of all traits are those of a trait's own."""
    values = np.atleast_1d(np.asarray(status))
    words = {value: _reason(value, covariates, p) for value in np.unique(values).tolist()}
    return tuple(words[value] for value in values.tolist())


def _reason(status: int, covariates: tuple[str, ...] | None, p: int) -> str:
    if status < Status.COLLINEAR:
        return REASONS[Status(status)]
    number = status - Status.COLLINEAR
    if number >= p:
        return (
            "a covariate of its own, paired or another marker, is collinear with others among the "
            "individuals observed"
        )
    column = column_name(covariates, number)
    return f"covariate {column} is collinear with others among the individuals observed"
