"""Genes of an annotation in GTF."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._text import check_readable, is_gzip

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_genes"]

_GENE_ID = re.compile(r'\bgene_id "([^"]*)"')


def read_genes(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read the genes of a GTF file, as of GENCODE or Ensembl.

    Parameters
    ----------
    path : path
        Text, or gzip. Lines of the feature ``gene`` are taken.

    Returns
    -------
    (genes × 5) pandas.DataFrame
        In the file's order, ``gene_id`` in the index: ``chrom``, ``start`` and ``end`` (int, the
        first base being 1, both included), ``strand`` and ``tss``, where transcription starts: the
        start of a gene on the strand +, the end of one on -.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is no gene, a line is not as GTF has it, or an id is repeated.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_genes
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "genes.gtf"
    >>> _ = path.write_text('chr1\tHAVANA\tgene\t100\t900\t.\t-\t.\tgene_id "ENSG1"; level 2;\n')
    >>> read_genes(path)
            chrom  start  end strand  tss
    gene_id
    ENSG1    chr1    100  900      -  900
    """
    path = Path(path)
    check_readable(path)
    ids: list[str] = []
    rows = []
    with _opened(path) as stream:
        for number, cells in _lines_of_genes(stream):
            found = _GENE_ID.search(cells[-1])
            if found is None or not (cells[3].isdigit() and cells[4].isdigit()):
                raise ValueError(
                    f"{path}: line {number} has no gene_id and place as GTF has them: give a GTF "
                    "file, not GFF3."
                )
            ids.append(found[1])
            rows.append((cells[0], int(cells[3]), int(cells[4]), cells[6]))
    if not rows:
        raise ValueError(f"{path} has no line of a gene: give a GTF file with the feature gene.")
    if twice := repeated(ids):
        raise ValueError(f"{path}: genes appear more than once ({few(twice)}): name each once.")
    pd = require("pandas", "io")
    index = pd.Index(ids, name="gene_id", dtype="str")
    table = pd.DataFrame(rows, index, ["chrom", "start", "end", "strand"])
    return table.assign(tss=np.where(table["strand"] == "-", table["end"], table["start"]))


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[str]]:
    """Lines of a file, which may be larger than the memory."""
    try:
        unpack = gzip.open if is_gzip(path) else open
        with unpack(path, "rt", encoding="utf-8") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is named .gz and is not a whole gzip file.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: a packed file ends in .gz.") from error


def _lines_of_genes(stream: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbers and cells of the lines that are of a gene."""
    for number, line in enumerate(stream, 1):
        cells = line.rstrip("\n").split("\t")
        if len(cells) == 9 and cells[2] == "gene":
            yield number, cells
