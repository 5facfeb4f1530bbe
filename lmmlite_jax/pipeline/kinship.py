"""Kinship from a genotype file, or from a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmmlite_jax.data import GenotypeFile, read_kinship, read_loco_kinship
from lmmlite_jax.data._names import counted
from lmmlite_jax.mapping.kinship import block_width, kinship_of_blocks

__all__ = ["genotype_kinship", "read_kinships"]


def genotype_kinship(
    genotypes: GenotypeFile,
    method: str = "standardized",
    *,
    loco: bool = False,
    samples: Int[np.ndarray, " s"] | None = None,
    which: slice | Int[np.ndarray, " k"] = slice(None),
    progress: Callable[[int], object] | None = None,
) -> pd.DataFrame | dict[str, pd.DataFrame]:
    """Kinship matrix from a genotype file, of which one block is read while another is used.

    Parameters
    ----------
    genotypes : GenotypeFile
        As from `open_genotypes`.
    method : {"standardized", "centered", "allele_probs"}
        As for `lmmlite_jax.kinship`; for "allele_probs" half the copies of each of the two alleles
        are their probabilities.
    loco : bool
        Whether to leave out one chromosome at a time.
    samples : (s,) int array, optional
        Positions of the samples in the file; all when not given.
    which : slice or (k,) int array
        Variants of the file; all when not given.
    progress : function, optional
        Called with the number of variants of each block that has been read.

    Returns
    -------
    (n, n) pandas.DataFrame, or dict of them by chromosome
        float64, the samples' ids in rows and columns.

    Raises
    ------
    ValueError
        If no variant varies, leaving a chromosome out leaves none, or the file is damaged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from lmmlite_jax.data import open_genotypes
    >>> from lmmlite_jax.pipeline import genotype_kinship
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "dosages.parquet"
    >>> variants = pd.DataFrame({"chrom": ["1", "1"], "pos": [10, 20]}, index=["rs1", "rs2"])
    >>> variants.assign(a=[0, 2], b=[1, 1], c=[2, 1]).to_parquet(path)
    >>> genotype_kinship(open_genotypes(path)).round(2)
          a     b     c
    a  1.75 -0.50 -1.25
    b -0.50  0.25  0.25
    c -1.25  0.25  1.00
    """
    chrom = genotypes.variants["chrom"].to_numpy(dtype=object)
    names = np.array(genotypes.samples, dtype=object)
    names = names if samples is None else names[samples]
    probabilities = method == "allele_probs"

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        width = block_width(len(names) * (2 if probabilities else 1))
        for variants, dosages in genotypes.blocks(which, width, samples):
            G = np.stack([1 - dosages / 2, dosages / 2], axis=-1) if probabilities else dosages
            yield G, chrom[variants]
            if progress is not None:
                progress(len(variants))

    result = kinship_of_blocks(blocks(), method, loco)
    if isinstance(result, dict):
        return {str(name): pd.DataFrame(array, names, names) for name, array in result.items()}
    return pd.DataFrame(result, names, names)


def read_kinships(
    path: Path, genotypes: GenotypeFile, log: Callable[[str], None]
) -> dict[str, pd.DataFrame]:
    """Kinships by chromosome, or one under an empty name."""
    if path.suffix.lower() == ".npz" and path.is_file():
        with np.load(path) as stored:
            several = any(name.startswith("without_") for name in stored.files)
        if several:
            found = read_loco_kinship(path)
            log(f"{path}: kinships without each of {counted(len(found), 'chromosome')}")
            return found
    kinship = read_kinship(path)
    if isinstance(kinship.index, pd.RangeIndex):
        if len(kinship) != len(genotypes.samples):
            raise ValueError(
                f"{path} names no samples and has {counted(len(kinship), 'row')}, the genotypes "
                f"have {counted(len(genotypes.samples), 'sample')}: use a kinship that names its "
                "samples."
            )
        log(f"{path}: no ids, its rows are taken in the genotypes' order")
        names = pd.Index(genotypes.samples)
        kinship = kinship.set_axis(names, axis=0).set_axis(names, axis=1)
    log(f"{path}: kinship of {counted(len(kinship), 'sample')}")
    return {"": kinship}
