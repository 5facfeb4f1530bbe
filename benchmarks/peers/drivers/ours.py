"""lmmlite-jax."""

import jax
import jax.numpy as jnp
import numpy as np
from driver import main

import lmmlite_jax as lmm


def fit(d):
    return lambda: {"hsq": lmm.fit_traits(d.K, d.Y, d.X).hsq}


def components(d):
    return lambda: {"hsq": lmm.fit_components(d.parts, d.Y, d.X, tests=False).proportion.T}


def gradient(d):
    jax.config.update("jax_enable_x64", True)

    @jax.jit
    @jax.grad
    def of_weights(w, parts):
        return lmm.profile_log_likelihood(jnp.tensordot(w, parts, 1), d.Y, d.X).sum()

    return lambda: {"gradient": of_weights(np.ones(len(d.parts)), d.parts)}


def null_scan(d, K):
    def run():
        found = lmm.scan(lmm.NullModel(K, d.Y, d.X), d.G, keep="best")
        return {"log10p": found.log10p}

    return run


def refit_scan(d):
    def run():
        null = lmm.NullModel(d.K, d.Y[:, :1], d.X)
        return {"log10p": lmm.scan(null, d.G, variance="refit", asymptotic=True).log10p[:, 0]}

    return run


def founders(d):
    def run():
        null = lmm.NullModel(dict(enumerate(d.K)), d.Y, d.X)
        return {"lod": lmm.scan(null, d.G, chromosome=d.chromosome).lod}

    return run


def cis(d, K=None):
    def run():
        null = lmm.NullModel(K, d.Y, d.X)
        found = lmm.map_cis(null, d.G, d.windows, permutations=int(d.permutations))
        return {"log10p": found.log10p, "pval_beta": found.pval_beta}

    return run


def cis_nominal(d, K=None):
    def run():
        batches = lmm.map_cis_nominal(lmm.NullModel(K, d.Y, d.X), d.G, d.windows)
        found = np.full((len(d.windows), *np.diff(d.windows[0])), np.nan)
        for pairs in batches:
            found[pairs.gene, pairs.marker - d.windows[pairs.gene, 0]] = pairs.log10p
        return {"log10p": found}

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
            "fit-patterns": fit,
            "repeated-donors": fit,
            "components": components,
            "gradient": gradient,
            "null-scan": lambda d: null_scan(d, d.K),
            "refit-scan": refit_scan,
            "founders": founders,
            "trans": lambda d: null_scan(d, None),
            "cis": cis,
            "cis-nominal": cis_nominal,
            "susie": susie,
            "kinship": lambda d: lambda: {"K": lmm.kinship(d.G, "centered")},
        }
    )
