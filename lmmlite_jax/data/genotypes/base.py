"""What all genotype files have in common: samples, variants, and dosages read in blocks."""

from __future__ import annotations

import csv
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated
from lmmlite_jax.data._text import base_pairs, check_readable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MISSING_GENOTYPE",
    "Block",
    "GenotypeFile",
    "check_dosages",
    "multiallelic_note",
    "spaced_lines",
    "variant_table",
]

MISSING_GENOTYPE = -127
"""What stands for a missing genotype where they are small integers: bed-reader's."""

_NO_ID = ("", ".")


class Block(NamedTuple):
    """Some variants and their dosages.

    Attributes
    ----------
    variants : (k,) int array
        Which rows of `GenotypeFile.variants` they are.
    dosages : (n, k) array
        As from `GenotypeFile.read`.
    """

    variants: np.ndarray
    dosages: np.ndarray


class GenotypeFile(ABC):
    """Genotypes in a file, of which some are read at a time; `open_genotypes` makes one.

    It is a context manager that closes the file.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the prefix of the files.
    samples : tuple of n str
        Ids of the samples, in the file's order.
    variants : pandas.DataFrame
        One row a variant in the file's order, its id in the index; columns ``chrom`` (str), ``pos``
        (int, base pairs, 0 where unknown), ``a1`` (the allele that is counted) and ``a0`` (the
        other); ``cM`` too where an R/qtl2 file has a genetic map.
    counts : str
        Which allele's copies the dosages are, of this format.
    notes : tuple of str
        What a reader of the log should know, such as how many variants were left out and why.
    """

    counts: str

    def __init__(
        self, path: Path, samples: Sequence[str], variants: pd.DataFrame, notes: Sequence[str] = ()
    ) -> None:
        if not samples:
            raise ValueError(f"{path} names no sample.")
        twice = repeated(samples)
        if twice:
            raise ValueError(
                f"{path}: sample ids appear more than once ({len(twice)} of them: {few(twice)}): "
                "each sample needs its own."
            )
        if variants.empty:
            raise ValueError(f"{path} holds no variant with two alleles.")
        self.path = path
        self.samples = tuple(samples)
        self.variants = variants
        self.notes = tuple(notes)
        self._lock = threading.Lock()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return (self.path,)

    def read(
        self, which: Any = slice(None), samples: Any = None, *, packed: bool = False
    ) -> np.ndarray:
        """Read the dosages of some variants.

        Parameters
        ----------
        which : slice or (k,) int array
            Rows of `variants`, in the order wanted.
        samples : (s,) int array, optional
            Positions in the file's `samples`, in the order wanted; all when not given.
        packed : bool
            Whether a file that has whole copies alone gives them as int8, -127 where missing.

        Returns
        -------
        (s, k) float32 numpy.ndarray
            Copies of allele ``a1``, from 0 to 2; NaN where missing.

        Raises
        ------
        IndexError
            If a variant or sample is not among those of the file.
        ValueError
            If the file holds something else than it should there.
        """
        chosen = _positions(which, len(self.variants), "variants", self.path)
        among = None
        if samples is not None:
            among = _positions(samples, len(self.samples), "samples", self.path)
        if chosen.size == 0:
            return np.empty((len(self.samples) if among is None else among.size, 0), np.float32)
        with self._lock:
            found = self._load(chosen, among)
        if packed or found.dtype == np.float32:
            return found
        dosages = found.astype(np.float32)
        dosages[found == MISSING_GENOTYPE] = np.nan
        return dosages

    def blocks(
        self,
        which: Any = slice(None),
        width: int = 4096,
        samples: Any = None,
        *,
        packed: bool = False,
    ) -> Iterator[Block]:
        """Read the dosages of some variants block by block, one block ahead.

        One thread in the background reads the next block while the last one is worked on; it calls
        nothing but the reader of the file.

        Parameters
        ----------
        which, samples, packed
            As for `read`.
        width : int
            Variants in a block; the last one may have fewer.

        Yields
        ------
        Block
            ``(variants, dosages)``.
        """
        if width < 1:
            raise ValueError(f"width is {width}: give at least 1.")
        chosen = _positions(which, len(self.variants), "variants", self.path)
        parts = [chosen[start : start + width] for start in range(0, chosen.size, width)]
        read = partial(self.read, samples=samples, packed=packed)
        with ThreadPoolExecutor(1, "genotypes") as thread:
            ahead = [thread.submit(read, part) for part in parts[:1]]
            for number, part in enumerate(parts):
                dosages = ahead.pop().result()
                ahead += [thread.submit(read, some) for some in parts[number + 1 : number + 2]]
                yield Block(part, dosages)

    def close(self) -> None:  # noqa: B027 (not every format keeps a file open)
        """Close the file."""

    def __enter__(self) -> GenotypeFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        samples = counted(len(self.samples), "sample")
        variants = counted(len(self.variants), "variant")
        return f"{type(self).__name__}({str(self.path)!r}: {samples}, {variants})"

    @abstractmethod
    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        """Read dosages of `variants` (at least one) in `samples`; one caller at a time.

        In float32, or in int8 with `MISSING_GENOTYPE`.
        """


