"""Tables of samples × columns, read from and written to files."""

from __future__ import annotations

import csv
import gzip
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated
from lmmlite_jax.data._text import (
    check_delimiter,
    check_readable,
    decoded,
    is_gzip,
    is_number,
    numbers,
    parse,
    row_ids,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_place",
    "check_writable",
    "read_rows",
    "read_table",
    "whole_file",
    "write_table",
]

_READABLE = ".csv, .tsv, .txt (each also with .gz) or .parquet"
_WRITABLE = ".csv, .tsv (each also with .gz) or .parquet"

_ABOVE_IDS = ("", "id", "ids", "iid", "sample", "sample_id")
"""First cells of a header: what follows are names, whatever they look like."""


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read numbers for named samples: one row a sample, its id in the first column.

    The name says the format: ``.csv`` (commas), ``.tsv`` (tabs), ``.txt`` (tabs if the header has
    one, else runs of spaces), each also with ``.gz``, or ``.parquet``. The first line is the
    header. Empty cells, NA and NaN are missing values. A table that begins with PLINK's columns FID
    and IID takes IID for id and leaves FID out.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    pandas.DataFrame
        (samples × columns) float64, NaN where a value is missing; the index holds the ids, as str.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, is not what its name says, repeats an id or a column name, has rows of
        different lengths, or holds something that is not a number.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_table
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pheno.csv"
    >>> _ = path.write_text("id,weight,length\nmouse1,21.5,9\nmouse2,NA,8.5\n")
    >>> read_table(path)
            weight  length
    id
    mouse1    21.5     9.0
    mouse2     NaN     8.5
    """
    return read_rows(path, "sample")


def read_rows(path: str | os.PathLike[str], of: str, *, text: bool = False) -> pd.DataFrame:
    """Do what `read_table` does for rows that are `of` something else, such as "feature".

    With `text` a column that holds something else than numbers is of the cells as they are.
    """
    path = Path(path)
    check_readable(path)
    kind = _kind(path, _READABLE)
    table, id_column = _read_parquet(path) if kind == ".parquet" else _read_text(path, kind)
    if table.num_rows == 0:
        raise ValueError(f"{path}: there is a header and no row below it.")

    ids = row_ids(table[id_column], path, of)
    names = [name for position, name in enumerate(table.column_names) if position > id_column]
    pd = require("pandas", "io")
    index = pd.Index(ids, name=table.column_names[id_column], dtype="str")
    cells = [table[id_column + 1 + k] for k in range(len(names))]
    if text:
        read = zip(names, cells, strict=True)
        own = {name: _numbers_or_text(column, name, ids, path, of) for name, column in read}
        return pd.DataFrame(own, index=index)
    read = zip(names, cells, strict=True)
    columns = [numbers(column, name, ids, path, of) for name, column in read]
    return pd.DataFrame(np.column_stack(columns), index=index, columns=names)


def _numbers_or_text(column: Any, name: str, ids: Sequence[str], path: Path, of: str) -> np.ndarray:
    try:
        return numbers(column, name, ids, path, of)
    except ValueError:
        cells = np.empty(len(ids), dtype=object)
        cells[:] = column.to_pylist()
        return cells


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table, its index first, in the format that the file's name says.

    The file appears whole or not at all: it is written beside its place and then moved there.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table; an index without a name is written as "id".
    path : path
        Name ending in ``.csv``, ``.tsv``, ``.csv.gz``, ``.tsv.gz`` or ``.parquet``.

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
    >>> from lmmlite_jax.data import read_table, write_table
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pheno.parquet"
    >>> write_table(pd.DataFrame({"weight": [21.5]}, index=["mouse1"]), path)
    >>> read_table(path)
            weight
    id
    mouse1    21.5
    """
    path = Path(path)
    check_writable(path)
    kind = _kind(path, _WRITABLE)
    frame = frame.rename_axis(index=str(frame.index.name or "id")).rename(columns=str)
    with whole_file(path) as stream:
        _write(frame, stream, kind, compressed=is_gzip(path))


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all: beside its place first, and moved there."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        with open(unfinished, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        # A full disk names no file.
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise what `write_table` would for `path`, before the work that makes the table.

    >>> check_writable("fits.xlsx")
    Traceback (most recent call last):
    ValueError: fits.xlsx: the name of a table ends in .csv, .tsv (each also with .gz) or .parquet.
    """
    path = Path(path)
    _kind(path, _WRITABLE)
    check_place(path)


def check_place(path: Path) -> None:
    """Raise if no file can be written there, because a folder is there or none is around it."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write it to.")


