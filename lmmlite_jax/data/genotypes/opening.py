"""The format of a genotype file, told by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lmmlite_jax.data.genotypes.base import GenotypeFile
from lmmlite_jax.data.genotypes.bgen import BgenFile
from lmmlite_jax.data.genotypes.parquet import ParquetFile
from lmmlite_jax.data.genotypes.plink1 import Plink1File
from lmmlite_jax.data.genotypes.plink2 import Plink2File
from lmmlite_jax.data.genotypes.qtl2 import Qtl2File
from lmmlite_jax.data.genotypes.vcf import VcfFile

__all__ = ["open_genotypes"]

_PLINK1 = (".bed", ".bim", ".fam")
_PLINK2 = (".pgen", ".pvar.zst", ".pvar", ".psam")
_FORMATS: dict[tuple[str, ...], Callable[[Path], GenotypeFile]] = {
    (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf"): VcfFile,
    (".bgen",): BgenFile,
    (".parquet",): ParquetFile,
    (".zip", ".json", ".yaml", ".yml"): Qtl2File,
}


def open_genotypes(path: str | os.PathLike[str]) -> GenotypeFile:
    """Open genotypes; what the file is named says its format.

    ===========================================  ===============================================
    name                                         format, and the allele counted
    ===========================================  ===============================================
    ``X.bed``, ``.bim`` or ``.fam``, or ``X``    PLINK 1: allele 1, the fifth column of the .bim
    ``X.pgen``, ``.pvar`` or ``.psam``, or ``X`` PLINK 2: the alternate allele (ALT)
    ``.vcf``, ``.vcf.gz``, ``.bcf``              VCF: the alternate allele (ALT)
    ``.bgen``                                    BGEN: the second allele
    ``.parquet``                                 dosages, one row a variant: as written
    ``.zip``, ``.json``, ``.yaml``               R/qtl2: the allele with the larger code
    ===========================================  ===============================================

    Of PLINK's files X alone may be given; where there are both, PLINK 2's are read. Nothing but
    lists of samples and variants is in memory until dosages are read (R/qtl2's are text and are
    read whole).

    Parameters
    ----------
    path : path
        The file, or PLINK's prefix.

    Returns
    -------
    GenotypeFile
        Its samples and variants, and the functions that read dosages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        If the package that reads this format is not installed.
    ValueError
        If the file is empty, truncated, not what its name says, or does not match the files beside
        it, or ids of samples or variants are repeated.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from lmmlite_jax.data import open_genotypes
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "dosages.parquet"
    >>> variants = pd.DataFrame({"chrom": ["1", "1"], "pos": [10, 20]}, index=["rs1", "rs2"])
    >>> variants.assign(mouse1=[0.0, 2.0], mouse2=[1.0, None]).to_parquet(path)
    >>> with open_genotypes(path) as genotypes:
    ...     print(genotypes.samples)
    ...     print(genotypes.read())
    ('mouse1', 'mouse2')
    [[ 0.  2.]
     [ 1. nan]]
    """
    path = Path(path)
    name = path.name.lower()
    for endings, reader in _FORMATS.items():
        if name.endswith(endings):
            return reader(path)
    for endings, plink in ((_PLINK2, Plink2File), (_PLINK1, Plink1File)):
        ending = next((end for end in endings if name.endswith(end)), None)
        if ending is not None:
            return plink(path.with_name(path.name[: -len(ending)]))
    if path.with_name(f"{path.name}.pgen").exists():
        return Plink2File(path)
    if path.with_name(f"{path.name}.bed").exists():
        return Plink1File(path)
    known = ", ".join(end for ends in _FORMATS for end in ends)
    if path.exists():
        raise ValueError(
            f"{path}: the name of a genotype file ends in .bed, .pgen, {known}, or is the prefix "
            "of PLINK files."
        )
    raise FileNotFoundError(f"{path}: there is no such file, nor {path.name}.pgen or .bed.")