def variant_table(
    path: Path, ids: Any, chrom: Any, pos: Any, a1: Any, a0: Any
) -> tuple[pd.DataFrame, list[str]]:
    """Table of variants as `GenotypeFile` has it, and what there is to say about it.

    Variants without an id (``.`` or empty) are named ``chrom_pos_a0_a1``.
    """
    pd = require("pandas", "genotypes")
    table = pd.DataFrame(
        {
            "chrom": pd.array(chrom, dtype="str"),
            "pos": _whole_numbers(pos, path),
            "a1": pd.array(a1, dtype="str"),
            "a0": pd.array(a0, dtype="str"),
        }
    )
    names = pd.Series(pd.array(ids, dtype="str"))
    nameless = names.isin(_NO_ID).to_numpy()
    notes = []
    if nameless.any():
        some = counted(
            int(nameless.sum()), "variant without an id is", "variants without an id are"
        )
        notes.append(f"{some} named chrom_pos_a0_a1")
        rows = table[nameless]
        names[nameless] = (
            rows["chrom"] + "_" + rows["pos"].astype("str") + "_" + rows["a0"] + "_" + rows["a1"]
        )
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{path}: variant ids appear more than once ({len(twice)} of them: {few(twice)}): give "
            "each variant its own, for instance with plink2 --set-all-var-ids '@:#:$r:$a'."
        )
    unplaced = (table["chrom"] == "").to_numpy()
    if unplaced.any():
        raise ValueError(f"{path}: variant {names[unplaced].iloc[0]!r} has no chromosome.")
    return table.set_index(pd.Index(names, name="variant_id")), notes


def multiallelic_note(count: int) -> list[str]:
    """Say how many variants were left out because they have not two alleles."""
    if count == 0:
        return []
    return [
        counted(count, "variant that has", "variants that have")
        + f" not exactly two alleles {'is' if count == 1 else 'are'} left out (to keep each "
        "alternate allele, split them, for instance with bcftools norm -m-)"
    ]


def spaced_lines(path: Path, columns: int, what: str) -> pd.DataFrame:
    """Text of a table without header, its cells separated by runs of spaces or tabs."""
    check_readable(path)
    pd = require("pandas", "genotypes")
    expected = f"{columns} columns separated by spaces or tabs ({what})"
    try:
        table = pd.read_csv(
            path, sep=r"\s+", header=None, dtype=str, na_filter=False, quoting=csv.QUOTE_NONE
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table of {expected}: {error}") from error
    if table.shape[1] != columns:
        raise ValueError(
            f"{path}: the first line has {table.shape[1]} columns, expected {expected}."
        )
    short = np.flatnonzero((table[columns - 1] == "").to_numpy())
    if short.size:
        raise ValueError(f"{path}: line {short[0] + 1} has fewer cells than {expected}.")
    return table


def check_dosages(dosages: np.ndarray, names: Any, path: Path) -> np.ndarray:
    """Return (n, k) dosages, or raise if one is neither missing nor from 0 to 2."""
    with np.errstate(invalid="ignore"):
        outside = (dosages < 0) | (dosages > 2)
    if outside.any():
        i, j = np.argwhere(outside)[0]
        raise ValueError(
            f"{path}: the dosage {dosages[i, j]:g} of variant {names[j]!r} is not from 0 to 2: "
            "give copies of one allele, and leave missing ones empty."
        )
    return dosages


def _positions(which: Any, count: int, of: str, path: Path) -> np.ndarray:
    if isinstance(which, slice):
        return np.arange(count)[which]
    positions = np.asarray(which)
    if positions.size == 0:
        return np.empty(0, dtype=np.intp)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise IndexError(
            f"{of} must be a slice or whole numbers in one dimension, got shape {positions.shape} "
            f"of type {positions.dtype}."
        )
    if positions.min() < 0 or positions.max() >= count:
        wrong = positions[(positions < 0) | (positions >= count)][0]
        raise IndexError(f"{of}: {wrong} is not among the {count} of {path}, 0 to {count - 1}.")
    return positions.astype(np.intp)


def _whole_numbers(values: Any, path: Path) -> np.ndarray:
    pd = require("pandas", "genotypes")
    numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=float)
    return base_pairs(
        numbers, lambda row: f"the position of variant {row + 1} is {values[row]!r}", path
    )
