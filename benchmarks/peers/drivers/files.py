"""Tables that programs of the command line read."""

import numpy as np
import pandas as pd


def write_kinship(d):
    """The kinship with the names of samples, in the folder of what is found."""
    samples = [f"s{i}" for i in range(len(d.K))]
    np.savez(d.out / "kinship.npz", kinship=d.K, ids=samples)


def write_expression(d):
    """Phenotypes as BED, of genes far from all markers, and covariates by samples."""
    samples = [f"s{i}" for i in range(len(d.Y))]
    genes = [f"g{t}" for t in range(d.Y.shape[1])]
    start = 1000 * (d.G.shape[1] + np.arange(len(genes))) + 100_000_000
    table = pd.DataFrame({"#chr": "1", "start": start, "end": start + 1, "gene_id": genes})
    bed = pd.concat([table, pd.DataFrame(d.Y.T, columns=samples)], axis=1)
    bed.to_csv(d.out / "expression.bed", sep="\t", index=False)
    covariates = pd.DataFrame(d.X[:, 1:].T, [f"x{j}" for j in range(1, d.X.shape[1])], samples)
    covariates.to_csv(d.out / "covariates.txt", sep="\t")


def best_of_each(pairs, column, genes):
    """Smallest p-value of each gene in a table of pairs."""
    best = pairs.groupby("phenotype_id")[column].min()
    return best.reindex([f"g{t}" for t in range(genes)])
