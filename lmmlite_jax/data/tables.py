"""Tables of samples × columns, read from and written to files."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import uuid
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._optional import require

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_writable", "read_table", "write_table"]

_READABLE = ".csv, .tsv, .txt (each also with .gz) or .parquet"
_WRITABLE = ".csv, .tsv (each also with .gz) or .parquet"
_MISSING = ("", "NA", "NaN", "nan")
_LONGEST_ROW = 1 << 26  # bytes; pyarrow's own limit of 1 MiB is 50,000 traits
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}


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
    path = Path(path)
    _check_readable(path)
    kind = _kind(path, _READABLE)
    table, id_column = _read_parquet(path) if kind == ".parquet" else _read_text(path, kind)
    if table.num_rows == 0:
        raise ValueError(f"{path}: there is a header and no row below it.")

    ids = _ids(table[id_column], path)
    names = [name for position, name in enumerate(table.column_names) if position > id_column]
    columns = [_numbers(table[id_column + 1 + k], name, ids, path) for k, name in enumerate(names)]
    pd = require("pandas", "io")
    index = pd.Index(ids, name=table.column_names[id_column], dtype="str")
    return pd.DataFrame(np.column_stack(columns), index=index, columns=names)


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
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        with open(unfinished, "xb") as stream:
            _write(frame, stream, kind, compressed=_is_gzip(path))
        os.replace(unfinished, path)
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


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _kind(path: Path, allowed: str) -> str:
    kind = Path(path.stem).suffix.lower() if _is_gzip(path) else path.suffix.lower()
    if kind not in re.findall(r"\.\w+", allowed) or (kind == ".parquet" and _is_gzip(path)):
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
    text = _decoded(path)
    spaced = kind == ".txt" and "\t" not in text.partition("\n")[0]
    if spaced:
        text = "\n".join("\t".join(line.split()) for line in text.split("\n"))
    delimiter = "," if kind == ".csv" else "\t"
    header = text.partition("\n")[0]
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    _check_delimiter(names, " " if spaced else delimiter, path)
    id_column = _check_header(names, path)
    return _parse(text, names, delimiter, path), id_column


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if _is_gzip(path):
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is named .gz and is not a whole gzip file.") from error
    elif content.startswith(b"\x1f\x8b"):
        raise ValueError(f"{path} is a gzip file: end its name in .gz.")
    if b"\x00" in content:
        raise ValueError(f"{path} holds binary data: a text table was expected.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    text = text.replace("\r\n", "\n").strip("\n")
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    return text


def _check_delimiter(names: Sequence[str], delimiter: str, path: Path) -> None:
    if len(names) > 1:
        return
    expected = _DELIMITERS[delimiter]
    held = [word for mark, word in _DELIMITERS.items() if mark in "".join(names)]
    if held:
        raise ValueError(
            f"{path}: wrong delimiter, columns separated by {expected} were expected and the first "
            f"line holds {held[0]}."
        )
    raise ValueError(f"{path}: the first line has one column, expected ids and at least one more.")


def _check_header(names: Sequence[str], path: Path) -> int:
    """Check the names of the columns and return the position of the ids."""
    if len(names) < 2:
        raise ValueError(f"{path} has {len(names)} columns, expected ids and at least one more.")
    if "" in names[1:]:
        raise ValueError(f"{path}: column {names.index('', 1) + 1} has no name in the first line.")
    twice = repeated(names)
    if twice:
        raise ValueError(
            f"{path}: column names are repeated ({few(twice)}): name each column once, in the "
            "first line."
        )
    if all(_is_number(name) for name in names[1:]) and any("." in name for name in names[1:]):
        raise ValueError(
            f"{path}: the first line holds numbers ({few(names[1:])}) where names of columns are "
            "expected: add a header line."
        )
    plink = [name.lstrip("#").upper() for name in names[:2]] == ["FID", "IID"]
    if plink and len(names) == 2:
        raise ValueError(f"{path} has no column besides FID and IID.")
    return int(plink)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", text, re.IGNORECASE) is not None


def _parse(text: str, names: Sequence[str], delimiter: str, path: Path) -> Any:
    arrow = require("pyarrow", "io")
    arrow_csv = require("pyarrow.csv", "io")
    refused: list[Any] = []

    def refuse(row: Any) -> str:
        refused.append(row)
        return "error"

    body = text.partition("\n")[2]
    if not body.strip():
        raise ValueError(f"{path}: there is a header and no row below it.")
    try:
        return arrow_csv.read_csv(
            io.BytesIO(body.encode()),
            arrow_csv.ReadOptions(column_names=names, block_size=_LONGEST_ROW),
            arrow_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=refuse),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, arrow.string())),
        )
    except arrow.ArrowInvalid as error:
        if not refused:
            raise ValueError(f"{path} cannot be read: {error}") from error
        row = refused[0]
        raise ValueError(
            f"{path}: the header has {len(names)} cells and the row of "
            f"{row.text.partition(delimiter)[0]!r} has {row.actual_columns}: every row needs as "
            "many cells as the header, whose first cell stands above the ids."
        ) from error


def _ids(column: Any, path: Path) -> list[str]:
    ids = ["" if value is None else str(value).strip() for value in column.to_pylist()]
    if "" in ids:
        raise ValueError(f"{path}: row {ids.index('') + 1} below the header has no sample id.")
    twice = repeated(ids)
    if twice:
        raise ValueError(
            f"{path}: sample ids appear more than once ({len(twice)} of them: {few(twice)}): "
            "keep one row for each."
        )
    return ids


def _numbers(column: Any, name: str, ids: Sequence[str], path: Path) -> np.ndarray:
    arrow = require("pyarrow", "io")
    compute = require("pyarrow.compute", "io")
    if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type):
        column = compute.utf8_trim_whitespace(column)
        missing = compute.is_in(column, value_set=arrow.array(_MISSING, column.type))
        column = compute.if_else(missing, arrow.scalar(None, column.type), column)
    try:
        numbers = compute.cast(column, arrow.float64(), safe=False)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        row, value = _first_not_a_number(column, arrow)
        raise ValueError(
            f"{path}: column {name!r} holds {value!r} for sample {ids[row]!r}: numbers are "
            "expected, and NA where one is missing."
        ) from error
    return numbers.to_numpy().astype(float)


def _first_not_a_number(column: Any, arrow: Any) -> tuple[int, str]:
    for row, value in enumerate(column):
        try:
            value.cast(arrow.float64())
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError):
            if value.is_valid:
                return row, str(value.as_py())
    raise AssertionError("every value of the column is a number")
