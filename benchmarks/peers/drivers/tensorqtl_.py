"""tensorQTL: no kinship, single precision."""

import contextlib
import io
import os
import sys

import numpy as np
import pandas as pd
import torch
from driver import command, main
from files import best_of_each, write_expression
from tensorqtl import cis, susie, trans

torch.set_num_threads(len(os.sched_getaffinity(0)))


def frames(d):
    """Genotypes, phenotypes and covariates, in its shapes."""
    samples = [f"s{i}" for i in range(len(d.Y))]
    return (
        pd.DataFrame(d.G.T, [f"v{j}" for j in range(d.G.shape[1])], samples),
        pd.DataFrame(d.Y.T, [f"g{t}" for t in range(d.Y.shape[1])], samples),
        pd.DataFrame(d.X[:, 1:], samples),
    )


def places(d, genotypes, phenotypes):
    """Markers a thousand base pairs apart, each gene in the middle of its window, and its half."""
    low, high = d.windows.T
    markers = {"chrom": "1", "pos": 1000 * np.arange(len(genotypes)) + 1}
    genes = {"chr": "1", "pos": 1000 * ((low + high) // 2) - 499}
    half = 1000 * int((high - low)[0] // 2) - 500
    return pd.DataFrame(markers, genotypes.index), pd.DataFrame(genes, phenotypes.index), half


def quietly(function, *arguments, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments, **options, verbose=False)


def null_scan(d):
    G, Y, X = frames(d)

    def run():
        pairs = quietly(trans.map_trans, G, Y, X, pval_threshold=0.01)
        return {"log10p": -np.log10(best_of_each(pairs, "pval", len(Y)))}

    return run


def trans_from_files(d):
    write_expression(d)
    files = f"{d.folder}/genotypes expression.bed found --covariates covariates.txt"

    def run():
        options = f"--mode trans --pval_threshold 1e-3 -o {d.out}"
        command(d, f"{sys.executable} -m tensorqtl {files} {options}")
        pairs = pd.read_parquet(d.out / "found.trans_qtl_pairs.parquet")
        return {"log10p": -np.log10(best_of_each(pairs, "pval", d.Y.shape[1]))}

    return run


def map_cis(d):
    G, Y, X = frames(d)
    markers, genes, window = places(d, G, Y)

    def run():
        options = {"nperm": int(d.permutations), "seed": 1, "window": window}
        found = quietly(cis.map_cis, G, markers, Y, genes, X, **options).loc[Y.index]
        return {"log10p": -np.log10(found["pval_nominal"]), "pval_beta": found["pval_beta"]}

    return run


def map_nominal(d):
    G, Y, X = frames(d)
    markers, genes, window = places(d, G, Y)

    def run():
        options = {"output_dir": d.out, "write_top": False, "window": window}
        quietly(cis.map_nominal, G, markers, Y, genes, "found", X, **options)
        found = pd.read_parquet(d.out / "found.cis_qtl_pairs.1.parquet")
        return {"log10p": -np.log10(found["pval_nominal"].to_numpy().reshape(len(Y), -1))}

    return run


def map_susie(d):
    G, Y, X = frames(d)
    markers, genes, window = places(d, G, Y)

    def run():
        _, found = quietly(susie.map, G, markers, Y, genes, X, window=window, summary_only=False)
        pip = np.full((len(Y), int(np.diff(d.windows[0])[0])), np.nan)
        for gene, one in found.items():
            pip[int(gene[1:])] = one["pip"]["pip"]
        return {"pip": pip}

    return run


main(
    {
        "null-scan": null_scan,
        "trans": trans_from_files,
        "cis": map_cis,
        "cis-nominal": map_nominal,
        "susie": map_susie,
    }
)
