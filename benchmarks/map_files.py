"""What files cost: `trans` from PLINK and Parquet files to files, beside the scan of arrays.

500 relatives, 100,000 variants and 5,000 genes; both with a kinship, both keep pairs of -log10 p of
at least 5. The run from files reads genotypes, phenotypes, covariates and kinship, leaves the cis
pairs out, adds allele frequencies and writes its table and summary.
Usage: ``python benchmarks/map_files.py``; prints a table and writes ``results/map_files.json``.
Needs the extras ``io`` and ``genotypes``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from bed_reader import to_bed
from common import median_ratio, side_by_side, write_result

import lmmlite_jax as lmm
from lmmlite_jax.pipeline import Files, Settings, map_files

THRESHOLD = 5.0


def write_cohort(folder: Path, n: int, M: int, m: int) -> tuple[np.ndarray, ...]:
    """Files, and the arrays K, Y, G and X that are in them."""
    rng = np.random.default_rng(1)
    cohort = lmm.simulate_cohort(n, m, seed=1)
    samples = list(cohort.individuals)
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (n, M)).astype(np.int8)
    chromosome = np.sort(rng.integers(1, 23, M)).astype(str)
    variants = {"chromosome": chromosome, "bp_position": 1000 * np.arange(1, M + 1)}
    to_bed(folder / "genotypes.bed", G, properties={"iid": samples, **variants})
    near = np.sort(rng.integers(0, M, m))
    start = variants["bp_position"][near]
    place = {"#chr": chromosome[near], "start": start - 1, "end": start}
    genes = pd.DataFrame({**place, "gene_id": [f"g{t}" for t in range(m)]})
    phenotypes = pd.DataFrame(cohort.pheno.T, columns=samples)
    pd.concat([genes, phenotypes], axis=1).to_parquet(folder / "expression.bed.parquet")
    lmm.data.write_table(
        pd.DataFrame(cohort.covar[:, 1:], samples, ["sex", "age"]), folder / "covariates.tsv"
    )
    lmm.data.write_kinship(pd.DataFrame(cohort.kinship, samples, samples), folder / "kinship.npz")
    return cohort.kinship, cohort.pheno, G, cohort.covar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        K, Y, G, X = write_cohort(folder, 500, options.variants, options.genes)

        def from_files() -> dict[str, object]:
            files = Files(
                genotypes=folder / "genotypes",
                phenotypes=folder / "expression.bed.parquet",
                kinship=folder / "kinship.npz",
                covariates=folder / "covariates.tsv",
            )
            settings = Settings(mode="trans", pval_threshold=10**-THRESHOLD)
            return map_files(files, folder / "run", settings)

        first, warm = side_by_side(
            {
                "files": from_files,
                "arrays": lambda: lmm.scan(lmm.NullModel(K, Y, X), G, keep=THRESHOLD).log10p,
            },
            options.rounds,
        )
        written = len(pd.read_parquet(folder / "run.trans_qtl_pairs.parquet"))
    result = {
        "n": len(Y),
        "variants": options.variants,
        "genes": options.genes,
        "pairs_written": written,
        "first": first,
        "warm": warm,
        "files_over_arrays": median_ratio(warm["files"], warm["arrays"]),
    }
    for who, seconds in warm.items():
        print(f"{who:8}{statistics.median(seconds):8.1f} s, the first time {first[who]:.1f} s")
    print("files over arrays", round(result["files_over_arrays"], 2))
    write_result("map_files", result)


if __name__ == "__main__":
    main()
