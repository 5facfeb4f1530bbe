"""Phenotypes with their places on the genome, covariates, interactions and maps of ids."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._text import (
    base_pairs,
    check_delimiter,
    check_readable,
    decoded,
    is_gzip,
    is_number,
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
    "read_annotation",
    "read_covariates",
    "read_interaction",
    "read_phenotypes",
    "read_samples_map",
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
    path = Path(path)
    if path.name.lower().endswith(_BED):
        if annotation is not None:
            raise ValueError(f"{path} has the places of its features: leave the annotation out.")
        return _read_bed(path)
    if is_qtl2(path):
        pheno = Qtl2Cross(path).numbers("pheno")
        if pheno is None:
            raise ValueError(f"{path}: the control file names no pheno.")
        values = pheno.T
    else:
        values = read_rows(path, "feature")
    if annotation is None:
        return Phenotypes(values, None)
    places = read_annotation(annotation)
    known = values.index[values.index.isin(places.index)]
    if known.empty:
        raise ValueError(
            f"{annotation} has none of the {len(values)} features of {path} ({few(values.index)}; "
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
    delimiter = _delimiter(path, text.partition("\n")[0])
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


def read_covariates(path: str | os.PathLike[str], samples: Collection[str]) -> pd.DataFrame:
    r"""Read covariates, whichever way round the table is.

    Parameters
    ----------
    path : path
        A table as for `read_table`, or transposed (covariates × samples, tensorQTL's form), or
        R/qtl2's zip or control file, of which the covariates that are numbers are taken, and sex
        as 0 (female) and 1 (male).
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
    >>> _ = path.write_text("id\ts1\ts2\nPC1\t0.5\t-0.5\nsex\t0\t1\n")
    >>> read_covariates(path, ["s1", "s2", "s3"])
        PC1  sex
    s1  0.5  0.0
    s2 -0.5  1.0
    """
    if is_qtl2(path):
        return Qtl2Cross(path).covariates()[0]
    return _samples_in_rows(read_rows(path, "row"), samples, path)


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
    delimiter = _delimiter(path, first)
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
        If a line has not two ids, or an id is repeated.

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
    check_readable(path)
    pairs = [line.split() for line in decoded(path).split("\n")]
    for number, cells in enumerate(pairs, start=1):
        if len(cells) != 2:
            raise ValueError(
                f"{path}: line {number} has {len(cells)} cells, expected two separated by a tab or "
                "spaces, the id in the genotypes and the id in the phenotypes."
            )
    for column, of in enumerate(("genotypes", "phenotypes")):
        twice = repeated(cells[column] for cells in pairs)
        if twice:
            raise ValueError(
                f"{path}: ids of the {of} appear more than once ({few(twice)}): one sample goes "
                "with one."
            )
    return {phenotype: genotype for genotype, phenotype in pairs}


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
        raise ValueError(f"{path} has {len(names)} columns and so no sample.")
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


def _samples_in_rows(
    table: pd.DataFrame, samples: Collection[str], path: str | os.PathLike[str]
) -> pd.DataFrame:
    known = set(samples)
    in_rows, in_columns = (
        sum(name in known for name in side) for side in (table.index, table.columns)
    )
    if not in_rows and not in_columns:
        raise ValueError(
            f"{path} names no sample of the other files in its rows ({few(table.index)}) or its "
            f"columns ({few(table.columns)}); theirs are {few(samples)}."
        )
    upright = table if in_rows >= in_columns else table.T
    return upright.rename_axis(index=None, columns=None)


def _delimiter(path: Path, first: str) -> str:
    """As `read_table` tells it: by the name, and in .txt by the first line."""
    ending = Path(path.stem).suffix if is_gzip(path) else path.suffix
    if ending.lower() == ".csv":
        return ","
    return "\t" if ending.lower() == ".tsv" or "\t" in first else " "
