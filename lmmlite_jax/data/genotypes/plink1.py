"""PLINK 1: .bed, .bim and .fam."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.genotypes.base import GenotypeFile, spaced_lines, variant_table

__all__ = ["Plink1File"]

_BIM = "chromosome, id, centimorgans, position, allele 1, allele 2"
_FAM = "family, individual, father, mother, sex, phenotype"
_MAGIC = b"\x6c\x1b\x01"


class Plink1File(GenotypeFile):
    """PLINK 1 files; counted is allele 1 of the .bim, its fifth column."""

    counts = "allele 1, the fifth column of the .bim"

    def __init__(self, prefix: Path) -> None:
        bed, bim, fam = (prefix.with_name(prefix.name + end) for end in (".bed", ".bim", ".fam"))
        reader = require("bed_reader", "genotypes")
        people = spaced_lines(fam, 6, _FAM)
        lines = spaced_lines(bim, 6, _BIM)
        _check_size(bed, people=len(people), variants=len(lines), bim=bim, fam=fam)
        variants, notes = variant_table(bim, lines[1], lines[0], lines[3], lines[4], lines[5])
        super().__init__(prefix, people[1].tolist(), variants, notes)
        # One thread: the others are busy with the block before.
        self._bed = reader.open_bed(
            bed,
            iid_count=len(people),
            sid_count=len(lines),
            count_A1=True,
            num_threads=1,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The .bed, .bim and .fam."""
        name = self.path.name
        return tuple(self.path.with_name(name + end) for end in (".bed", ".bim", ".fam"))

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        rows = slice(None) if samples is None else samples
        calls: np.ndarray = self._bed.read((rows, variants), dtype="int8")
        return calls


def _check_size(bed: Path, *, people: int, variants: int, bim: Path, fam: Path) -> None:
    """Raise unless the .bed is as large as its .bim and .fam say."""
    check_readable(bed)
    with open(bed, "rb") as stream:
        magic = stream.read(3)
    if magic[:2] != _MAGIC[:2]:
        raise ValueError(f"{bed} is not a PLINK 1 file of genotypes.")
    if magic != _MAGIC:
        raise ValueError(f"{bed} holds one row a sample: rewrite it with plink --make-bed.")
    row = -(-people // 4)
    held, left = divmod(bed.stat().st_size - 3, row)
    if (held, left) == (variants, 0):
        return
    counts = f"{people} samples ({fam.name}) and {variants} variants ({bim.name})"
    if left == 0 and held > variants:
        problem = f"holds {held} variants: {bim.name} has lost lines or belongs to other genotypes"
    elif held < variants:
        problem = f"holds {held} whole variants: it is truncated or belongs to other samples"
    else:
        problem = "does not hold a whole number of variants: it belongs to other samples"
    raise ValueError(f"{bed} should hold {counts}, but {problem}.")
