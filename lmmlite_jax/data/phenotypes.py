"""Phenotypes with their places on the genome."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated
from lmmlite_jax.data._text import (
    base_pairs,
    check_delimiter,
    check_readable,
    decoded,
    delimiter_of,
    numbers,
    parse,
    row_ids,
)
from lmmlite_jax.data.qtl2_files import Qtl2Cross, is_qtl2
from lmmlite_jax.data.tables import read_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Phenotypes",
    "is_oriented",
    "placed",
    "read_annotation",
    "read_features",
    "read_phenotypes",
]

_BED = (".bed", ".bed.gz", ".bed.parquet")
_ANNOTATION = ("feature_id", "chromosome", "start", "end")


class Phenotypes(NamedTuple):
    """Phenotypes and where on the genome they belong.

    Attributes
    ----------
    values : (features × samples) pandas.DataFrame
        float64, NaN where missing.
    positions : (features × 3) pandas.DataFrame or None
        Of the features whose place is known, in the order of `values`: ``chrom`` (str), ``start``
        and ``end`` (int, base pairs, the first base being 1, both included). The window of
        tensorQTL reaches from ``start - window`` to ``end + window``; where start and end are equal
        for all features they are its ``pos``, the transcription start site.
    """

    values: pd.DataFrame
    positions: pd.DataFrame | None


def read_phenotypes(
    path: str | os.PathLike[str], annotation: str | os.PathLike[str] | None = None
) -> Phenotypes:
    r"""Read phenotypes, one row a feature such as a gene, and their places.

    ==========================================  ====================================================
    name                                        format
    ==========================================  ====================================================
    ``.bed``, ``.bed.gz``, ``.bed.parquet``     tensorQTL's BED: columns ``#chr``, ``start``,
                                                ``end``, the feature's id, and one for each sample
    ``.zip``, ``.json``, ``.yaml``              R/qtl2: its ``pheno``, which has no places
    as for `read_table`                         features × samples; places from `annotation`
    ==========================================  ====================================================

    In a BED file start counts from 0, so that 1 is added to it, as tensorQTL does.

    Parameters
    ----------
    path : path
        The phenotypes.
    annotation : path, optional
        Places of the features, as for `read_annotation`. A BED file has its own.

    Returns
    -------
    Phenotypes
        ``(values, positions)``; positions are None where neither file has them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is empty or not what its name says, an id is repeated, a place ends before it
        starts, something is not a number, no feature is in the annotation, or the annotation of a
        BED file is given.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_phenotypes
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "expression.bed"
    >>> _ = path.write_text("#chr\tstart\tend\tgene_id\ts1\ts2\nchr1\t99\t100\tg1\t0.5\tNA\n")
    >>> values, positions = read_phenotypes(path)
    >>> values
              s1  s2
    gene_id
    g1       0.5 NaN
    >>> positions
            chrom  start  end
    gene_id
    g1       chr1    100  100
    """
    found = read_features(path)
    return found if annotation is None else placed(found, annotation, path)


def read_features(path: str | os.PathLike[str]) -> Phenotypes:
    """Do what `read_phenotypes` does without an annotation."""
    path = Path(path)
    if path.name.lower().endswith(_BED):
        return _read_bed(path)
    if is_qtl2(path):
        pheno = Qtl2Cross(path).numbers("pheno")
        if pheno is None:
            raise ValueError(f"{path}: the control file names no pheno.")
        return Phenotypes(pheno.T, None)
    return Phenotypes(read_rows(path, "feature"), None)


def is_oriented(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file's format says what its rows are, as BED and R/qtl2's do.

    >>> is_oriented("expression.bed.gz"), is_oriented("expression.tsv")
    (True, False)
    """
    return Path(path).name.lower().endswith(_BED) or is_qtl2(path)


def placed(
    found: Phenotypes, annotation: str | os.PathLike[str], path: str | os.PathLike[str]
) -> Phenotypes:
    """Give features that were read from ``path`` the places that an annotation has."""
    values = found.values
    if found.positions is not None:
        raise ValueError(f"{path} has the places of its features: leave the annotation out.")
    places = read_annotation(annotation)
    known = values.index[values.index.isin(places.index)]
    if known.empty:
        raise ValueError(
            f"{annotation} has none of the {counted(len(values), 'feature')} of {path} "
            f"({few(values.index)}; "
            f"its own: {few(places.index)}): give places of the same features, one row each, and "
            "phenotypes with features in rows."
        )
    return Phenotypes(values, places.loc[known])


