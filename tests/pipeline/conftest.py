"""Files of relatives with 200 genes on two chromosomes, for runs in processes of their own."""

import os

import numpy as np
import pandas as pd
import pytest
from genotype_files import write_plink1

import lmmlite_jax as lmm


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Write relatives with 200 genes on two chromosomes, one of them on the other side only."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(4)
    data = lmm.simulate_cohort(n=60, m=200, seed=4)
    M = 4000
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, M), (60, M)).astype(np.float32)
    calls[rng.random(calls.shape) < 0.01] = np.nan
    half = M // 2
    position = np.concatenate([np.arange(half), np.arange(M - half)]) * 1000 + 1
    variants = pd.DataFrame(
        {"chrom": np.repeat(["1", "2"], [half, M - half]), "pos": position, "a1": "A", "a0": "G"},
        index=[f"rs{j}" for j in range(M)],
    )
    write_plink1(folder / "g", calls, variants, data.individuals)
    at = np.sort(rng.choice(M, 200, replace=False))
    Y = data.pheno + 10 * np.nan_to_num(calls[:, at], nan=1.0)
    Y[3, 5] = np.nan
    bed = pd.DataFrame(
        {
            "#chr": "chr" + variants["chrom"].to_numpy()[at],
            "start": position[at] - 1,
            "end": position[at],
            "gene_id": [f"g{t}" for t in range(200)],
        }
    )
    bed = pd.concat([bed, pd.DataFrame(Y.T, columns=data.individuals)], axis=1)
    bed.to_csv(folder / "y.bed", sep="\t", index=False, na_rep="NA")
    term = pd.Series(rng.standard_normal(60), data.individuals, name="e")
    term.to_csv(folder / "e.tsv", sep="\t", header=False)
    loci = bed.rename(columns={"gene_id": "phenotype_id", "#chr": "chr", "end": "pos"})
    loci = loci[["phenotype_id", "chr", "pos"]].iloc[::4]
    # Features have two loci, the second of which is another feature's place.
    second = loci.assign(phenotype_id=np.roll(loci["phenotype_id"], 5))
    pd.concat([loci, second]).to_csv(folder / "loci.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Write 40 relatives with 60 variants and three genes, of which one has an effect."""
    folder = tmp_path_factory.mktemp("small")
    data = lmm.simulate_cohort(n=40, m=3, seed=2)
    rng = np.random.default_rng(2)
    calls = rng.binomial(2, 0.3, (40, 60)).astype(np.float32)
    calls[:, 7] = np.nan
    variants = pd.DataFrame(
        {"chrom": "1", "pos": np.arange(60) * 1000 + 1, "a1": "A", "a0": "G"},
        index=[f"rs{j}" for j in range(60)],
    )
    write_plink1(folder / "g", calls, variants, data.individuals)
    Y = data.pheno + np.outer(calls[:, 20], [20, 0, 0])
    chrom, at = ["chr1", "chr1", "chr9"], np.array([20_300, 5_300, 7_000])
    place = pd.DataFrame(
        {"#chr": chrom, "start": at, "end": at + 500, "gene_id": ["a", "b", "elsewhere"]}
    )
    bed = pd.concat([place, pd.DataFrame(Y.T, columns=data.individuals)], axis=1)
    bed.to_csv(folder / "y.bed", sep="\t", index=False)
    table = pd.DataFrame(data.kinship, data.individuals, data.individuals)
    table.to_csv(folder / "kinship.csv")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Programs are compiled once for all processes."""
    cache = str(tmp_path_factory.mktemp("compiled"))
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
