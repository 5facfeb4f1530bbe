"""lmmlite-jax."""

from driver import main

import lmmlite_jax as lmm


def fit(d):
    return lambda: {"hsq": lmm.fit_traits(d.K, d.Y, d.X).hsq}


def null_scan(d):
    def run():
        found = lmm.scan(lmm.NullModel(d.K, d.Y, d.X), d.G, keep="best")
        return {"log10p": found.log10p}

    return run


def refit_scan(d):
    def run():
        null = lmm.NullModel(d.K, d.Y[:, :1], d.X)
        return {"log10p": lmm.scan(null, d.G, variance="refit", asymptotic=True).log10p[:, 0]}

    return run


def cis(d, K=None):
    def run():
        null = lmm.NullModel(K, d.Y, d.X)
        found = lmm.map_cis(null, d.G, d.windows, permutations=int(d.permutations))
        return {"log10p": found.log10p, "pval_beta": found.pval_beta}

    return run


def susie(d, K=None):
    def run():
        found = lmm.map_cis_susie(lmm.NullModel(K, d.Y, d.X), d.G, d.windows)
        return {"pip": found.pip.reshape(len(d.windows), -1)}

    return run


if __name__ == "__main__":
    main(
        {
            "fit-one": fit,
            "fit-many": fit,
            "null-scan": null_scan,
            "refit-scan": refit_scan,
            "cis": cis,
            "susie": susie,
            "kinship": lambda d: lambda: {"K": lmm.kinship(d.G, "centered")},
        }
    )
