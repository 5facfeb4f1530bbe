"""lmmlite-jax's command line, from files to files, with the programs that it keeps.

The first time nothing is compiled.
"""

import csv
import gzip
import sys

import numpy as np
from driver import command, main

PROGRAM = f"{sys.executable} -m lmmlite_jax"


def write_table(path, names, columns):
    """Write a table with one row a sample, as the command line reads it."""
    with path.open("w") as file:
        file.write("\t".join(["id", *names]) + "\n")
        for i, row in enumerate(columns):
            file.write("\t".join([f"s{i}", *map(repr, map(float, row))]) + "\n")


def refit_scan(d):
    samples = [f"s{i}" for i in range(len(d.K))]
    write_table(d.out / "traits.tsv", ["y"], d.Y[:, :1])
    write_table(d.out / "covariates.tsv", [f"x{j}" for j in range(1, d.X.shape[1])], d.X[:, 1:])
    write_table(d.out / "kinship.tsv", samples, d.K)
    files = f"{d.folder}/genotypes traits.tsv found --kinship kinship.tsv"
    options = "--mode trans --variance refit --asymptotic --pval-threshold 1 --output-text --quiet"

    def run():
        cache = f"--covariates covariates.tsv --compilation-cache {d.out}/compiled"
        command(d, f"{PROGRAM} map {files} {options} {cache}")
        p = np.full(d.G.shape[1], np.nan)
        with gzip.open(d.out / "found.trans_qtl_pairs.txt.gz", "rt") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                p[int(row["variant_id"][1:])] = float(row["log10p"])
        return {"log10p": p}

    return run


def kinship(d):
    def run():
        command(
            d,
            f"{PROGRAM} kinship {d.folder}/genotypes --method centered --out {d.out}/K.npz",
        )
        with np.load(d.out / "K.npz") as found:
            return {"K": found["kinship"]}

    return run


main({"refit-scan": refit_scan, "kinship": kinship})
