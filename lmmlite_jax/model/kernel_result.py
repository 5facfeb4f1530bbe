"""What learning a kernel returns: estimates, their errors, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.rotation import NEGATIVE_TOLERANCE

__all__ = ["KernelFit", "KernelStatus", "Verdict", "broken", "judge", "names_of", "unjudged"]

FLAT = 1e-6
"""Twice the log likelihood that is lost where a parameter, or a combination of some, changes by its
own size (at least 1): less than this is nothing."""

CLOSE = 0.1
"""Standard errors from the maximum within which an optimiser that stopped has arrived."""


NOTHING = np.zeros(0)
"""Standard errors where there are none."""


class KernelStatus(IntEnum):
    """Whether a learned kernel is at a maximum."""

    OK = 0
    NOT_CONVERGED = 1
    NOT_FINITE = 2
    FLAT = 3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KernelFit:
    """A kernel learned from the resemblance of m traits.

    Attributes
    ----------
    parameters, standard_errors : pytrees alike
        Estimates, and their standard errors from the observed information of all traits; NaN at a
        bound and in a flat direction. None where not asked for. They take the traits as
        independent given K: correlated traits know less.
    covariance : (P, P) or None
        Variance matrix of the P numbers in ``parameters``, in the order of their leaves; zero for
        one at a bound, which is taken as known.
    kinship : (n, n)
        The kernel at the estimates.
    loglik : ()
        Sum over the traits of the profiled log likelihood, of those that have one.
    hsq : (m,)
        Each trait's ĥ² on that kinship.
    trace : (steps,)
        Log likelihood before every step; of the traits drawn, scaled to all, in minibatches.
    distance : ()
        How far the maximum still is, in standard errors, by a last Newton step; NaN where there are
        no standard errors.
    status : int
        A `KernelStatus`; zero for a regular maximum.
    reason : str
        What the status means here, and which parameters are at a bound; empty where all is well.
    """

    parameters: Any
    standard_errors: Any
    covariance: Float[AnyArray, "P P"] | None
    kinship: Float[AnyArray, "n n"]
    loglik: Float[AnyArray, ""]
    hsq: Float[AnyArray, " m"]
    trace: Float[AnyArray, " steps"]
    distance: Float[AnyArray, ""]
    status: int = field(metadata={"static": True})
    reason: str = field(metadata={"static": True})

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.trace)


class Verdict(NamedTuple):
    """Standard errors (P,), covariance (P, P), distance from the maximum, status and reason."""

    errors: Float[np.ndarray, " P"]
    covariance: Float[np.ndarray, "P P"]
    distance: float
    status: KernelStatus
    reason: str


def judge(
    names: list[str],
    values: Float[np.ndarray, " P"],
    gradient: Float[np.ndarray, " P"],
    information: Float[np.ndarray, "P P"],
    bounded: Bool[np.ndarray, " P"],
    fixed: Bool[np.ndarray, " P"],
    arrived: bool,
) -> Verdict:
    """Say of estimates what the gradient and the observed information at them mean.

    ``bounded`` are those at a bound that the gradient pushes against, and those ``fixed`` between
    equal bounds; ``arrived`` says that the optimiser stopped by itself.
    """
    (free,) = np.where(~bounded)
    at_bound = [names[i] for i in np.flatnonzero(bounded & ~fixed)]
    notes = [f"at a bound, without standard error: {', '.join(at_bound)}"] if at_bound else []
    size = np.maximum(np.abs(values[free]), 1.0)
    scaled = size[:, None] * information[np.ix_(free, free)] * size
    scale, directions = np.linalg.eigh(scaled)
    errors, covariance = np.full(values.size, np.nan), np.zeros((values.size, values.size))
    curved = scale > FLAT
    along = directions.T @ (size * gradient[free])
    distance = float(np.sqrt(np.sum(along[curved] ** 2 / scale[curved])))
    inverse = (directions[:, curved] / scale[curved]) @ directions[:, curved].T
    covariance[np.ix_(free, free)] = size[:, None] * inverse * size
    touched = np.sum(directions[:, ~curved] ** 2, axis=1) > FLAT
    errors[free] = np.where(touched, np.nan, np.sqrt(np.diag(covariance)[free]))
    covariance[np.isnan(errors) & ~bounded] = np.nan
    covariance[:, np.isnan(errors) & ~bounded] = np.nan
    status = KernelStatus.OK
    if np.any(scale < -FLAT):
        status = KernelStatus.NOT_CONVERGED
        notes.insert(0, "not at a maximum: the log likelihood curves upwards")
    elif touched.any():
        status = KernelStatus.FLAT
        which = ", ".join(names[i] for i in free[touched])
        notes.insert(0, f"flat direction in {which}: the likelihood does not tell its values apart")
    elif distance > CLOSE if arrived else distance**2 > FLAT:
        status = KernelStatus.NOT_CONVERGED
        stopped = "no step goes up" if arrived else "the steps ran out"
        notes.insert(0, f"not converged: {stopped}, {distance:.2g} standard errors from a maximum")
    return Verdict(errors, covariance, distance, status, "; ".join(notes))


def names_of(parameters: Any) -> list[str]:
    """Names of all numbers in a pytree, such as ``weights[2]``."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "the parameter"
        shape = np.shape(leaf)
        inside = [f"[{', '.join(map(str, index))}]" for index in np.ndindex(shape)]
        names += [name + index for index in inside] if shape else [name]
    return names


def broken(
    K: Float[np.ndarray, "n n"], names: list[str], at: Float[np.ndarray, " P"]
) -> Verdict | None:
    """Say what is wrong with a kernel that is no kinship; None where nothing is."""
    place = ", ".join(f"{name} = {value:.6g}" for name, value in zip(names, at, strict=True))
    place = place if len(names) <= 10 else f"{len(names)} parameters"
    reason = None
    if not np.isfinite(K).all():
        reason = f"kernel not finite at {place}"
    else:
        spectrum = np.linalg.eigvalsh((K + K.T) / 2)
        if spectrum[0] < -NEGATIVE_TOLERANCE * abs(spectrum[-1]) or not spectrum[-1] > 0:
            reason = (
                f"kernel not positive semidefinite at {place}: its smallest eigenvalue is "
                f"{spectrum[0]:.4g}, its largest {spectrum[-1]:.4g}"
            )
    if reason is None:
        return None
    return Verdict(NOTHING, NOTHING[None][:, :0], np.nan, KernelStatus.NOT_FINITE, reason)


def unjudged(arrived: bool, steps: int) -> Verdict:
    """Say of estimates without standard errors whether the optimiser stopped by itself."""
    status = KernelStatus.OK if arrived else KernelStatus.NOT_CONVERGED
    reason = "" if arrived else f"not converged: the {steps} steps ran out"
    return Verdict(NOTHING, NOTHING[None][:, :0], np.nan, status, reason)
