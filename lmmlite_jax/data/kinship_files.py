"""Kinship matrices: read from the files that programs write, made from genotypes, and written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated
from lmmlite_jax.data.tables import (
    check_place,
    check_writable,
    read_table,
    whole_file,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_kinship_writable",
    "read_kinship",
    "read_loco_kinship",
    "write_kinship",
]

_LOCO = "without_"


def read_kinship(path: str | os.PathLike[str], ids: Sequence[str] | None = None) -> pd.DataFrame:
    r"""Read a kinship matrix.

    ===========================  ==========================================================
    name ends in                 format
    ===========================  ==========================================================
    ``.grm.bin``                 GCTA: lower triangle, float32; ids are the second column (IID)
                                 of the ``.grm.id`` beside it
    ``.cXX.txt``, ``.sXX.txt``   GEMMA: numbers only, no ids
    ``.npy``                     NumPy: one square array, no ids
    ``.npz``                     NumPy: one square array and, if present, its names in ``ids``
    as for `read_table`          square table with ids in its first column and in its header
    ===========================  ==========================================================

    Whether the matrix is positive semidefinite is checked where it is used, not here.

    Parameters
    ----------
    path : path
        The file.
    ids : sequence of n str, optional
        The samples, in order, of a file that does not name them.

    Returns
    -------
    pandas.DataFrame
        (n, n) float64, ids in rows and columns. Where neither the file nor `ids` name the samples
        the index is a `pandas.RangeIndex`, by which `match_samples` knows an unlabelled matrix.

    Raises
    ------
    FileNotFoundError
        If the file, or the ``.grm.id`` beside a ``.grm.bin``, is missing.
    ValueError
        If the file is not what its name says, the matrix is not square, its row and column ids
        differ, ids are repeated or too few, values are missing, or `ids` is given for a file that
        has its own.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_kinship
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mice.cXX.txt"
    >>> _ = path.write_text("1 0.5\n0.5 1\n")
    >>> read_kinship(path, ids=["mouse1", "mouse2"])
            mouse1  mouse2
    mouse1     1.0     0.5
    mouse2     0.5     1.0
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    name = path.name.lower()
    if name.endswith(".grm.bin"):
        return _labelled(*_read_gcta(path), ids, path)
    if name.endswith((".cxx.txt", ".sxx.txt")):
        return _labelled(_read_gemma(path), None, ids, path)
    if name.endswith(".npy"):
        return _labelled(_read_npy(path), None, ids, path)
    if name.endswith(".npz"):
        return _labelled(*_read_npz(path), ids, path)
    return _labelled(*_read_square_table(path), ids, path)


