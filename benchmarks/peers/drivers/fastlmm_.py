"""FaST-LMM."""

import numpy as np
from driver import main, observed, traits
from fastlmm.association import single_snp
from fastlmm.inference.lmm import LMM
from pysnptools.kernelreader import KernelData
from pysnptools.snpreader import SnpData


def model(K, X):
    lmm = LMM()
    lmm.setK(K)
    lmm.setX(X)
    return lmm


def hsq_of(lmm, y):
    lmm.sety(y)
    return float(lmm.findH2()["h2"])


def fit(d):
    def run():
        lmm = model(d.K, d.X)
        return {"hsq": [hsq_of(lmm, y) for y in traits(d)]}

    return run


def fit_patterns(d):
    return lambda: {"hsq": [hsq_of(model(K, X), y) for y, K, X in observed(d)]}


def null_scan(d):
    iid = [["f", str(i)] for i in range(len(d.K))]

    def columns(name, values):
        return SnpData(iid, [f"{name}{j}" for j in range(values.shape[1])], values)

    G, X = columns("v", d.G.astype(float)), columns("x", d.X[:, 1:].copy())
    kernel = KernelData(iid=iid, val=d.K)

    def run():
        best = []
        for y in traits(d):
            table = single_snp(
                G,
                columns("y", y[:, None]),
                K0=kernel,
                covar=X,
                leave_out_one_chrom=False,
                count_A1=False,
            )
            best.append(-np.log10(table["PValue"].min()))
        return {"log10p": best}

    return run


main(
    {"fit-one": fit, "fit-many": fit, "fit-patterns": fit_patterns, "null-scan": null_scan},
)
