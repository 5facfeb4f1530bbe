"""What comes in at the door: arrays or data frames, checked once, with names kept.

Values can only be checked when they are there: a traced array (under ``jit``, ``vmap`` or
``grad``) passes with its shape checked alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from lmmlite_jax.model.precision import AnyArray, is_traced

__all__ = [
    "NOTHING",
    "ArrayOrFrame",
    "Labelled",
    "all_finite",
    "as_covariates",
    "as_heritability",
    "as_kinship",
    "as_traits",
    "as_weights",
    "check_enough",
    "check_same_individuals",
    "collinear_column",
    "column_name",
    "has_intercept",
]

ArrayOrFrame: TypeAlias = Any
"""What public functions take: a NumPy or JAX array, nested lists, or a data frame or series of
pandas or polars, whose names are kept. Typed as ``Any``, since neither library is required."""

SYMMETRY_TOLERANCE = 1e-6
"""Largest |K - K'| accepted, relative to max |K|: the rounding of a kinship in single precision."""

SIZES = (1e-100, 1e100)
"""Largest number of a column whose squares, and sums of those, doubles can hold."""

COLLINEAR_TOLERANCE = 1e-10
"""A covariate counts as collinear when less than this part of it is left beside the others."""


class Labelled(NamedTuple):
    """An array with the names its frame carried; ``None`` where it was a bare array.

    ``names_in`` says where the frame has the names of rows: a kinship may name its columns alone.
    ``complete``: the values are known to be finite.
    """

    values: Any  # of as many axes as the function says that made it, or None
    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    names_in: str = "index"
    complete: bool = False


NOTHING = Labelled(None)
"""What was not given."""


def as_kinship(K: ArrayOrFrame) -> Labelled:
    """Kinship as a symmetric float64 matrix; ``ValueError`` says what is wrong with it.

    Its columns are the same individuals as its rows, in the same order: names must say so.
    """
    table = _labelled("K", K)
    shape = np.shape(table.values)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"K must be a square kinship matrix (n, n), got shape {shape}: "
            "give one row and one column for each individual."
        )
    rows, columns = table.rows, table.columns
    if columns is not None and not _are_numbers(K, columns):
        if rows is None:
            table = table._replace(rows=columns, names_in="columns")
        elif rows != columns:
            at = _first_difference(rows, columns)
            raise ValueError(
                f"K names its rows and columns differently: row {at} is {rows[at]!r} and column "
                f"{at} is {columns[at]!r}; bring them into the same order, for example "
                "K.loc[:, K.index]."
            )
    if shape[0] == 0:
        raise ValueError("K has no individuals: give at least as many as a fit needs.")
    if is_traced(table.values):
        return table
    values = np.asarray(table.values)
    _refuse_missing("K", values, "a kinship matrix must be complete")
    scale = np.max(np.abs(values), initial=0.0)
    gap = np.abs(values - values.T)
    if np.max(gap, initial=0.0) > SYMMETRY_TOLERANCE * scale:
        i, j = map(int, np.unravel_index(np.argmax(gap), gap.shape))
        first, second = (i, j) if table.rows is None else (table.rows[i], table.rows[j])
        raise ValueError(
            f"K is not symmetric: K[{first!r}, {second!r}] = {values[i, j]:.6g} but "
            f"K[{second!r}, {first!r}] = {values[j, i]:.6g}; give the full symmetric matrix, not "
            "one triangle of it."
        )
    return table._replace(values=values)


def as_traits(name: str, y: ArrayOrFrame, n: int, *, missing: bool = False) -> Labelled:
    """Phenotypes (n,) or (n, m) in float64; NaN only where ``missing`` says so."""
    table = _labelled(name, y)
    shape = np.shape(table.values)
    if len(shape) not in (1, 2) or shape[0] != n:
        raise ValueError(
            f"{name} must have shape ({n},) or ({n}, m), one row for each of the {n} individuals "
            f"of the kinship matrix, got shape {shape}."
        )
    if is_traced(table.values):
        return table
    values = np.asarray(table.values)
    if _are_usual(values):
        return table._replace(values=values, complete=True)
    if not all_finite(values):
        if np.isinf(values).any():
            raise ValueError(f"{name} has infinite values: replace them by numbers or by NaN.")
        if not missing:
            _refuse_missing(name, values, "use fit_traits, which handles missing phenotypes")
    _refuse_sizes(name, table._replace(values=values))
    return table._replace(values=values)


