"""lmmlite-jax's command line, from files to files, with the programs that it keeps.

The first time nothing is compiled.
"""

import csv
import gzip
import sys

import numpy as np
import pandas as pd
from driver import command, main
from files import best_of_each, write_expression, write_kinship

PROGRAM = f"{sys.executable} -m lmmlite_jax"


def write_table(path, names, columns):
    """Write a table with one row a sample, as the command line reads it."""
    with path.open("w") as file:
        file.write("\t".join(["id", *names]) + "\n")
        for i, row in enumerate(columns):
            file.write("\t".join([f"s{i}", *map(repr, map(float, row))]) + "\n")


def refit_scan(d):
    write_table(d.out / "traits.tsv", ["y"], d.Y[:, :1])
    write_table(d.out / "covariates.tsv", [f"x{j}" for j in range(1, d.X.shape[1])], d.X[:, 1:])
    write_kinship(d)
    files = f"{d.folder}/genotypes traits.tsv found --kinship kinship.npz"
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


def trans(d, kinship=False):
    write_expression(d)
    write_kinship(d)
    files = f"{d.folder}/genotypes expression.bed found --covariates covariates.txt"
    options = f"--mode trans --pval-threshold 1e-3 --quiet --compilation-cache {d.out}/compiled"
    which = "kinship.npz" if kinship else "none"

    def run():
        command(d, f"{PROGRAM} map {files} {options} --kinship {which}")
        pairs = pd.read_parquet(d.out / "found.trans_qtl_pairs.parquet")
        return {"log10p": -np.log10(best_of_each(pairs, "pval", d.Y.shape[1]))}

    return run


def kinship(d):
    def run():
        files = f"{d.folder}/genotypes --method centered --out {d.out}/K.npz"
        command(d, f"{PROGRAM} kinship {files}")
        with np.load(d.out / "K.npz") as found:
            return {"K": found["kinship"]}

    return run


if __name__ == "__main__":
    main({"refit-scan": refit_scan, "trans": trans, "kinship": kinship})
