"""R/qtl2's genotypes: a zip or a control file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.data.genotypes.base import GenotypeFile, variant_table
from lmmlite_jax.data.qtl2_files import Qtl2Cross

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Qtl2File"]

_BACKCROSS = ("bc",)
_TWO_HOMOZYGOTES = ("riself", "risib", "dh", "haploid")
_BASE_PAIRS = 1e6  # in a megabase, the unit of a physical map


class Qtl2File(GenotypeFile):
    """R/qtl2's genotypes as copies of one allele: that of the largest homozygous code.

    Codes 1, 2, 3 are 0, 1, 2 copies; of inbred lines (crosstypes riself, risib, dh, haploid) codes
    1, 2 are 0, 2 copies, and of a backcross (bc) 0, 1. Codes 4 and 5, which leave two genotypes
    possible, and labels that the control file does not list are missing.
    """

    counts = "the allele with the larger code"

    def __init__(self, path: Path) -> None:
        cross = Qtl2Cross(path)
        geno = cross.table("geno")
        if geno is None:
            raise ValueError(f"{path}: the control file names no geno.")
        places, unplaced = _places(cross, geno)
        copies, allele_codes = _copies(str(cross.control["crosstype"]))
        label = {code: name for name, code in reversed(cross.codes.items())}
        a0, a1 = (label.get(code, "") for code in allele_codes)
        geno = geno[places.index]
        n, M = geno.shape
        variants, notes = variant_table(
            path,
            list(geno.columns),
            places["chr"].tolist(),
            places["pos"].tolist(),
            [a1] * M,
            [a0] * M,
        )
        if "cM" in places:
            variants["cM"] = places["cM"].to_numpy()
        # -1, where a call is missing, takes the NaN at the end.
        pd = require("pandas", "genotypes")
        numbers, labels = pd.factorize(geno.to_numpy(dtype=object).ravel())
        values = np.array([copies.get(cross.codes.get(label, 0), np.nan) for label in labels])
        dosages = np.append(values, np.nan).astype(np.float32)[numbers].reshape(n, M)
        notes += [
            f"{(numbers == number).sum()} genotypes {labels[number]!r} are taken as missing"
            for number in np.flatnonzero(np.isnan(values))
        ]
        if len(unplaced):
            some = counted(len(unplaced), "marker on no map is", "markers on no map are")
            notes.append(f"{some} left out ({few(unplaced)})")
        super().__init__(path, [str(name) for name in geno.index], variants, notes)
        self._dosages = dosages

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        chosen = self._dosages[:, variants]
        return chosen if samples is None else chosen[samples]


def _copies(crosstype: str) -> tuple[dict[int, float], tuple[int, int]]:
    """Copies for each genotype code, and the codes whose labels name the two alleles."""
    if crosstype in _BACKCROSS:
        return {1: 0.0, 2: 1.0}, (1, 2)
    if crosstype in _TWO_HOMOZYGOTES:
        return {1: 0.0, 2: 2.0}, (1, 2)
    return {1: 0.0, 2: 1.0, 3: 2.0}, (1, 3)


def _numbers(text: pd.Series, where: str) -> pd.Series:
    """Positions on a map as finite numbers, NaN where one is missing."""
    numeric = require("pandas", "genotypes").to_numeric(text, errors="coerce").astype(float)
    wrong = text.notna() & ~np.isfinite(numeric)
    if wrong.any():
        marker = text.index[wrong][0]
        raise ValueError(f"{where} has the position {text[marker]!r} for {marker!r}, not a number.")
    return numeric


def _places(cross: Qtl2Cross, geno: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    """Chromosome and position of the markers of `geno` that are on a map, and the others."""
    maps = {name: cross.table(name) for name in ("pmap", "gmap")}
    found = {name: table for name, table in maps.items() if table is not None}
    if not found:
        raise ValueError(f"{cross.path}: the control file names neither pmap nor gmap.")
    for name, table in found.items():
        table["pos"] = _numbers(table["pos"], f"{cross.path}: {name}")
    on_a_map = geno.columns.isin(np.concatenate([table.index for table in found.values()]))
    places = require("pandas", "genotypes").DataFrame(index=geno.columns[on_a_map])
    places["chr"] = ""
    places["pos"] = 0
    if "gmap" in found:
        here = found["gmap"].reindex(places.index)
        places["chr"] = here["chr"].fillna("")
        places["cM"] = here["pos"]
    if "pmap" in found:
        here = found["pmap"].reindex(places.index)
        places["chr"] = here["chr"].fillna(places["chr"])
        places["pos"] = (here["pos"] * _BASE_PAIRS).round().fillna(0)
    return places, geno.columns[~on_a_map]