def read_loco_kinship(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """Read kinships that leave one chromosome out, as `write_kinship` writes them.

    Parameters
    ----------
    path : path
        A ``.npz`` file.

    Returns
    -------
    dict of str to (n, n) pandas.DataFrame
        By chromosome, the kinship from all others.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds something else.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> from lmmlite_jax.data import read_loco_kinship, write_kinship
    >>> path, mice = pathlib.Path(tempfile.mkdtemp()) / "loco.npz", ["mouse1", "mouse2"]
    >>> write_kinship({c: pd.DataFrame(np.eye(2), mice, mice) for c in ("1", "2")}, path)
    >>> {chromosome: K.shape for chromosome, K in read_loco_kinship(path).items()}
    {'1': (2, 2), '2': (2, 2)}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    arrays, ids = _arrays_and_ids(path) if path.suffix.lower() == ".npz" else ({}, None)
    if not arrays or ids is None or not all(name.startswith(_LOCO) for name in arrays):
        raise ValueError(
            f"{path} holds no kinships without one chromosome each: write them with lmmlite-jax "
            "kinship --loco, into a file whose name ends in .npz."
        )
    return {
        name.removeprefix(_LOCO): _labelled(array, ids, None, path)
        for name, array in arrays.items()
    }


def check_kinship_writable(path: str | os.PathLike[str], *, loco: bool) -> None:
    """Raise what `write_kinship` would for `path`, before the work that makes the kinship.

    >>> check_kinship_writable("kinship.tsv", loco=True)
    Traceback (most recent call last):
    ValueError: kinship.tsv: kinships without one chromosome each go into a file named .npz.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        check_place(path)
    elif loco:
        raise ValueError(f"{path}: kinships without one chromosome each go into a file named .npz.")
    else:
        check_writable(path)


def write_kinship(
    kinship: pd.DataFrame | dict[str, pd.DataFrame], path: str | os.PathLike[str]
) -> None:
    """Write a kinship matrix with its ids, or those that leave one chromosome out.

    The file appears whole or not at all.

    Parameters
    ----------
    kinship : (n, n) pandas.DataFrame, or dict of them by chromosome
        Ids in rows and columns, the same in all.
    path : path
        Name ending in ``.npz``, or, for one matrix, as for `write_table`.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the name has another ending or is a folder's.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from lmmlite_jax.data import read_kinship, write_kinship
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "kinship.npz"
    >>> write_kinship(pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], ["a", "b"], ["a", "b"]), path)
    >>> read_kinship(path)
         a    b
    a  1.0  0.5
    b  0.5  1.0
    """
    path = Path(path)
    matrices: dict[str, pd.DataFrame]
    if isinstance(kinship, dict):
        check_kinship_writable(path, loco=True)
        matrices = {f"{_LOCO}{chrom}": matrix for chrom, matrix in kinship.items()}
    else:
        check_kinship_writable(path, loco=False)
        if path.suffix.lower() != ".npz":
            write_table(kinship, path)
            return
        matrices = {"kinship": kinship}
    ids = next(iter(matrices.values())).index
    arrays: dict[str, Any] = {name: matrix.to_numpy() for name, matrix in matrices.items()}
    with whole_file(path) as stream:
        np.savez_compressed(stream, ids=np.array(ids, dtype=np.str_), **arrays)


def _read_gcta(path: Path) -> tuple[np.ndarray, list[str]]:
    ids = _gcta_ids(path.with_name(path.name[: -len("bin")] + "id"))
    n = len(ids)
    expected, found = 4 * n * (n + 1) // 2, path.stat().st_size
    if found != expected:
        raise ValueError(
            f"{path} holds {found} bytes and its .grm.id names {n} samples, which take {expected}: "
            "the file is truncated or belongs to other samples."
        )
    kinship = np.zeros((n, n))
    lower = np.tril_indices(n)
    kinship[lower] = np.fromfile(path, dtype="<f4")
    kinship.T[lower] = kinship[lower]
    return kinship, ids


def _gcta_ids(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file, it names the samples of .grm.bin.")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, cells in enumerate(lines, start=1):
        if len(cells) < 2:
            raise ValueError(f"{path}: line {number} has one cell, expected FID and IID.")
    return [cells[1] for cells in lines]


def _read_gemma(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    try:
        return np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a GEMMA kinship matrix of numbers only: {error}"
        ) from error


def _read_npy(path: Path) -> np.ndarray:
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is named .npy and holds several arrays: end its name in .npz.")
    return array


def _read_npz(path: Path) -> tuple[np.ndarray, list[str] | None]:
    arrays, ids = _arrays_and_ids(path)
    if any(name.startswith(_LOCO) for name in arrays):
        raise ValueError(
            f"{path} holds kinships without one chromosome each: one kinship of the whole genome "
            "is expected."
        )
    square = [name for name, array in arrays.items() if array.ndim == 2]
    if len(square) != 1:
        raise ValueError(
            f"{path} holds {len(square)} two-dimensional arrays ({few(square) or 'none'}): "
            "save one, and the names of its rows as ids."
        )
    return arrays[square[0]], ids


def _arrays_and_ids(path: Path) -> tuple[dict[str, np.ndarray], list[str] | None]:
    arrays = _load(path)
    if isinstance(arrays, np.ndarray):
        raise ValueError(f"{path} is named .npz and holds one bare array: end its name in .npy.")
    ids = arrays.pop("ids", None)
    if ids is not None and ids.ndim != 1:
        raise ValueError(f"{path}: ids has shape {ids.shape}, expected one dimension.")
    return arrays, None if ids is None else [str(name) for name in ids]


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        with open(path, "rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                return dict(loaded)
            read, held = stream.tell(), path.stat().st_size
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is not a whole NumPy file of numbers and names.") from error
    if held != read:
        raise ValueError(
            f"{path} holds {held} bytes and its array of shape {loaded.shape} ends after {read}: "
            "it was written twice or is damaged, write it again."
        )
    return loaded


def _read_square_table(path: Path) -> tuple[np.ndarray, list[str]]:
    table = read_table(path)
    rows, columns = list(table.index), list(table.columns)
    if len(rows) != len(columns):
        raise ValueError(
            f"{path} is not square: {counted(len(rows), 'row')} and "
            f"{counted(len(columns), 'column')}."
        )
    differing = sorted(set(rows) ^ set(columns))
    if differing:
        raise ValueError(
            f"{path}: its rows and columns name different samples ({few(differing)} in one of the "
            "two only)."
        )
    return table[rows].to_numpy(), rows


def _labelled(
    kinship: np.ndarray, own: list[str] | None, given: Sequence[str] | None, path: Path
) -> pd.DataFrame:
    """Check the matrix and put the names it came with, or those given, on its rows and columns."""
    if own is not None and given is not None:
        raise ValueError(f"{path} names its samples itself: leave ids out.")
    if kinship.ndim != 2 or kinship.shape[0] != kinship.shape[1]:
        raise ValueError(f"{path} is not square: its shape is {kinship.shape}.")
    if kinship.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds values of type {kinship.dtype}: numbers are expected.")
    ids = own if given is None else [str(name) for name in given]
    if ids is not None:
        _check_ids(ids, len(kinship), path)
    finite = np.isfinite(kinship)
    if not finite.all():
        row, column = (int(position[0]) for position in np.nonzero(~finite))
        pair = f"{ids[row]} and {ids[column]}" if ids else f"rows {row + 1} and {column + 1}"
        raise ValueError(f"{path}: the kinship of {pair} is {kinship[row, column]}.")
    pd = require("pandas", "io")
    index = pd.RangeIndex(len(kinship)) if ids is None else pd.Index(ids, dtype="str")
    return pd.DataFrame(kinship.astype(float), index=index, columns=index)


def _check_ids(ids: Sequence[str], n: int, path: Path) -> None:
    if len(ids) != n:
        raise ValueError(f"{path} has {n} rows and {len(ids)} ids: give one for each row.")
    if repeated(ids):
        raise ValueError(
            f"{path}: sample ids are repeated ({few(repeated(ids))}): each row needs its own."
        )
