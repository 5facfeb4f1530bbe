"""PLINK 2: .pgen, .pvar (or .pvar.zst) and .psam."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.genotypes.base import GenotypeFile, multiallelic_note, variant_table

__all__ = ["Plink2File"]


class Plink2File(GenotypeFile):
    """PLINK 2 files; counted is the alternate allele, and variants with several are left out."""

    counts = "the alternate allele (ALT)"

    def __init__(self, prefix: Path) -> None:
        pgen, pvar, psam = (prefix.with_name(prefix.name + end) for end in _ENDS)
        if not pvar.exists():
            pvar = pvar.with_name(f"{pvar.name}.zst")
        for file in (pgen, pvar, psam):
            check_readable(file)
        pgenlib = require("pgenlib", "genotypes")
        samples = _read_psam(psam)
        try:
            lines = pgenlib.PvarReader(bytes(pvar))
            M = lines.get_variant_ct()
            reader = pgenlib.PgenReader(
                bytes(pgen),
                raw_sample_ct=len(samples),
                variant_ct=M,
                allele_idx_offsets=(
                    lines.get_allele_idx_offsets() if lines.get_max_allele_ct() > 2 else None
                ),
            )
        except RuntimeError as error:
            raise ValueError(
                f"{pgen} and its .pvar and .psam cannot be read: {_said(error)}"
            ) from error
        kept = np.array([j for j in range(M) if lines.get_allele_ct(j) == 2], dtype=np.uint32)
        variants, notes = variant_table(
            pvar,
            [lines.get_variant_id(j).decode() for j in kept],
            [lines.get_variant_chrom(j).decode() for j in kept],
            [lines.get_variant_pos(j) for j in kept],
            [lines.get_allele_code(j, 1).decode() for j in kept],
            [lines.get_allele_code(j, 0).decode() for j in kept],
        )
        lines.close()
        super().__init__(prefix, samples, variants, [*multiallelic_note(M - kept.size), *notes])
        self._reader = reader
        self._numbers = kept
        self._files = (pgen, pvar, psam)

    @property
    def files(self) -> tuple[Path, ...]:
        """The .pgen, .pvar and .psam."""
        return self._files

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        # pgenlib takes samples in the file's order only, each once.
        among = np.arange(len(self.samples)) if samples is None else np.unique(samples)
        self._reader.change_sample_subset(among.astype(np.uint32))
        dosages = np.empty((variants.size, among.size), dtype=np.float32)
        try:
            self._reader.read_dosages_list(self._numbers[variants], dosages)
        except RuntimeError as error:
            raise ValueError(
                f"{self.path}.pgen cannot be read, it may be truncated: {_said(error)}"
            ) from error
        dosages[dosages < 0] = np.nan
        if samples is not None:
            dosages = dosages[:, np.searchsorted(among, samples)]
        return dosages.T


_ENDS = (".pgen", ".pvar", ".psam")


def _read_psam(path: Path) -> list[str]:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [cells for cells in lines if cells and not cells[0].startswith("##")]
    column = 1
    if lines and lines[0][0].startswith("#"):
        names = [name.lstrip("#") for name in lines.pop(0)]
        if "IID" not in names:
            raise ValueError(f"{path}: its header has no column IID ({' '.join(names)}).")
        column = names.index("IID")
    for number, cells in enumerate(lines, start=1):
        if len(cells) <= column:
            raise ValueError(f"{path}: sample {number} has {len(cells)} cells and no id.")
    return [cells[column] for cells in lines]


def _said(error: RuntimeError) -> str:
    """What pgenlib said, which may come as bytes."""
    said = error.args[0]
    return (said.decode() if isinstance(said, bytes) else str(said)).strip()
