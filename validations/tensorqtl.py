"""What we write beside what tensorQTL writes, from the same files and without kinship.

Both command lines map 60 genes of 200 people near and far, each as released. Pairs, effects,
standard errors and p-values must be the same within the rounding of tensorQTL's single precision;
and, of its own program with torch's single precision replaced by double, within the rounding of the
columns that it writes. Its p-values by permutation are random: they are judged in the task ``cis``
of ``python -m benchmarks``.

Usage: ``python -m validations.tensorqtl [--python INTERPRETER]``, one that has tensorQTL, as
``python -m benchmarks install tensorqtl`` makes it. Prints the first rows of both side by side,
writes ``results/tensorqtl.json``, and fails where a difference is beyond its bound.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bed_reader import to_bed

from benchmarks.cohorts import Measured, pedigree
from benchmarks.common import write_result
from lmmlite_jax.pipeline import Files, Settings, map_files

RESULTS = Path(__file__).parent / "results"

INDIVIDUALS, MARKERS, GENES = 200, 3000, 60
BOUNDS = {"released": 1e-4, "double": 1e-6}
"""Largest relative differences, by the precision that tensorQTL computes in."""

PAIRS = ["phenotype_id", "variant_id"]
NOMINAL = ["pval_nominal", "slope", "slope_se", "af", "ma_samples", "ma_count"]
MODES = {
    "cis": ("cis_qtl.txt.gz", ["num_var", *NOMINAL]),
    "cis_nominal": ("cis_qtl_pairs.1.parquet", NOMINAL),
    "trans": ("trans_qtl_pairs.parquet", ["pval", "b", "b_se", "af"]),
}
"""The file that a mode writes, and what both have in it that is not random."""

OPTIONS: dict[str, Any] = {"cis": {}, "cis_nominal": {}, "trans": {"pval_threshold": 0.01}}

PROGRAM = "import runpy; runpy.run_module('tensorqtl', run_name='__main__')"
PROGRAMS = {
    "released": PROGRAM,
    "double": f"import torch; torch.float32 = torch.float = torch.float64; {PROGRAM}",
}


def write_files(folder: Path, data: Measured) -> None:
    """PLINK 1 of thirty million base pairs, BED of genes along it, covariates by samples."""
    samples = [f"s{i}" for i in range(len(data.Y))]
    position = 10_000 * np.arange(data.G.shape[1]) + 1
    names = {"iid": samples, "sid": [f"v{j}" for j in range(position.size)]}
    sites = {"chromosome": ["1"] * position.size, "bp_position": position}
    to_bed(folder / "genotypes.bed", data.G.astype(np.int8), properties={**sites, **names})
    genes = [f"g{t}" for t in range(data.Y.shape[1])]
    middle = np.linspace(0, position.size - 1, len(genes)).astype(int)
    Y = data.Y.copy()
    Y[:, ::2] += 0.35 * data.G[:, middle[::2]]
    place = {"#chr": "1", "start": position[middle] - 1, "end": position[middle], "gene_id": genes}
    bed = pd.concat([pd.DataFrame(place), pd.DataFrame(Y.T, columns=samples)], axis=1)
    bed.to_csv(folder / "expression.bed", sep="\t", index=False)
    covariates = pd.DataFrame(data.X[:, 1:], samples).T
    covariates.to_csv(folder / "covariates.txt", sep="\t")


def ours(folder: Path, mode: str) -> pd.DataFrame:
    """What we write."""
    files = Files(
        genotypes=folder / "genotypes",
        phenotypes=folder / "expression.bed",
        covariates=folder / "covariates.txt",
        kinship="none",
    )
    map_files(files, folder / "ours", Settings(mode=mode, **OPTIONS[mode]))
    return read(folder / f"ours.{MODES[mode][0]}")


def theirs(folder: Path, mode: str, python: str, precision: str) -> pd.DataFrame:
    """What tensorQTL writes."""
    command = [python, "-c", PROGRAMS[precision], "genotypes", "expression.bed", precision]
    command += ["--mode", mode, "--covariates", "covariates.txt"]
    command += [f"--{name}={value}" for name, value in OPTIONS[mode].items()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return read(folder / f"{precision}.{MODES[mode][0]}")


def read(path: Path) -> pd.DataFrame:
    """A table of pairs, in order."""
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")
    return table.sort_values(PAIRS, ignore_index=True)


def differences(ours: pd.DataFrame, theirs: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """Largest relative difference of each column; of effects, relative to at least their se."""
    found = {}
    for name in columns:
        a, b = ours[name].to_numpy(float), theirs[name].to_numpy(float)
        least = theirs[f"{name}_se"].to_numpy(float) if f"{name}_se" in columns else 0.0
        scale = np.maximum(np.abs(b), least)
        found[name] = float(np.max(np.abs(a - b) / np.where(scale > 0, scale, 1.0)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    python = parser.parse_args().python
    result: dict[str, Any] = {}
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, pedigree(MARKERS, GENES, n=INDIVIDUALS))
        for mode, (_, columns) in MODES.items():
            of_us = ours(folder, mode)
            for precision, bound in BOUNDS.items():
                of_them = theirs(folder, mode, python, precision)
                same = of_us[PAIRS].equals(of_them[PAIRS])
                found = differences(of_us, of_them, columns) if same else {}
                if not same or max(found.values()) > bound:
                    wrong.append(f"{mode}, {precision}")
                print(f"\n{mode}, tensorQTL {precision}: {len(of_us)} pairs, the same: {same}")
                print(pd.concat([of_us[columns].head(3), of_them[columns].head(3)]).to_string())
                print("  ".join(f"{column} {value:.1e}" for column, value in found.items()))
                result[f"{mode}_{precision}"] = {"pairs": len(of_us), "same_pairs": same} | {
                    "differences": found
                }
    write_result("tensorqtl", result, RESULTS)
    if wrong:
        sys.exit(f"beyond the bound: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
