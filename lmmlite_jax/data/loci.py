"""Loci of features, as fine-mapping takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few
from lmmlite_jax.data._text import (
    base_pairs,
    check_delimiter,
    check_readable,
    decoded,
    numbers,
    parse,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_loci"]

_OTHER_NAMES = {"chrom": "chr", "chromosome": "chr", "position": "pos"}


def read_loci(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read loci of features, in tensorQTL's form.

    Parameters
    ----------
    path : path
        ``.parquet``, or text with tabs (commas in ``.csv``), also with ``.gz``: columns
        ``phenotype_id``, ``chr`` and ``pos``, or ``start`` and ``end`` in its place, and perhaps
        others, in any order. A feature may have several loci.

    Returns
    -------
    (loci × 4) pandas.DataFrame
        Columns ``phenotype_id``, ``chrom`` (str), ``start`` and ``end`` (int).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is absent, a cell is empty, or a place is no whole number.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_loci
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "loci.tsv"
    >>> _ = path.write_text("phenotype_id\tchr\tpos\ng1\tchr1\t500\ng1\tchr2\t90\n")
    >>> read_loci(path)
      phenotype_id chrom  start  end
    0           g1  chr1    500  500
    1           g1  chr2     90   90
    """
    path = Path(path)
    check_readable(path)
    table = _read(path)
    names = [_OTHER_NAMES.get(name, name) for name in table.column_names]
    table = table.rename_columns(names)
    where = ["start", "end"] if {"start", "end"} <= {*names} else ["pos", "pos"]
    absent = [name for name in dict.fromkeys(["phenotype_id", "chr", *where]) if name not in names]
    if absent:
        raise ValueError(
            f"{path} has no column {' and no '.join(absent)} ({few(names, 6)}): loci have the "
            "columns phenotype_id, chr and pos, or start and end in its place."
        )
    ids, chrom = (
        ["" if one is None else str(one).strip() for one in table[name].to_pylist()]
        for name in ("phenotype_id", "chr")
    )
    for name, values in (("phenotype_id", ids), ("chr", chrom)):
        if "" in values:
            raise ValueError(f"{path}: row {values.index('') + 1} below the header has no {name}.")
    start, end = (_positions(table[name], name, ids, path) for name in where)
    pd = require("pandas", "io")
    columns = {"phenotype_id": pd.array(ids, dtype="str"), "chrom": pd.array(chrom, dtype="str")}
    return pd.DataFrame({**columns, "start": start, "end": end})


def _positions(column: Any, name: str, ids: list[str], path: Path) -> np.ndarray:
    values = numbers(column, name, ids, path, "feature")
    return base_pairs(
        values, lambda row: f"the {name} of a locus of {ids[row]!r} is {values[row]:g}", path
    )


def _read(path: Path) -> Any:
    """Return an arrow table."""
    if path.suffix.lower() == ".parquet":
        arrow, parquet = require("pyarrow", "io"), require("pyarrow.parquet", "io")
        try:
            return parquet.read_table(path)
        except arrow.ArrowInvalid as error:
            raise ValueError(
                f"{path} is named .parquet and is not a whole Parquet file."
            ) from error
    text = decoded(path)
    delimiter = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    names = [name.strip() for name in text.partition("\n")[0].split(delimiter)]
    check_delimiter(names, delimiter, path)
    return parse(text, names, delimiter, path)