def as_covariates(X: ArrayOrFrame | None, n: int, name: str = "X") -> Labelled:
    """Covariates (n, p) in float64; an intercept where there are none."""
    if X is None:
        return Labelled(np.ones((n, 1)), None, ("intercept",))
    table = _labelled(name, X)
    shape = np.shape(table.values)
    if len(shape) == 1:
        table = table._replace(values=table.values[:, None])
        shape = (*shape, 1)
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(
            f"{name} must have shape ({n}, p), one row for each of the {n} individuals of the "
            f"kinship matrix, got shape {shape}."
        )
    if shape[1] == 0:
        raise ValueError(f"{name} has no columns: leave it out (None).")
    if is_traced(table.values):
        return table
    values = np.asarray(table.values)
    _refuse_missing(name, values, "drop those individuals or impute the covariate")
    _refuse_sizes(name, table)
    culprit = collinear_column(values)
    if culprit is not None:
        raise ValueError(
            f"{name} is rank-deficient: column {column_name(table.columns, culprit)} is a linear "
            "combination of the columns before it; leave it out."
        )
    return table._replace(values=values)


def has_intercept(X: Float[np.ndarray, "n p"]) -> bool:
    """Whether the columns of ``X`` span a constant."""
    return collinear_column(np.column_stack([X, np.ones(len(X))])) is not None


def as_weights(weights: ArrayOrFrame | None, n: int) -> Labelled:
    """Residual weights (n,) in float64; None stays None."""
    if weights is None:
        return NOTHING
    table = _labelled("weights", weights)
    values = table.values
    if np.shape(values) != (n,):
        raise ValueError(
            f"weights must have shape ({n},), one for each individual, got {np.shape(values)}."
        )
    if not is_traced(values) and not (np.isfinite(values) & (values > 0)).all():
        worst = int(np.argmin(np.where(np.isfinite(values), values, -np.inf)))
        raise ValueError(
            f"weights must be positive numbers, weights[{worst}] is {values[worst]:g}: leave out "
            "individuals that are not to count."
        )
    return table


def all_finite(values: np.ndarray) -> bool:
    """Whether nothing is NaN or infinite: where the sum is finite, no second look is needed."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def as_heritability(hsq: ArrayOrFrame) -> Float[AnyArray, "*h"]:
    """Heritabilities as float64, refused outside [0, 1]; NaN there where they are traced.

    Known ones stay NumPy's: under ``jit`` a JAX array made of them would become part of the trace.
    """
    if is_traced(hsq):
        values = jnp.asarray(hsq, dtype=jnp.float64)
        return jnp.where((values >= 0) & (values <= 1), values, jnp.nan)
    known = np.asarray(hsq, dtype=np.float64)
    outside = ~((known >= 0) & (known <= 1))
    if outside.any():
        raise ValueError(f"hsq must lie in [0, 1], found {known[outside].flat[0]:.6g}.")
    return known


def check_enough(n: int, p: int) -> None:
    """Refuse to fit p covariates to so few individuals that nothing is left for two variances."""
    if n < p + 2:
        covariates = "covariate" if p == 1 else "covariates"
        raise ValueError(
            f"a fit with {p} {covariates} needs at least {p + 2} individuals, got {n}."
        )


def check_same_individuals(**tables: Labelled) -> None:
    """Refuse frames whose row names differ: rows are individuals, in one order for all."""
    named = [
        (name, table.rows, f"{name}.{table.names_in}")
        for name, table in tables.items()
        if table.rows is not None
    ]
    for name, rows, _ in named[1:]:
        first, expected, where = named[0]
        if rows != expected and len(rows) == len(expected):
            at = _first_difference(rows, expected)
            raise ValueError(
                f"{first} and {name} name different individuals: row {at} is {expected[at]!r} in "
                f"{first} and {rows[at]!r} in {name}; bring them into the same order, for example "
                f"{name}.loc[{where}]."
            )


def collinear_column(X: Float[np.ndarray, "n p"]) -> int | None:
    """Index of the first column of ``X`` that the columns before it span, or None."""
    norms = np.linalg.norm(X, axis=0)
    if X.shape[0] < X.shape[1]:
        return X.shape[0]
    left = np.abs(np.diag(np.linalg.qr(X, mode="r")))
    bad = np.flatnonzero(left <= COLLINEAR_TOLERANCE * norms)
    return int(bad[0]) if bad.size else None


def column_name(columns: tuple[str, ...] | None, index: int) -> str:
    """Name of a column for a message: its own where it has one, its number otherwise."""
    return repr(columns[index]) if columns is not None else f"{index} (counted from 0)"


def _labelled(name: str, value: ArrayOrFrame) -> Labelled:
    rows = columns = None
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        columns = tuple(str(c) for c in value.columns)
        rows = _row_names(value)
        value = _numbers(name, value, columns)
    elif hasattr(value, "to_numpy") and hasattr(value, "name"):
        columns = None if value.name in (None, "") else (str(value.name),)
        rows = _row_names(value)
        value = _numbers(name, value, columns)
    if not is_traced(value):
        value = _numbers(name, value, columns)
    else:
        value = jnp.asarray(value, dtype=jnp.float64)
    return Labelled(value, rows, columns)


def _first_difference(names: tuple[str, ...], others: tuple[str, ...]) -> int:
    return next(i for i, pair in enumerate(zip(names, others, strict=True)) if len({*pair}) > 1)


def _are_numbers(frame: ArrayOrFrame, columns: tuple[str, ...]) -> bool:
    """Whether a frame's columns are numbered and not named, as pandas and Polars do by default."""
    if not hasattr(frame, "index"):
        return columns == tuple(f"column_{i}" for i in range(len(columns)))
    labels = list(frame.columns)
    return labels in ([*range(len(labels))], [*range(1, len(labels) + 1)])


