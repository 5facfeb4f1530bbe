"""Genotypes as a scan takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from lmmlite_jax.model.inputs import (
    ArrayOrFrame,
    Labelled,
    as_covariates,
    as_traits,
    check_same_individuals,
)
from lmmlite_jax.model.marker_rotation import MISSING_GENOTYPE
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray, is_traced

__all__ = [
    "DosageReader",
    "Genotypes",
    "as_dosages",
    "as_genotypes",
    "as_run",
    "interacting_columns",
    "mean_of_observed",
    "without_gaps",
]


SUM_TOLERANCE = 1e-6
"""Rounding of probabilities in single precision, and of their sum."""


@runtime_checkable
class DosageReader(Protocol):
    """Dosages (n, M) that are read when they are asked for, as from a file; by several threads.

    Missing ones are NaN, and `MISSING_GENOTYPE` in int8.
    """

    shape: tuple[int, int]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read all individuals of some markers: ``reader[:, markers]``."""

    def in_turn(self, markers: np.ndarray, width: int) -> Iterator[np.ndarray]:
        """Read ascending markers (n, width), the next while the last are worked on."""


@dataclass(frozen=True)
class Genotypes:
    """Markers in columns, read in blocks.

    Attributes
    ----------
    values : (n, M) or (n, M, k), or DosageReader
        As given; NaN where missing, or `MISSING_GENOTYPE` in int8.
    names, individuals : tuple of str or None
        Of markers and individuals, where a data frame came in.
    interaction : (n,) or (n, terms), or None
        Covariates e that multiply other columns of every marker: g and each g·e.
    with_covariate : bool
        Whether the covariates themselves are columns too, before them: e, g and g·e.
    without_last : bool
        Whether the last column of every marker is left out: `independent`.
    """

    values: AnyArray | DosageReader
    names: tuple[str, ...] | None
    individuals: tuple[str, ...] | None
    interaction: AnyArray | None = None
    with_covariate: bool = False
    without_last: bool = False

    @property
    def markers(self) -> int:
        """M."""
        return self.values.shape[1]

    @property
    def columns(self) -> int:
        """Columns a marker, k."""
        if self.interaction is not None:
            return 1 + (1 + self.with_covariate) * self.terms
        return self.values.shape[2] - self.without_last if len(self.values.shape) == 3 else 1

    @property
    def terms(self) -> int:
        """Covariates that multiply a marker."""
        if self.interaction is None:
            return 0
        return self.interaction.shape[1] if self.interaction.ndim == 2 else 1

    @property
    def dosage_column(self) -> int:
        """Which of the columns of a marker is its dosage."""
        return self.terms if self.with_covariate else 0

    def independent(self, X: Float[AnyArray, "n p"]) -> Genotypes:
        """Without the last column, where the intercept and the other columns span it.

        So it is with founder probabilities, which sum to 1. No test has that column.
        """
        if (
            isinstance(self.values, DosageReader)
            or self.columns < 3
            or self.interaction is not None
        ):
            return self
        n, M, k = self.values.shape
        left = 1 - X @ np.linalg.lstsq(X, np.ones(n), rcond=None)[0]
        sums = self.values.reshape(n * M, k) @ np.ones(k, self.values.dtype)
        if np.abs(left).max() > SUM_TOLERANCE or not np.all(np.abs(sums - 1) <= SUM_TOLERANCE):
            return self
        return replace(self, without_last=True)

    def in_turn(self, parts: Sequence[Int[np.ndarray, " _"]]) -> Iterator[Genotypes]:
        """Ascending parts of the markers, all but the last of one size, one after the other."""
        held = self.values
        if isinstance(held, DosageReader) and parts:
            read = held.in_turn(np.concatenate(parts), parts[0].size)
        else:
            read = (np.asarray(held[:, part]) for part in parts)
        for values in read:
            yield replace(self, values=values, names=None)

    def whole(self) -> tuple[AnyArray, Int[np.ndarray, " M"]]:
        """(n, M, k), all markers, and how many gaps each had; traced ones as they came."""
        if isinstance(self.values, jax.Array):
            values = self.values if self.values.ndim == 3 else self.values[:, :, None]
            return values, np.zeros(self.markers, dtype=np.int64)
        return self.block(np.arange(self.markers), self.markers)

    def block(
        self, markers: Int[np.ndarray, " B"], width: int
    ) -> tuple[Float[np.ndarray, "n width k"], Int[np.ndarray, " B"]]:
        """Some markers without gaps, and zeros after them; how many gaps each had."""
        stored, missing = self.stored(markers, width)
        return without_gaps(stored), missing

    def dosages_of(self, markers: Int[np.ndarray, " B"]) -> Float[np.ndarray, "n B"]:
        """Dosages of some markers without gaps, as covariates."""
        return self.block(markers, markers.size)[0][:, :, self.dosage_column]

    def stored(
        self, markers: Int[np.ndarray, " B"], width: int
    ) -> tuple[Shaped[np.ndarray, "n width k"], Int[np.ndarray, " B"]]:
        """As `block`; in the type of the genotypes, with gaps, where that is a small integer."""
        chosen = np.asarray(self.values[:, as_run(markers)])
        missing, gaps = np.zeros(markers.size, dtype=np.int64), _gaps(chosen)
        if gaps is not None:
            missing = (gaps if gaps.ndim == 2 else gaps.any(axis=2)).sum(axis=0)
        if chosen.dtype not in (np.int8, np.uint8) or self.interaction is not None:
            chosen = _filled(chosen, gaps)
        chosen = chosen[:, :, : self.columns] if chosen.ndim == 3 else chosen[:, :, None]
        if self.interaction is not None:
            e = self.interaction.reshape(len(chosen), 1, self.terms)
            whole = (*chosen.shape[:2], self.terms)
            alone = [np.broadcast_to(e, whole)] if self.with_covariate else []
            chosen = np.concatenate([*alone, chosen, chosen * e], axis=2)
        empty = width - markers.size
        return (np.pad(chosen, ((0, 0), (0, empty), (0, 0))) if empty else chosen), missing


