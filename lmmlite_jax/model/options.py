"""What a user may ask of a fit: every option that fits share, and its check."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "NO_PRIOR",
    "Options",
    "Prior",
    "check_dtype",
    "check_interval",
    "check_level",
    "check_options",
    "check_simulation",
    "check_tolerance",
]


class Options(NamedTuple):
    """What a user may ask of every fit; static under ``jit``."""

    reml: bool = True
    check_boundary: bool = True
    compute_se: bool = False


class Prior(NamedTuple):
    """Scaled inverse χ² prior on σ²: as if ``size`` observations had shown ``variance``."""

    variance: float | Float[Array, ""]
    size: float | Float[Array, ""]


NO_PRIOR = Prior(0.0, 0.0)


def check_tolerance(tol: float) -> None:
    """Refuse a tolerance that cannot be one."""
    if not 0 < tol < 0.1:
        raise ValueError(f"tol must be a small positive number, such as 1e-8, got {tol}.")


def check_options(tol: float, prior: Prior) -> None:
    """Refuse a tolerance or a prior that cannot be one."""
    check_tolerance(tol)
    if not (prior.variance >= 0 and prior.size >= 0):
        raise ValueError(
            f"prior_variance and prior_sample_size must not be negative, got {prior.variance} and "
            f"{prior.size}."
        )


def check_dtype(dtype: str) -> None:
    """Refuse a precision that there is not."""
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}.")


def check_level(level: float) -> None:
    """Refuse a confidence level that cannot be one."""
    if not 0.5 <= level < 1:
        raise ValueError(f"interval must be a confidence level such as 0.95, got {level}.")


def check_interval(level: float, simulations: int) -> None:
    """Refuse a confidence level, or one whose quantile so few simulations do not show."""
    check_level(level)
    least = np.ceil(round(10 / (1 - level), 6))
    if simulations < least:
        raise ValueError(
            f"simulations must be at least {least:.0f} for an interval of level {level}, got "
            f"{simulations}."
        )


def check_simulation(asked: str, simulations: int, reml: bool, prior: Prior) -> None:
    """Refuse options under which the likelihood ratio has no law that could be simulated."""
    if not reml:
        raise ValueError(f"{asked} is for the restricted likelihood-ratio test: use reml=True.")
    if prior.size > 0:
        raise ValueError(f"{asked} knows no prior: leave prior_sample_size at 0, or {asked} out.")
    if simulations < 1:
        raise ValueError(f"simulations must be at least 1, got {simulations}.")
