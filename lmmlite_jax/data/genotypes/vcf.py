"""VCF and BCF, read from beginning to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.genotypes.base import (
    GenotypeFile,
    check_dosages,
    multiallelic_note,
    variant_table,
)

__all__ = ["VcfFile"]

# cyvcf2 raises Exception itself, no class of its own, where it cannot read a header or a line.
_CYVCF2_ERRORS = (Exception, OSError)


class VcfFile(GenotypeFile):
    """VCF or BCF; counted is the alternate allele, and variants with several are left out.

    Dosages are the field DS where a variant has it, else the genotypes GT: a call of which one
    allele is missing is missing, and a haploid call counts twice, as in PLINK's files. Variants are
    read in the file's order at no cost; going back starts again at the beginning.
    """

    counts = "the alternate allele (ALT)"

    def __init__(self, path: Path) -> None:
        check_readable(path)
        self._stream = _Records(path)
        samples = self._stream.samples
        rows, kept, total = [], [], 0
        sites = _Records(path, samples=False)
        for total, record in enumerate(sites, start=1):
            if len(record.ALT) == 1:
                kept.append(total - 1)
                rows.append((record.ID or ".", record.CHROM, record.POS, record.ALT[0], record.REF))
        sites.close()
        columns = list(zip(*rows, strict=True)) or [()] * 5
        variants, notes = variant_table(path, *map(list, columns))
        dosages = ["dosages are read from DS"] if self._stream.has("DS") else []
        super().__init__(
            path, samples, variants, [*multiallelic_note(total - len(kept)), *notes, *dosages]
        )
        self._numbers = np.array(kept)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        n = len(self.samples) if samples is None else samples.size
        dosages = np.empty((n, variants.size), dtype=np.float32, order="F")
        for j in np.argsort(variants, kind="stable"):
            wanted = int(self._numbers[variants[j]])
            if wanted < self._stream.number - 1:
                self._stream.close()
                self._stream = _Records(self.path)
            values = self._dosages(self._stream.at(wanted))
            dosages[:, j] = values if samples is None else values[samples]
        return check_dosages(dosages, self.variants.index[variants], self.path)

    def _dosages(self, record: Any) -> np.ndarray:
        if "DS" in record.FORMAT:
            values: np.ndarray = record.format("DS")[:, 0].astype(np.float32)
            return values
        if "GT" not in record.FORMAT:
            raise ValueError(
                f"{self.path}: variant {record.ID or record.POS!r} has neither DS nor GT "
                f"({few(record.FORMAT)})."
            )
        calls = record.genotype.array()[:, :-1]
        if (calls > 1).any():
            sample, allele = np.argwhere(calls > 1)[0]
            raise ValueError(
                f"{self.path}: variant {record.ID or record.POS!r} has one alternate allele, and "
                f"the GT of sample {self.samples[sample]!r} names allele {calls[sample, allele]}: "
                "the file is damaged there, or alleles were removed without their calls."
            )
        absent = calls == -2  # a haploid call among diploid ones
        copies = (calls == 1).sum(axis=1) * 2.0 / np.maximum((~absent).sum(axis=1), 1)
        return np.where((calls == -1).any(axis=1), np.nan, copies).astype(np.float32)


class _Records:
    """The records of a file, one after the other."""

    def __init__(self, path: Path, *, samples: bool = True) -> None:
        cyvcf2 = require("cyvcf2", "genotypes")
        try:
            self._vcf = cyvcf2.VCF(str(path))
        except Exception as error:
            if type(error) not in _CYVCF2_ERRORS:
                raise
            raise ValueError(
                f"{path} is not a VCF or BCF file with a whole header: {error}."
            ) from error
        self.samples: list[str] = list(self._vcf.samples)
        if not samples:
            self._vcf.set_samples([])
        self.number = 0
        self._path = path
        self._last: Any = None

    def has(self, field: str) -> bool:
        """Tell whether the header declares a field of the samples."""
        return any(
            line["HeaderType"] == "FORMAT" and line["ID"] == field
            for line in self._vcf.header_iter()
            if "ID" in line.info()
        )

    def at(self, number: int) -> Any:
        """Skip to the record of that number, which must not lie before the last one."""
        while self.number <= number:
            self._last = next(self)
        return self._last

    def close(self) -> None:
        self._vcf.close()

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> Any:
        try:
            record = next(self._vcf)
        except Exception as error:
            if type(error) not in _CYVCF2_ERRORS:
                raise
            raise ValueError(
                f"{self._path}: variant {self.number + 1} cannot be read, the file is truncated or "
                "damaged there."
            ) from error
        self.number += 1
        return record
