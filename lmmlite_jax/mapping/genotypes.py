"""Genotypes as a scan takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from lmmlite_jax.model.inputs import Labelled, as_traits
from lmmlite_jax.model.precision import AnyArray, is_traced

__all__ = ["DosageReader", "Genotypes", "as_genotypes", "mean_of_observed"]


@runtime_checkable
class DosageReader(Protocol):
    """Dosages (n, M) that are read when they are asked for, as from a file."""

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
        As given; NaN where missing.
    names, individuals : tuple of str or None
        Of markers and individuals, where a data frame came in.
    interaction : (n,) or None
        A covariate that multiplies a second column of every marker.
    missing : (M,)
        How many genotypes of each marker were replaced by its mean so far.
    """

    values: AnyArray | DosageReader
    names: tuple[str, ...] | None
    individuals: tuple[str, ...] | None
    missing: np.ndarray
    interaction: np.ndarray | None = None

    @property
    def markers(self) -> int:
        """M."""
        return self.values.shape[1]

    @property
    def columns(self) -> int:
        """Columns a marker, k."""
        if self.interaction is not None:
            return 2
        return self.values.shape[2] if len(self.values.shape) == 3 else 1

    def in_turn(self, markers: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, Genotypes]]:
        """Ascending markers in memory, ``width`` at a time, with their numbers."""
        parts = [markers[start : start + width] for start in range(0, markers.size, width)]
        held = self.values
        if isinstance(held, DosageReader):
            read = held.in_turn(markers, width)
        else:
            read = (np.asarray(held[:, part]) for part in parts)
        for part, values in zip(parts, read, strict=True):
            missing = np.zeros(part.size, dtype=np.int64)
            yield part, replace(self, values=values, names=None, missing=missing)

    def whole(self) -> AnyArray:
        """(n, M, k): all markers; traced ones as they came."""
        if isinstance(self.values, jax.Array):
            return self.values if self.values.ndim == 3 else self.values[:, :, None]
        return self.block(np.arange(self.markers), self.markers)

    def block(self, markers: np.ndarray, width: int) -> np.ndarray:
        """(n, width, k): some markers without gaps, and zeros after them."""
        contiguous = markers.size and np.ptp(markers) == markers.size - 1
        which = slice(markers[0], markers[-1] + 1) if contiguous else markers
        chosen = np.asarray(self.values[:, which], dtype=np.float64)
        gaps = np.isnan(chosen)
        if gaps.any():
            chosen = np.where(gaps, mean_of_observed(chosen, gaps), chosen)
            self.missing[markers] = (gaps if gaps.ndim == 2 else gaps.any(axis=2)).sum(axis=0)
        chosen = chosen if chosen.ndim == 3 else chosen[:, :, None]
        if self.interaction is not None:
            chosen = np.concatenate([chosen, chosen * self.interaction[:, None, None]], axis=2)
        empty = width - markers.size
        return np.pad(chosen, ((0, 0), (0, empty), (0, 0))) if empty else chosen


def mean_of_observed(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Mean over the individuals observed, 0 where there is none."""
    return np.where(missing, 0, values).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)


def as_genotypes(G: Any, n: int) -> Genotypes:
    """Genotypes of n individuals; infinite ones refused."""
    if isinstance(G, DosageReader):
        if G.shape[0] != n:
            raise ValueError(f"G has {G.shape[0]} individuals and Y has {n}.")
        return Genotypes(G, None, None, np.zeros(G.shape[1], dtype=np.int64))
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
    missing = np.zeros(table.values.shape[1], dtype=np.int64)
    return Genotypes(table.values, table.columns, table.rows, missing)
