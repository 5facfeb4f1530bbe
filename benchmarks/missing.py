"""fit_traits on thousands of traits in hundreds of patterns of missing values.

Rival: a NumPy loop that does nothing but ``numpy.linalg.eigh`` of the kinship among the
individuals observed, once a pattern. Usage: ``python benchmarks/missing.py [FOLDER]``, the folder
of the real data, of which it reads R/qtl2's BXD strains; without, simulated strains with as many
patterns.
"""

from __future__ import annotations

import argparse
import statistics
import zipfile
from pathlib import Path

import jax
import numpy as np
from cohorts import patterns
from common import median_ratio, side_by_side, write_result

import lmmlite_jax as lmm


def bxd(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    with zipfile.ZipFile(folder / "bxd.zip") as archive:
        pheno = pd.read_csv(archive.open("bxd_pheno.csv"), index_col=0, comment="#")
    kinship = np.load(folder / "kinship_x2.npz")
    if list(pheno.index) != list(kinship["ids"]):
        raise SystemExit("bxd.zip and kinship_x2.npz name different strains.")
    return kinship["kinship"], pheno.to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    K, Y = bxd(folder / "bxd") if folder else patterns(1, 5806)[:2]
    observed = np.unique(~np.isnan(Y), axis=1).T
    parts = [np.ascontiguousarray(K[np.ix_(seen, seen)]) for seen in observed]

    first, warm = side_by_side(
        {
            "eigh": lambda: [np.linalg.eigh(part) for part in parts],
            "REML": lambda: lmm.fit_traits(K, Y),
            "ML": lambda: lmm.fit_traits(K, Y, reml=False),
        },
        rounds=9,
    )
    data = "BXD" if folder else "simulated strains"
    print(f"{data}: {Y.shape[1]} traits, {len(parts)} patterns, {jax.devices()[0].device_kind}")
    print(f"{'':8}{'first call':>12}{'median':>10}{'over eigh':>12}")
    ratios = {name: median_ratio(seconds, warm["eigh"]) for name, seconds in warm.items()}
    for name, seconds in warm.items():
        median = statistics.median(seconds)
        print(f"{name:8}{first[name]:10.2f} s{median:8.3f} s{ratios[name]:12.2f}")
    write_result(
        "missing_bxd" if folder else "missing_simulated",
        {"traits": Y.shape[1], "patterns": len(parts), "first": first, "warm": warm}
        | {"ratio_to_eigh": ratios},
    )


if __name__ == "__main__":
    main()
