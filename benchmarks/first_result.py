"""Whole processes, from the shell and back: the first time ever, and with compiled programs kept.

Usage: ``python benchmarks/first_result.py``; writes ``results/first_result.json``. One trait and
all markers are the task ``refit-scan`` of ``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bed_reader import to_bed
from cohorts import strangers
from common import compile_bytecode, write_result

OURS = [sys.executable, "-m", "lmmlite_jax", "map"]
# What compiles differently, or not at all, where tests run.
TESTS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
)


def cis(work: Path) -> list[str]:
    """20 genes × 70,000 variants of 100 people, along 100 million base pairs."""
    M, m = 70_000, 20
    K, Y, G, X, _ = strangers(M, m, n=100, p=6)
    samples = [f"s{i}" for i in range(len(Y))]
    places = np.linspace(1, 100_000_000, M).astype(int)
    names = {"iid": samples, "sid": [f"v{j}" for j in range(M)]}
    to_bed(work / "cis.bed", G, properties=names | {"chromosome": ["1"] * M, "bp_position": places})
    start = np.linspace(2_000_000, 98_000_000, m).astype(int)
    where = {"#chr": "1", "start": start, "end": start + 1, "gene_id": [f"g{j}" for j in range(m)]}
    expression = pd.DataFrame(Y.T, columns=samples)
    pd.concat([pd.DataFrame(where), expression], axis=1).to_csv(
        work / "expression.bed.gz", sep="\t", index=False
    )
    pd.DataFrame(K, samples, samples).to_csv(work / "cis_K.csv")
    pd.DataFrame(X[:, 1:], samples).to_csv(work / "cis_x.csv")
    command = "cis expression.bed.gz cis --mode cis --kinship cis_K.csv --covariates cis_x.csv"
    return [*command.split(), "--quiet"]


def seconds(command: list[str], work: Path) -> float:
    """Seconds of a process, from its start to its end."""
    environment = {name: value for name, value in os.environ.items() if name not in TESTS}
    started = time.perf_counter()
    subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def imports(work: Path) -> dict[str, float]:
    """CPU seconds of JAX and SciPy, and those of the package's name and of all names beyond."""
    code = """
import json, time
clock = [time.process_time()]
import jax, scipy.linalg, scipy.special
clock.append(time.process_time())
import lmmlite_jax
clock.append(time.process_time())
[getattr(lmmlite_jax, name) for name in lmmlite_jax.__all__]
clock.append(time.process_time())
print(json.dumps([b - a for a, b in zip(clock, clock[1:])]))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, check=True)
    beside, package, names = json.loads(run.stdout)
    return {"JAX and SciPy": beside, "lmmlite_jax": package, "all of its names": package + names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    compile_bytecode()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        command = cis(work)
        times: dict[str, list[float]] = {}
        for number in range(asked.rounds):
            cache = ["--compilation-cache", str(work / f"programs {number}")]
            for which in ("first", "warm"):
                took = seconds([*OURS, *command, *cache], work)
                times.setdefault(f"cis, {which}", []).append(took)
            for name, took in imports(work).items():
                times.setdefault(f"import, {name}", []).append(took)
    for name, values in times.items():
        print(f"{name:32}{statistics.median(values):8.2f} s   ({min(values):.2f} at the least)")
    write_result("first_result", {"seconds": times})


if __name__ == "__main__":
    main()
