"""Inputs of a task: arrays, and the files that programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cohorts
import numpy as np
from bed_reader import to_bed

Arrays = Mapping[str, np.ndarray]

OF_COHORTS = ("n", "p")
"""Sizes that a cohort of any size is asked for, beside its markers and traits."""


def inputs_of(cohort: str, size: Mapping[str, int], data: Path | None) -> Arrays:
    """Arrays of a task: whole dosages, a kinship of mean diagonal 1, windows of genes.

    With `parts`, as many kinships of neighbouring markers in place of one; K is their sum. Of
    founders' probabilities and kinships of chromosomes nothing is changed.
    """
    own = {name: size[name] for name in OF_COHORTS if name in size}
    own = own if cohort in cohorts.OF_ANY_SIZE else {}
    K, Y, G, X, chromosome = cohorts.COHORTS[cohort](size["M"], size["m"], data, **own)
    if chromosome is not None:
        return {"K": K, "Y": Y, "G": G, "X": X, "chromosome": chromosome}
    G = np.rint(np.clip(G, 0, 2)).astype(np.int8)
    found = {"Y": Y, "G": G, "X": X}
    if "parts" in size:
        Z = np.array_split(G - G.mean(axis=0), size["parts"], axis=1)
        parts = np.stack([columns @ columns.T for columns in Z])
        K = parts.sum(axis=0)
        found["parts"] = parts / np.mean(np.diagonal(K))
    found["K"] = K / np.mean(np.diagonal(K))
    if "window" in size:
        first = np.linspace(0, size["M"] - size["window"], size["m"]).astype(int)
        rng = np.random.default_rng(7)
        for gene in range(0, size["m"], 2):
            causal = first[gene] + rng.choice(size["window"], 1 + gene % 3, replace=False)
            Y[:, gene] += G[:, causal] @ rng.choice([-0.6, 0.6], causal.size)
        found["windows"] = np.column_stack([first, first + size["window"]])
    return found | {name: np.array(size[name]) for name in ("permutations",) if name in size}


def write_inputs(folder: Path, arrays: Arrays) -> None:
    """Files that all programs read: NumPy's, PLINK 1 with the first trait, and text."""
    np.savez(folder / "inputs.npz", **arrays)
    if "chromosome" in arrays:
        return
    n, M = arrays["G"].shape
    samples = [f"s{i}" for i in range(n)]
    properties = {
        "fid": samples,
        "iid": samples,
        "sid": [f"v{j}" for j in range(M)],
        "chromosome": ["1"] * M,
        "bp_position": 1000 * np.arange(M) + 1,
        "pheno": [repr(float(y)) for y in arrays["Y"][:, 0]],
    }
    to_bed(folder / "genotypes.bed", arrays["G"], properties=properties)
    for name in ("K", "X"):
        np.savetxt(folder / f"{name}.txt", arrays[name], fmt="%.17g")
    np.savetxt(folder / "Y.txt", arrays["Y"], fmt="%.17g")
    if "windows" in arrays:
        np.savetxt(folder / "G.txt", arrays["G"], fmt="%d")
        np.savetxt(folder / "windows.txt", arrays["windows"], fmt="%d")
