"""What comes in to be drawn: arrays of numbers or names, checked, with a sentence where not right.

A missing number is NaN and a missing name one of several: they are left out of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float

from lmmlite_jax.model.inputs import ArrayOrFrame

__all__ = [
    "as_levels",
    "as_log10p",
    "as_names",
    "as_numbers",
    "as_series",
    "check_shape",
    "drawable",
    "is_missing",
    "name_of",
]

_MISSING = {"", "nan", "NaN", "None", "<NA>"}
_BELOW_ZERO = -1e-6  # what -log10 of p = 1 may round to


def as_numbers(
    name: str, values: ArrayOrFrame, size: int | None = None, of: str = ""
) -> Float[np.ndarray, " M"]:
    """Read numbers, finite or NaN and not all NaN, as many as there are of ``of``."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} has values that are not numbers: give numbers.") from error
    check_shape(name, numbers, size, of)
    if np.isnan(numbers).all():
        raise ValueError(f"{name} has only NaN values ({numbers.size}): give at least one number.")
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise ValueError(
            f"{name} has infinite values ({infinite} of {numbers.size}): give finite ones, or "
            "NaN to leave them out."
        )
    return numbers


def as_log10p(
    name: str, values: ArrayOrFrame, size: int | None = None, of: str = ""
) -> Float[np.ndarray, " M"]:
    """Read minus the decimal logarithms of p-values, which are not negative."""
    numbers = as_numbers(name, values, size, of)
    least = np.nanmin(numbers)
    if least < _BELOW_ZERO:
        raise ValueError(
            f"{name} has values below 0, down to {least:.3g}: give -log10(p), which is at least 0."
        )
    return np.maximum(numbers, 0.0)


def as_names(name: str, values: ArrayOrFrame, size: int, of: str) -> list[object]:
    """Read names, not all missing: see `name_of`."""
    array = np.asarray(values)
    check_shape(name, array, size, of)
    names: list[object] = array.tolist()
    if all(is_missing(name_of(entry)) for entry in names):
        raise ValueError(f"{name} has {size} entries and all are missing: give at least one name.")
    return names


def as_series(
    name: str,
    values: ArrayOrFrame | Mapping[str, ArrayOrFrame],
    check: Callable[[str, ArrayOrFrame], Float[np.ndarray, " M"]],
) -> dict[str, np.ndarray]:
    """Read one array, or several by their names."""
    if not isinstance(values, Mapping):
        return {name: check(name, values)}
    if not values:
        raise ValueError(f"{name} is an empty dict: give at least one named array.")
    return {key: check(f"{name}[{key!r}]", array) for key, array in values.items()}


def as_levels(threshold: ArrayOrFrame | None) -> Float[np.ndarray, " t"]:
    """Read where dashed lines are drawn."""
    if threshold is None:
        return np.empty(0)
    levels = np.atleast_1d(np.asarray(threshold, dtype=float))
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ValueError(f"threshold is {threshold}: give a finite number, or several.")
    return levels


def check_shape(name: str, values: np.ndarray, size: int | None, of: str) -> None:
    """Refuse an array that is empty, not of one dimension, or not as long as ``of``."""
    if size is not None and values.shape != (size,):
        raise ValueError(
            f"{name} has shape {values.shape} and {of} ({size},): give one entry of {name} for "
            f"each of {of}."
        )
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}: give an array of one dimension.")
    if not values.size:
        raise ValueError(f"{name} is empty: give at least one value.")


def drawable(what: str, *columns: Float[np.ndarray, " M"]) -> Bool[np.ndarray, " M"]:
    """Say where none of the columns is missing, which must be somewhere."""
    drawn = np.logical_and.reduce([~np.isnan(column) for column in columns])
    if not drawn.any():
        raise ValueError(
            f"{what} are nowhere all known: give at least one entry where none of them is missing."
        )
    return drawn


def name_of(entry: object) -> str:
    """Write an entry that is a str, bytes or a number."""
    if isinstance(entry, bytes):
        return entry.decode().strip()
    if isinstance(entry, float) and entry.is_integer():  # an int beside a NaN became a float
        return str(int(entry))
    return str(entry).strip()


def is_missing(name: str) -> bool:
    """Say whether a name stands for none."""
    return name in _MISSING
