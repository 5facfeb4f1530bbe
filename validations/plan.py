"""How well a dry run knows what a run takes: 2e10 pairs, of which 1% or so is run.

A million variants and 20,000 features of 500 relatives, in files; `trans` with a kinship. A dry run
of all of them says how long they take. Runs of one and of three pieces of the work are measured,
0.8% and 2.5% of the variants: from what two pieces take follows what all take, beside what a run
takes in any case. Of each the least of three rounds in turn, since other work delays. Fails if one
is more than 1.5 times the other.

Usage: ``python -m validations.plan [--variants 1000000] [--features 20000] [--whole]``; ``--whole``
runs all pairs too. Prints a table and writes ``results/plan.json``. Needs the extras ``io`` and
``genotypes``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bed_reader import to_bed

import lmmlite_jax as lmm
from benchmarks.common import write_result
from lmmlite_jax.pipeline import Files, Settings, map_files

RESULTS = Path(__file__).parent / "results"

N, PIECE, ROUNDS, WITHIN = 500, 8192, 3, 1.5


def write_genotypes(path: Path, samples: list[str], M: int) -> None:
    """Independent dosages, as PLINK has them."""
    rng = np.random.default_rng(1)
    G = rng.binomial(2, 0.3, (len(samples), M)).astype(np.int8)
    where = {"chromosome": np.full(M, "1"), "bp_position": 100 * np.arange(1, M + 1)}
    to_bed(path, G, properties={"iid": samples, **where})


def seconds_of(folder: Path, genotypes: str, **options: Any) -> float:
    """Seconds that a run takes, or that a dry run says it will."""
    started = time.perf_counter()
    files = Files(
        genotypes=folder / genotypes,
        phenotypes=folder / "expression.parquet",
        kinship=folder / "kinship.npz",
    )
    settings = Settings(mode="trans", pval_threshold=1e-8)
    summary = map_files(files, folder / "run", settings, log=print, **options)
    return float(summary["seconds"]) if options else time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=20_000)
    parser.add_argument("--whole", action="store_true")
    chosen = parser.parse_args()
    M, m = chosen.variants, chosen.features
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = lmm.simulate_cohort(N, m, seed=1)
        samples = list(cohort.individuals)
        Y = pd.DataFrame(cohort.pheno.T, [f"g{t}" for t in range(m)], samples)
        Y.to_parquet(folder / "expression.parquet")
        K = pd.DataFrame(cohort.kinship, samples, samples)
        lmm.data.write_kinship(K, folder / "kinship.npz")
        for part, count in {"all": M, "three": 3 * PIECE, "one": PIECE}.items():
            write_genotypes(folder / f"{part}.bed", samples, count)
        seconds_of(folder, "one")  # compiles
        rounds = [
            {
                "one": seconds_of(folder, "one"),
                "three": seconds_of(folder, "three"),
                "planned": seconds_of(folder, "all", dry_run=True),
            }
            for _ in range(ROUNDS)
        ]
        found = {what: min(one[what] for one in rounds) for what in rounds[0]}
        if chosen.whole:
            found["whole"] = seconds_of(folder, "all")
    a_piece = (found["three"] - found["one"]) / 2
    found["measured"] = found["one"] + (M / PIECE - 1) * a_piece
    ratio = found["planned"] / found["measured"]
    for what, seconds in found.items():
        print(f"{what:10}{seconds:8.1f} s")
    print(f"planned over measured {ratio:.2f}")
    sizes = {"n": N, "variants": M, "features": m, "pairs": M * m}
    write_result("plan", {**sizes, "seconds": found, "ratio": ratio}, RESULTS)
    sys.exit(0 if 1 / WITHIN <= ratio <= WITHIN else 1)


if __name__ == "__main__":
    main()
