"""Covariates, interactions and maps of ids."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated
from lmmlite_jax.data._text import (
    MISSING,
    check_readable,
    decoded,
    delimiter_of,
    is_number,
    numbers,
    parse,
    row_ids,
    two_columns,
)
from lmmlite_jax.data.orientation import has_samples_in_rows, turned
from lmmlite_jax.data.qtl2_files import Qtl2Cross, is_qtl2
from lmmlite_jax.data.tables import read_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["noted_covariates", "read_covariates", "read_interaction", "read_samples_map"]


def read_covariates(path: str | os.PathLike[str], samples: Collection[str]) -> pd.DataFrame:
    r"""Read covariates, whichever way round the table is.

    Parameters
    ----------
    path : path
        A table as for `read_table`, or transposed (covariates × samples, tensorQTL's form), in
        which a covariate may be of text: each level but the first in the alphabet becomes a column
        of 0 and 1. Or R/qtl2's zip or control file, of which the covariates that are numbers are
        taken, and sex as 0 (female) and 1 (male).
    samples : collection of str
        Ids that samples may have; they tell the rows from the columns.

    Returns
    -------
    (samples × covariates) pandas.DataFrame
        float64, NaN where missing; no intercept is added.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If neither rows nor columns are known samples, or the table cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_covariates
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "covariates.tsv"
    >>> _ = path.write_text("id\ts1\ts2\ts3\ts4\nPC1\t1\t-1\t0\t2\nsex\tf\tm\tf\tm\n")
    >>> read_covariates(path, ["s1", "s2", "s3", "s4"])
        PC1  sex_m
    s1  1.0    0.0
    s2 -1.0    1.0
    s3  0.0    0.0
    s4  2.0    1.0
    """
    return noted_covariates(path, samples)[0]


def noted_covariates(
    path: str | os.PathLike[str], samples: Collection[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Do what `read_covariates` does, and say what became of covariates of text."""
    if is_qtl2(path):
        table, text = Qtl2Cross(path).covariates()
        some = counted(len(text), "covariate of text is", "covariates of text are")
        return table, [f"{some} left out ({few(text)})"] if text else []
    cells = _samples_in_rows(read_rows(path, "row", text=True), samples, path)
    pd = require("pandas", "io")
    columns: dict[str, np.ndarray] = {}
    notes = []
    for name, column in cells.items():
        if pd.api.types.is_numeric_dtype(column):
            columns[str(name)] = column.to_numpy()
            continue
        own, levels = _numbers_or_levels(column, str(name), Path(path))
        twice = [one for one in own if one in columns]
        if twice:
            raise ValueError(f"{path} has two covariates {twice[0]!r}: rename one of them.")
        columns |= own
        if levels:
            against = f" against {levels[0]}" if len(levels) > 1 else ", which is constant"
            notes.append(f"{name}: {few(levels[1:] or levels, 10)}{against}")
    table = pd.DataFrame(columns, index=cells.index, dtype=float)
    infinite = np.argwhere(np.isinf(table.to_numpy()))
    if infinite.size:
        row, number = infinite[0]
        raise ValueError(
            f"{path}: covariate {table.columns[number]!r} is infinite for sample "
            f"{table.index[row]!r}: give a number, or NA, which leaves the sample out."
        )
    return table, notes


def _numbers_or_levels(
    column: pd.Series, name: str, path: Path
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns of one covariate: its own, or one for each level but the first; and the levels."""
    arrow = require("pyarrow", "io")
    missing = column.isna().to_numpy()
    text = [
        None if lacks else str(cell).strip() for cell, lacks in zip(column, missing, strict=True)
    ]
    text = [None if cell in MISSING else cell for cell in text]
    levels = sorted({cell for cell in text if cell is not None})
    try:
        cells = arrow.chunked_array([text], arrow.string())
        return {name: numbers(cells, name, list(column.index), path)}, []
    except ValueError:
        if any(is_number(level) for level in levels):
            raise
    if len(levels) > max(2, len(text) // 2):
        raise ValueError(
            f"{path}: covariate {name!r} holds {len(levels)} different texts for "
            f"{counted(len(text), 'sample')} ({few(levels)}): leave it out, or give levels that "
            "several samples share."
        )
    known = np.array([np.nan if cell is None else 0.0 for cell in text])
    same = np.array([[cell == level for cell in text] for level in levels[1:]])
    own = zip(levels[1:], same, strict=True)
    return {f"{name}_{level}": known + row for level, row in own}, levels


def read_interaction(path: str | os.PathLike[str], samples: Collection[str]) -> pd.DataFrame:
    r"""Read interaction terms: one value a sample, or several under a header.

    Parameters
    ----------
    path : path
        A table as for `read_covariates`, or tensorQTL's form without a header: a sample's id and
        its value in each line; the term is then named ``interaction``.
    samples : collection of str
        Ids that samples may have.

    Returns
    -------
    (samples × terms) pandas.DataFrame
        float64, NaN where missing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If neither rows nor columns are known samples, or the table cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_interaction
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "monocytes.tsv"
    >>> _ = path.write_text("s1\t0.2\ns2\t0.7\n")
    >>> read_interaction(path, ["s1", "s2"])
        interaction
    s1          0.2
    s2          0.7
    """
    path = Path(path)
    check_readable(path)
    if path.suffix.lower() == ".parquet":
        return read_covariates(path, samples)
    text = decoded(path)
    first = text.partition("\n")[0]
    delimiter = delimiter_of(path, first)
    cells = first.split() if delimiter == " " else first.split(delimiter)
    if len(cells) != 2 or not (cells[0] in set(samples) or is_number(cells[1].strip())):
        return read_covariates(path, samples)
    if delimiter == " ":
        text, delimiter = "\n".join("\t".join(line.split()) for line in text.split("\n")), "\t"
    table = parse(f"header\n{text}", ["id", "interaction"], delimiter, path)
    ids = row_ids(table["id"], path)
    pd = require("pandas", "io")
    frame = pd.DataFrame(
        {"interaction": numbers(table["interaction"], "interaction", ids, path)},
        index=pd.Index(ids, dtype="str"),
    )
    return _samples_in_rows(frame, samples, path)


def read_samples_map(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Read which sample of the genotypes each sample of the phenotypes is.

    Parameters
    ----------
    path : path
        Two columns without a header, separated by tabs or spaces: the id in the genotypes, and the
        id in the phenotypes (LIMIX's form).

    Returns
    -------
    dict of str to str
        Id in the genotypes, by id in the phenotypes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line does not have two ids, or an id is repeated.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_samples_map
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.tsv"
    >>> _ = path.write_text("NA06985\tERR188327\n")
    >>> read_samples_map(path)
    {'ERR188327': 'NA06985'}
    """
    path = Path(path)
    what = "a tab or spaces, the id in the genotypes and the id in the phenotypes"
    pairs = two_columns(path, None, what)
    for column, of in enumerate(("genotypes", "phenotypes")):
        twice = repeated(cells[column] for cells in pairs)
        if twice:
            raise ValueError(
                f"{path}: ids of the {of} appear more than once ({few(twice)}): one sample goes "
                "with one."
            )
    return {phenotype: genotype for genotype, phenotype in pairs}


def _samples_in_rows(
    table: pd.DataFrame, samples: Collection[str], path: str | os.PathLike[str]
) -> pd.DataFrame:
    known = set(samples)
    if not any(name in known for side in (table.index, table.columns) for name in side):
        raise ValueError(
            f"{path} names no sample of the other files in its rows ({few(table.index)}) or its "
            f"columns ({few(table.columns)}); theirs are {few(samples)}."
        )
    if has_samples_in_rows(table, known) is False:
        return turned(table)
    return table.rename_axis(index=None, columns=None)
