"""Expression ready to be mapped, from counts of reads and an annotation of genes."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmmlite_jax.data import read_genes
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.data.tables import check_place, read_rows, whole_file
from lmmlite_jax.mapping.preparation import inverse_normal, tmm_factors
from lmmlite_jax.pipeline.options import check_ranges

__all__ = ["prepare_expression"]

_BED = (".bed", ".bed.gz", ".bed.parquet")


def prepare_expression(
    counts: str | os.PathLike[str],
    genes: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tpm: str | os.PathLike[str] | None = None,
    count_threshold: float = 6.0,
    tpm_threshold: float = 0.1,
    sample_fraction: float = 0.2,
    normalize: str = "inverse-normal",
    log: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    r"""Make tensorQTL's BED of expression from counts of reads, as ``lmmlite-jax prepare`` does.

    As GTEx does: counts are divided by library sizes, these by `tmm_factors` of all genes; genes
    expressed in too few samples are left out; values are brought to normal quantiles; and a gene is
    where its transcription starts.

    Parameters
    ----------
    counts, tpm : path
        Genes × samples, as for `read_table`: reads, and transcripts per million of the same genes
        and samples, where genes are to be chosen by these too.
    genes : path
        GTF, as for `read_genes`.
    out : path
        ``.bed``, ``.bed.gz`` or ``.bed.parquet``.
    count_threshold, tpm_threshold, sample_fraction : float
        A gene is kept that has at least so many reads in at least this share of the samples, and as
        much of ``tpm``.
    normalize : {"inverse-normal", "none"}
        Quantiles as of `inverse_normal`, or log2 of counts per million, one added.
    log : function
        Told what was read and left out, a line at a time.

    Returns
    -------
    pandas.DataFrame
        What is written: columns ``#chr``, ``start``, ``end``, ``gene_id`` and the samples.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file or an option cannot be used, or no gene is left.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.pipeline import prepare_expression
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "counts.tsv").write_text("id\ts1\ts2\ts3\nE1\t90\t30\t60\nE2\t0\t1\t0\n")
    >>> _ = (folder / "genes.gtf").write_text(
    ...     "".join(f'1\tx\tgene\t{k}0\t99\t.\t+\t.\tgene_id "E{k}";\n' for k in (1, 2))
    ... )
    >>> bed = prepare_expression(folder / "counts.tsv", folder / "genes.gtf", folder / "e.bed")
    >>> print(list(bed.columns), bed["gene_id"].tolist(), bed["end"].tolist())
    ['#chr', 'start', 'end', 'gene_id', 's1', 's2', 's3'] ['E1'] [10]
    """
    if normalize not in ("inverse-normal", "none"):
        raise ValueError(f"normalize must be inverse-normal or none, got {normalize!r}.")
    check_ranges(
        count_threshold=count_threshold,
        tpm_threshold=tpm_threshold,
        sample_fraction=sample_fraction,
    )
    out = Path(out)
    if not out.name.endswith(_BED):
        raise ValueError(f"{out}: the name of a BED file ends in {', '.join(_BED)}.")
    check_place(out)
    reads = _counts(Path(counts))
    log(f"{counts}: {counted(len(reads), 'gene')}, {counted(len(reads.columns), 'sample')}")
    kept = (reads >= count_threshold).mean(axis=1) >= sample_fraction
    if tpm is not None:
        share = (_beside(read_rows(tpm, "gene"), reads, Path(tpm)) >= tpm_threshold).mean(axis=1)
        kept &= share >= sample_fraction
    log(f"{counted(int(kept.sum()), 'gene')} expressed in enough samples")
    places = read_genes(genes)
    placed = kept & reads.index.isin(places.index)
    if (without := kept & ~placed).any():
        names = few(reads.index[without])
        log(f"{counted(int(without.sum()), 'gene')} of these not in {genes}, left out ({names})")
    if not placed.any():
        raise ValueError(
            f"No gene is left: {kept.sum()} of {counted(len(reads), 'gene')} are expressed in "
            f"enough samples, and none of these is in {genes} ({few(places.index)})."
        )
    factors = tmm_factors(reads.T)
    log(f"library sizes times {factors.min():.3f} to {factors.max():.3f} (TMM)")
    per_million = 1e6 * reads[placed] / (reads.sum() * factors)
    values = np.log2(per_million + 1) if normalize == "none" else per_million * np.nan
    if normalize == "inverse-normal":
        values[:] = inverse_normal(per_million.T).T
    bed = _bed(values, places.loc[values.index], places)
    _write(bed, out)
    log(f"{out}: {counted(len(bed), 'gene')}")
    return bed


def _counts(path: Path) -> pd.DataFrame:
    reads = read_rows(path, "gene")
    values = reads.to_numpy()
    wrong = ~(values >= 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{path}: gene {reads.index[row]!r} has {values[row, column]:g} for "
            f"{reads.columns[column]!r}: give counts of reads, one row a gene."
        )
    without = [name for name in reads.columns if not (reads[name] > 0).any()]
    if without:
        raise ValueError(f"{path}: no gene has reads in {few(without)}: leave these samples out.")
    return reads


def _beside(tpm: pd.DataFrame, reads: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Values of the genes and samples of the counts."""
    for what, axis in (("gene", 0), ("sample", 1)):
        lacking = reads.axes[axis].difference(tpm.axes[axis])
        if len(lacking):
            names = few(lacking.tolist())
            raise ValueError(f"{path} has no {what} {names}: give those that have counts.")
    return tpm.loc[reads.index, reads.columns]


def _bed(values: pd.DataFrame, own: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    """Rows by place, chromosomes in the order of the annotation."""
    chromosomes = list(dict.fromkeys(genes["chrom"]))
    order = np.lexsort((own["tss"], own["chrom"].map(chromosomes.index)))
    own, values = own.iloc[order], values.iloc[order]
    places = {"#chr": own["chrom"], "start": own["tss"] - 1, "end": own["tss"]}
    bed: pd.DataFrame = pd.concat(
        [pd.DataFrame(places), values.index.to_series().rename("gene_id"), values], axis=1
    ).reset_index(drop=True)
    return bed


def _write(bed: pd.DataFrame, out: Path) -> None:
    with whole_file(out) as stream:
        if out.suffix == ".parquet":  # tensorQTL has the ids in the index
            bed.set_index("gene_id").to_parquet(stream)
        elif out.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
                _write_text(bed, packed)
        else:
            _write_text(bed, stream)


def _write_text(bed: pd.DataFrame, stream: Any) -> None:
    bed.to_csv(stream, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