def read_annotation(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read the places of features from a table in LIMIX's form.

    Parameters
    ----------
    path : path
        Text as for `read_table`, with columns ``feature_id``, ``chromosome``, ``start`` and
        ``end``, and perhaps others, in any order; bases count from 1, both ends included.

    Returns
    -------
    (features × 3) pandas.DataFrame
        Columns ``chrom`` (str), ``start`` and ``end`` (int), ids in the index.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is absent, an id is repeated, or a place is not two whole numbers in order.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data.phenotypes import read_annotation
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "genes.tsv"
    >>> _ = path.write_text("feature_id\tchromosome\tstart\tend\ng1\t1\t100\t900\n")
    >>> read_annotation(path)
               chrom  start  end
    feature_id
    g1             1    100  900
    """
    path = Path(path)
    check_readable(path)
    text = decoded(path)
    delimiter = delimiter_of(path, text.partition("\n")[0])
    if delimiter == " ":
        text, delimiter = "\n".join("\t".join(line.split()) for line in text.split("\n")), "\t"
    names = [name.strip().strip('"') for name in text.partition("\n")[0].split(delimiter)]
    check_delimiter(names, delimiter, path)
    absent = [name for name in _ANNOTATION if name not in names]
    if absent:
        raise ValueError(
            f"{path} has no column {' and no '.join(absent)} ({few(names, 6)}): an annotation has "
            f"the columns {', '.join(_ANNOTATION)}."
        )
    table = parse(text, names, delimiter, path)
    ids = row_ids(table["feature_id"], path, "feature")
    return _places(table, ids, ("chromosome", "start", "end"), "feature_id", path)


def _read_bed(path: Path) -> Phenotypes:
    check_readable(path)
    if path.suffix.lower() == ".parquet":
        parquet = require("pyarrow.parquet", "io")
        arrow = require("pyarrow", "io")
        try:
            table = parquet.read_table(path)
        except arrow.ArrowInvalid as error:
            raise ValueError(
                f"{path} is named .parquet and is not a whole Parquet file."
            ) from error
        names = _bed_order(table)
    else:
        text = decoded(path)
        names = text.partition("\n")[0].split("\t")
        check_delimiter(names, "\t", path)
        table = parse(text, names, "\t", path) if not repeated(names) else None
    if repeated(names):
        raise ValueError(
            f"{path}: sample ids appear more than once ({few(repeated(names))}): name each column "
            "once."
        )
    if [name.lower().lstrip("#") for name in names[:3]] not in (
        ["chr", "start", "end"],
        ["chrom", "start", "end"],
    ):
        raise ValueError(
            f"{path}: the first line begins {few(names)}, expected #chr, start, end, the feature's "
            "id and the samples' ids."
        )
    if len(names) < 5:
        raise ValueError(f"{path} has {counted(len(names), 'column')} and so no sample.")
    ids = row_ids(table[names[3]], path, "feature")
    columns = [numbers(table[name], name, ids, path, "feature") for name in names[4:]]
    pd = require("pandas", "io")
    frame = pd.DataFrame(
        np.column_stack(columns), pd.Index(ids, name=names[3], dtype="str"), columns=names[4:]
    )
    positions = _places(table, ids, names[:3], names[3], path, from_zero=True)
    return Phenotypes(frame, positions)


def _bed_order(table: Any) -> list[str]:
    """Order columns as in a BED file, the data frame's index, if it holds the ids, the fourth."""
    arrow = require("pyarrow", "io")
    index = [
        name
        for name in (table.schema.pandas_metadata or {}).get("index_columns", [])
        if isinstance(name, str)
    ]
    ids = [name for name in index if not arrow.types.is_integer(table.schema.field(name).type)]
    others = [name for name in table.column_names if name not in index]
    return [*others[:3], *ids[:1], *others[3:]]


def _places(
    table: Any,
    ids: Sequence[str],
    columns: Sequence[str],
    index: str,
    path: Path,
    *,
    from_zero: bool = False,
) -> pd.DataFrame:
    """Chromosome, start and end from columns of text or numbers, checked."""
    chrom = ["" if name is None else str(name).strip() for name in table[columns[0]].to_pylist()]
    if "" in chrom:
        raise ValueError(f"{path}: feature {ids[chrom.index('')]!r} has no chromosome.")
    start, end = (
        _ends(numbers(table[name], name, ids, path, "feature"), name, ids, path)
        for name in columns[1:]
    )
    start = start + from_zero
    if (end < start).any():
        row = int(np.flatnonzero(end < start)[0])
        hint = ", and a BED file's start counts from 0" if from_zero else ""
        raise ValueError(
            f"{path}: feature {ids[row]!r} ends at {end[row]}, before its start at "
            f"{start[row]}{hint}."
        )
    pd = require("pandas", "io")
    return pd.DataFrame(
        {"chrom": pd.array(chrom, dtype="str"), "start": start, "end": end},
        index=pd.Index(ids, name=index, dtype="str"),
    )


def _ends(values: np.ndarray, name: str, ids: Sequence[str], path: Path) -> np.ndarray:
    return base_pairs(
        values, lambda row: f"the {name} of feature {ids[row]!r} is {values[row]:g}", path
    )