def _row_names(frame: ArrayOrFrame) -> tuple[str, ...] | None:
    index = getattr(frame, "index", None)
    if index is None or callable(index) or type(index).__name__ == "RangeIndex":
        return None
    return tuple(str(label) for label in index)


def _numbers(name: str, value: ArrayOrFrame, columns: Iterable[str] | None) -> np.ndarray:
    try:
        if hasattr(value, "iloc"):
            return np.asarray(value.to_numpy(dtype=np.float64, na_value=np.nan))
        if hasattr(value, "to_numpy"):
            value = value.to_numpy()
        return np.ma.filled(np.ma.asarray(value, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        where = f" (columns {', '.join(columns)})" if columns is not None else ""
        raise ValueError(
            f"{name} must hold numbers{where}: {error}; encode text columns as numbers."
        ) from error


def _are_usual(values: Num[np.ndarray, "n *m"]) -> bool:
    """Whether all numbers are finite and have squares that doubles hold.

    By the sums of squares of the columns: one look, that tells no of some tables that are.
    """
    columns = values if values.ndim == 2 else values[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->j", columns, columns)
    return bool(np.all((squares > len(values) * SIZES[0] ** 2) & (squares < SIZES[1] ** 2)))


def _refuse_sizes(name: str, table: Labelled) -> None:
    """Refuse columns in units so large or small that their squares overflow or vanish."""
    values = table.values.reshape(len(table.values), -1)
    largest = np.maximum(
        np.fmax.reduce(values, axis=0, initial=0.0), -np.fmin.reduce(values, axis=0, initial=0.0)
    )
    wrong = (largest > SIZES[1]) | ((largest > 0) & (largest < SIZES[0]))
    if wrong.any():
        column = int(np.argmax(wrong))
        raise ValueError(
            f"{name} has numbers of size {largest[column]:.3g} in column "
            f"{column_name(table.columns, column)}, whose squares doubles cannot hold: give it in "
            "another unit."
        )


def _refuse_missing(name: str, values: np.ndarray, advice: str) -> None:
    if not all_finite(values):
        missing = ~np.isfinite(values)
        where = ", ".join(str(int(i)) for i in np.argwhere(missing)[0])
        raise ValueError(
            f"{name} has {int(missing.sum())} missing or infinite values, the first at "
            f"[{where}]: {advice}."
        )