def as_run(numbers: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"] | slice:
    """Ascending numbers that follow one another as a slice, which is faster; others as they are."""
    if numbers.size == 0:
        return numbers
    first = int(numbers[0])
    follow = np.array_equal(numbers, np.arange(first, first + numbers.size))
    return slice(first, first + numbers.size) if follow else numbers


def without_gaps(values: Shaped[np.ndarray, "n *rest"]) -> Float[np.ndarray, "n *rest"]:
    """Genotypes in double precision, a missing one the mean over the individuals observed."""
    return _filled(values, _gaps(values))


def _filled(
    values: Shaped[np.ndarray, "n *rest"], gaps: Bool[np.ndarray, "n *rest"] | None
) -> Float[np.ndarray, "n *rest"]:
    if gaps is None:
        return values.astype(np.float64, copy=False)
    whole = np.array(values, dtype=np.float64)
    np.copyto(whole, mean_of_observed(whole, gaps), where=gaps)
    return whole


def _gaps(values: Shaped[np.ndarray, "n *rest"]) -> Bool[np.ndarray, "n *rest"] | None:
    """Which genotypes are missing; None if none is."""
    if values.dtype.kind != "f" and values.dtype != np.int8:
        return None
    gaps = np.isnan(values) if values.dtype.kind == "f" else values == MISSING_GENOTYPE
    return gaps if gaps.any() else None


def mean_of_observed(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Mean over the individuals observed, 0 where there is none."""
    observed = ~missing
    return np.sum(values, axis=0, where=observed) / np.maximum(observed.sum(axis=0), 1)


def as_genotypes(
    G: ArrayOrFrame | DosageReader, null: NullModel, interaction: ArrayOrFrame | None = None
) -> Genotypes:
    """Genotypes of the individuals of a null model; infinite ones are refused.

    An ``interaction`` (n,), which must be among the covariates, multiplies a second column.
    """
    found = _genotypes(G, null)
    if interaction is None:
        return found
    if found.columns > 1:
        raise ValueError("interaction is for markers of one column: multiply the columns yourself.")
    column = _interacting_column(null, found, interaction)
    return replace(found, interaction=null.design[:, column])


def _interacting_column(null: NullModel, genotypes: Genotypes, interaction: ArrayOrFrame) -> int:
    """Number of the covariate that interacts with the markers."""
    columns = interacting_columns(null, genotypes, interaction)
    if len(columns) != 1:
        raise ValueError(f"interaction must be one covariate, got {len(columns)}.")
    return columns[0]


def interacting_columns(
    null: NullModel, genotypes: Genotypes, interaction: ArrayOrFrame
) -> list[int]:
    """Numbers of the covariates that interact with the markers."""
    check_same_individuals(
        null=null.names_of_individuals,
        G=Labelled(None, genotypes.individuals),
        interaction=as_covariates(interaction, null.n, "interaction"),
    )
    return null.covariate_columns(interaction)


def as_dosages(G: ArrayOrFrame | DosageReader, null: NullModel) -> Genotypes:
    """Genotypes with one column a marker."""
    found = _genotypes(G, null)
    if found.columns > 1:
        raise ValueError(
            f"G must have one column a marker here, got {found.columns}: use scan for markers of "
            "several."
        )
    return found


def _genotypes(G: ArrayOrFrame | DosageReader, null: NullModel) -> Genotypes:
    if not isinstance(null, NullModel):
        raise ValueError(
            f"null must be a NullModel, got {type(null).__name__}: make one of the kinship, the "
            "traits and the covariates, NullModel(K, Y, X)."
        )
    n = null.n
    if isinstance(G, DosageReader):
        if G.shape[0] != n:
            raise ValueError(f"G has {G.shape[0]} individuals and Y has {n}.")
        return Genotypes(G, None, None)
    if np.ndim(G) == 3:
        values = G if is_traced(G) else np.asarray(G)
        if values.shape[0] != n:
            raise ValueError(
                f"G must have shape ({n}, M, k), one row for each of the {n} individuals of Y, got "
                f"shape {values.shape}."
            )
        if values.shape[2] == 0:
            raise ValueError(f"G has no columns a marker, its shape is {values.shape}: give one.")
        if not is_traced(values) and np.isinf(values).any():
            raise ValueError("G has infinite values: replace them by numbers or by NaN.")
        table = Labelled(values, None, None)
    elif isinstance(G, np.ndarray) and G.dtype.kind in "iuf" and G.ndim == 2 and len(G) == n:
        # Kept in their own type: eight times the memory would be no help.
        if G.dtype.kind == "f" and np.isinf(G).any():
            raise ValueError("G has infinite values: replace them by numbers or by NaN.")
        table = Labelled(G, None, None)
    else:
        table = as_traits("G", G, n, missing=True)
        if np.ndim(table.values) == 1:
            table = table._replace(values=table.values[:, None])
        check_same_individuals(null=null.names_of_individuals, G=table)
    return Genotypes(table.values, table.columns, table.rows)
