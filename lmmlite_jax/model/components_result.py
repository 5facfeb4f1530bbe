"""What a fit of several variance components returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.result import reasons_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComponentsFit"]

BY_KINSHIP = (
    "sigmasq",
    "sigmasq_se",
    "proportion",
    "proportion_se",
    "proportion_low",
    "proportion_high",
    "lrt",
    "lrt_pvalue",
)
"""Fields with one number a kinship and trait, in the order of a table."""

UNFINISHED = (
    "no test or no limit of a component: the steps of a fit with its share held ran out; raise "
    "max_steps"
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ComponentsFit:
    """Variance components of one trait, or of m traits.

    Attributes
    ----------
    sigmasq : (C,) or (C, m)
        Variance σ_c² of each kinship, with the residual squares over n - p in both likelihoods, as
        in `LMMFit`: after ML n/(n - p) times the variances of greatest likelihood.
    sigmasq_e : () or (m,)
        Residual variance σe², likewise.
    proportion : (C,) or (C, m)
        σ_c² / (Σσ² + σe²): for one kinship, h².
    beta : (p,) or (p, m)
        Fixed effects.
    loglik : () or (m,)
        Log likelihood in the convention of `LMMFit`.
    lrt, lrt_pvalue : (C,) or (C, m), or None
        Likelihood-ratio statistic of σ_c² = 0 with all others estimated anew, and its p-value by
        the half-half mixture of zero and χ² with one degree of freedom; where the statistic is 0,
        p is 1. Where another component is at zero too, the p-value is approximate.
    sigmasq_se, sigmasq_e_se, proportion_se, beta_se
        Standard errors from the observed information, like their estimates in shape; NaN where
        that is not positive definite. At zero they are no guide to uncertainty.
    proportion_low, proportion_high : (C,) or (C, m), or None
        Confidence limits of the proportions, where an ``interval`` was asked for; 0 or 1 where no
        value up to there is rejected.
    n : () or (m,)
        Individuals observed.
    steps : () or (m,)
        Steps to the maximum.
    status : () or (m,)
        A `Status`, zero for a regular fit. NaN in all fields where it is not.
    kinships, traits, covariates : tuple of str or None
        Names, where a dictionary of kinships or data frames came in.
    """

    sigmasq: Float[AnyArray, "C *m"]
    sigmasq_e: Float[AnyArray, "*m"]
    proportion: Float[AnyArray, "C *m"]
    beta: Float[AnyArray, "p *m"]
    loglik: Float[AnyArray, "*m"]
    lrt: Float[AnyArray, "C *m"] | None
    lrt_pvalue: Float[AnyArray, "C *m"] | None
    sigmasq_se: Float[AnyArray, "C *m"]
    sigmasq_e_se: Float[AnyArray, "*m"]
    proportion_se: Float[AnyArray, "C *m"]
    beta_se: Float[AnyArray, "p *m"]
    n: Int[AnyArray, "*m"]
    steps: Int[AnyArray, "*m"]
    status: Int[AnyArray, "*m"]
    proportion_low: Float[AnyArray, "C *m"] | None = None
    proportion_high: Float[AnyArray, "C *m"] | None = None
    kinships: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    traits: tuple[str, ...] | None = field(default=None, metadata={"static": True})
    covariates: tuple[str, ...] | None = field(default=None, metadata={"static": True})

    @property
    def reasons(self) -> tuple[str, ...]:
        """One string a trait: why it has no regular fit or no limit; empty where it has all."""
        tested = [self.lrt, self.proportion_low, self.proportion_high]
        lacking = np.zeros(np.size(self.status), bool)
        for numbers in tested:
            if numbers is not None:
                lacking |= np.isnan(np.atleast_2d(np.transpose(numbers))).any(axis=1)
        whole = reasons_of(self.status, self.covariates, len(np.atleast_1d(self.beta)))
        return tuple(
            reason or (UNFINISHED if lacks else "")
            for reason, lacks in zip(whole, lacking, strict=True)
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row for each trait (needs pandas, in the extra ``io``)."""
        import pandas as pd

        m = np.size(self.loglik)
        kinships = self.kinships or tuple(str(c) for c in range(len(self.sigmasq)))
        covariates = self.covariates or tuple(str(i) for i in range(len(self.beta)))
        columns: dict[str, AnyArray | list[str]] = {"n": np.atleast_1d(self.n)}
        for name in BY_KINSHIP:
            if getattr(self, name) is not None:
                rows = np.reshape(getattr(self, name), (len(kinships), m))
                columns |= {f"{name}_{k}": row for k, row in zip(kinships, rows, strict=True)}
        for name in ("sigmasq_e", "sigmasq_e_se", "loglik"):
            columns[name] = np.atleast_1d(getattr(self, name))
        for name in ("beta", "beta_se"):
            rows = np.reshape(getattr(self, name), (len(covariates), m))
            columns |= {f"{name}_{x}": row for x, row in zip(covariates, rows, strict=True)}
        columns["reason"] = list(self.reasons)
        return pd.DataFrame(columns, index=pd.Index(self.traits or range(m), name="trait"))
