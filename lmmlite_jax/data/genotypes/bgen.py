"""BGEN."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.genotypes.base import GenotypeFile, multiallelic_note, variant_table

__all__ = ["BgenFile"]


class BgenFile(GenotypeFile):
    """BGEN; counted is the second allele, and variants with more than two are left out.

    The samples' ids are in the file, or in a ``.sample`` file of the same name beside it. A haploid
    sample's dosage counts twice, as in PLINK's files.
    """

    counts = "the second allele of the file"

    def __init__(self, path: Path) -> None:
        check_readable(path)
        beside = path.with_suffix(".sample")
        header = _open(path, beside).header
        if not header.has_sample_ids and not beside.is_file():
            raise ValueError(
                f"{path} does not name its samples, and there is no file {beside.name} beside it."
            )
        rows, kept, number = [], [], -1
        try:
            for number, variant in enumerate(_open(path, beside)):
                if len(variant.alleles) == 2:
                    name = variant.varid if variant.rsid in {"", "."} else variant.rsid
                    kept.append(number)
                    rows.append((name, variant.chrom, variant.pos, *variant.alleles[::-1]))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}.") from error
        columns = list(zip(*rows, strict=True)) or [()] * 5
        variants, notes = variant_table(path, *map(list, columns))
        reader = _open(path, beside, all_variants=True)
        notes = [*multiallelic_note(number + 1 - len(kept)), *notes]
        super().__init__(path, reader.samples, variants, notes)
        self._beside = beside
        self._numbers = np.array(kept)
        # An index beside the file is an SQLite database, and such a reader serves one thread only.
        self._indexed = path.with_name(f"{path.name}.bgi").exists()
        self._whole = reader
        self._of_thread = threading.local()

    @property
    def files(self) -> tuple[Path, ...]:
        """The .bgen, and the .sample if there is one."""
        return (self.path, self._beside) if self._beside.is_file() else (self.path,)

    def close(self) -> None:
        """Close the file."""
        self._whole.close()

    def _reader(self) -> Any:
        if not self._indexed:
            return self._whole
        if not hasattr(self._of_thread, "reader"):
            self._of_thread.reader = _open(self.path, self._beside)
        return self._of_thread.reader

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        n = len(self.samples) if samples is None else samples.size
        dosages = np.empty((n, variants.size), dtype=np.float32, order="F")
        reader = self._reader()
        for j, number in enumerate(self._numbers[variants]):
            variant = reader[int(number)]
            values = variant.alt_dosage
            ploidy = variant.ploidy
            if (ploidy != 2).any():
                values = values * (2 / np.maximum(ploidy, 1)).astype(np.float32)
            dosages[:, j] = values if samples is None else values[samples]
        return dosages


def _open(path: Path, beside: Path, *, all_variants: bool = False) -> Any:
    bgen = require("bgen", "genotypes")
    samples = str(beside) if beside.is_file() else ""
    try:
        return bgen.BgenReader(str(path), samples, delay_parsing=not all_variants)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