def _write(frame: pd.DataFrame, stream: IO[bytes], kind: str, *, compressed: bool) -> None:
    if kind == ".parquet":
        require("pyarrow", "io")
        frame.to_parquet(stream)
        return
    separator = "," if kind == ".csv" else "\t"
    with _gzip_writer(stream) if compressed else nullcontext(stream) as text:
        frame.to_csv(text, sep=separator, na_rep="NA", lineterminator="\n")


def _gzip_writer(stream: IO[bytes]) -> gzip.GzipFile:
    # Neither name nor time in its header: the same table gives the same bytes.
    return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0)


def _kind(path: Path, allowed: str) -> str:
    kind = Path(path.stem).suffix.lower() if is_gzip(path) else path.suffix.lower()
    if kind not in re.findall(r"\.\w+", allowed) or (kind == ".parquet" and is_gzip(path)):
        raise ValueError(f"{path}: the name of a table ends in {allowed}.")
    return kind


def _read_parquet(path: Path) -> tuple[Any, int]:
    """Return an arrow table and the position of its column of ids."""
    parquet = require("pyarrow.parquet", "io")
    arrow = require("pyarrow", "io")
    try:
        table = parquet.read_table(path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path} is named .parquet and is not a whole Parquet file.") from error
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    named = [name for name in index if isinstance(name, str)]
    if len(named) > 1:
        raise ValueError(f"{path} has {len(named)} index columns: keep the one that holds the ids.")
    if named:
        others = [name for name in table.column_names if name != named[0]]
        table = table.select([*named, *others])
        if named[0] == "__index_level_0__":
            table = table.rename_columns(["id", *others])
    return table, _check_header(table.column_names, path)


def _read_text(path: Path, kind: str) -> tuple[Any, int]:
    """Return an arrow table of strings and the position of its column of ids."""
    text = decoded(path)
    spaced = kind == ".txt" and "\t" not in text.partition("\n")[0]
    if spaced:
        text = "\n".join("\t".join(line.split()) for line in text.split("\n"))
    delimiter = "," if kind == ".csv" else "\t"
    header = text.partition("\n")[0]
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    check_delimiter(names, " " if spaced else delimiter, path)
    id_column = _check_header(names, path)
    return parse(text, names, delimiter, path), id_column


def _check_header(names: Sequence[str], path: Path) -> int:
    """Check the names of the columns and return the position of the ids."""
    if len(names) < 2:
        raise ValueError(
            f"{path} has {counted(len(names), 'column')}, expected ids and at least one more."
        )
    if "" in names[1:]:
        raise ValueError(f"{path}: column {names.index('', 1) + 1} has no name in the first line.")
    twice = repeated(names)
    if twice:
        raise ValueError(
            f"{path}: column names are repeated ({few(twice)}): name each column once, in the "
            "first line."
        )
    numeric = all(is_number(name) for name in names[1:]) and any("." in name for name in names[1:])
    if numeric and names[0].lower() not in _ABOVE_IDS:
        raise ValueError(
            f"{path}: the first line holds numbers ({few(names[1:])}) where names of columns are "
            "expected: add a header line."
        )
    plink = [name.lstrip("#").upper() for name in names[:2]] == ["FID", "IID"]
    if plink and len(names) == 2:
        raise ValueError(f"{path} has no column besides FID and IID.")
    return int(plink)
