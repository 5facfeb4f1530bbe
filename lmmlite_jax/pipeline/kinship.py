"""Kinship from a genotype file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmmlite_jax.data import GenotypeFile
from lmmlite_jax.mapping.kinship import block_width, kinship_of_blocks

__all__ = ["genotype_kinship"]


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
