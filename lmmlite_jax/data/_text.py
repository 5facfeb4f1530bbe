"""Delimited text files, read into arrow tables of strings, and columns of numbers out of them."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few, repeated

__all__ = [
    "MISSING",
    "base_pairs",
    "check_delimiter",
    "check_readable",
    "decoded",
    "delimiter_of",
    "is_gzip",
    "is_number",
    "numbers",
    "parse",
    "row_ids",
    "two_columns",
]

MISSING = ("", "NA", "NaN", "nan")
"""Cells without a value."""

_LONGEST_ROW = 1 << 26  # bytes; pyarrow's own limit of 1 MiB is 50,000 traits
_LONGEST_ID = 40  # that a message shows whole
_LARGEST_POSITION = 2**53  # up to which every whole number is a float64
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}


def check_readable(path: Path) -> None:
    """Raise if there is no file at `path`, or nothing in it."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")


def is_gzip(path: Path) -> bool:
    """Tell a gzip file by its name."""
    return path.suffix.lower() == ".gz"


def delimiter_of(path: Path, first: str) -> str:
    """As `read_table` tells it: by the name, and in .txt by the first line."""
    ending = Path(path.stem).suffix if is_gzip(path) else path.suffix
    if ending.lower() == ".csv":
        return ","
    return "\t" if ending.lower() == ".tsv" or "\t" in first else " "


def decoded(path: Path) -> str:
    """Text of a file, unpacked: line feeds end its lines, none of which is empty at either end."""
    content = path.read_bytes()
    if is_gzip(path):
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


def two_columns(path: Path, separator: str | None, what: str) -> list[list[str]]:
    """Read a file of two columns of text without a header, separated as `str.split` takes it.

    ``what`` says in the message by what cells are separated, and what they are.
    """
    check_readable(path)
    lines = decoded(path).split("\n")
    pairs = [[cell.strip() for cell in line.split(separator)] for line in lines]
    for number, cells in enumerate(pairs, start=1):
        filled = sum(cell != "" for cell in cells)
        if len(cells) != 2 or filled != 2:
            raise ValueError(
                f"{path}: line {number} has {filled} cells, expected two separated by {what}."
            )
    return pairs


def check_delimiter(names: Sequence[str], delimiter: str, path: Path) -> None:
    """Raise if the first line is one cell, and name the delimiter it seems to have."""
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


def is_number(text: str) -> bool:
    """Tell whether a cell holds a number."""
    return re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", text, re.IGNORECASE) is not None


def parse(text: str, names: Sequence[str], delimiter: str, path: Path) -> Any:
    """Return the lines below the header as an arrow table of strings."""
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
        first = row.text.partition(delimiter)[0]
        first = first if len(first) <= _LONGEST_ID else f"{first[:_LONGEST_ID]}…"
        raise ValueError(
            f"{path}: the header has {len(names)} cells and the row of "
            f"{first!r} has {row.actual_columns}: every row needs as "
            "many cells as the header, whose first cell stands above the ids (write.table in R: "
            "col.names=NA)."
        ) from error


def row_ids(column: Any, path: Path, of: str = "sample") -> list[str]:
    """Ids of the rows, none empty and none twice; `of` says of what."""
    ids = ["" if value is None else str(value).strip() for value in column.to_pylist()]
    if "" in ids:
        raise ValueError(f"{path}: row {ids.index('') + 1} below the header has no {of} id.")
    twice = repeated(ids)
    if twice:
        raise ValueError(
            f"{path}: {of} ids appear more than once ({len(twice)} of them: {few(twice)}): "
            "keep one row for each."
        )
    return ids


def numbers(
    column: Any, name: str, ids: Sequence[str], path: Path, of: str = "sample"
) -> np.ndarray:
    """Convert one column of text or numbers to float64, NaN where a value is missing."""
    arrow = require("pyarrow", "io")
    compute = require("pyarrow.compute", "io")
    if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type):
        column = compute.utf8_trim_whitespace(column)
        missing = compute.is_in(column, value_set=arrow.array(MISSING, column.type))
        column = compute.if_else(missing, arrow.scalar(None, column.type), column)
    try:
        values = compute.cast(column, arrow.float64(), safe=False)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        row, value = _first_not_a_number(column, arrow)
        raise ValueError(
            f"{path}: column {name!r} holds {value!r} for {of} {ids[row]!r}: numbers are "
            "expected, and NA where one is missing."
        ) from error
    return values.to_numpy().astype(float)


def base_pairs(values: np.ndarray, which: Callable[[int], str], path: Path) -> np.ndarray:
    """Positions (k,) as int64; `which` says what a row's position is, for the error message.

    Raises
    ------
    ValueError
        If one is missing, infinite, not a whole number, or so large that it has lost digits.
    """
    wrong = ~((values == np.round(values)) & (np.abs(values) <= _LARGEST_POSITION))
    if wrong.any():
        raise ValueError(
            f"{path}: {which(int(np.flatnonzero(wrong)[0]))}, expected a whole number of base "
            "pairs of at most 2^53."
        )
    return values.astype(np.int64)


def _first_not_a_number(column: Any, arrow: Any) -> tuple[int, str]:
    for row, value in enumerate(column):
        try:
            value.cast(arrow.float64())
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError):
            if value.is_valid:
                return row, str(value.as_py())
    raise AssertionError("every value of the column is a number")
