"""statsmodels: MixedLM takes the kinship as a variance component of one group, Z Z' = K."""

import warnings

import numpy as np
import statsmodels.api as sm
from driver import main, traits
from statsmodels.regression.mixed_linear_model import VCSpec


def shares(d, roots):
    """Shares of variance of kinships Z Z', a row a trait."""
    n, found = len(d.K), []
    names = [[[str(i) for i in range(n)]]] * len(roots)
    which = [f"g{k}" for k in range(len(roots))]
    components = VCSpec(which, names, [[root] for root in roots])
    for y in traits(d):
        model = sm.MixedLM(y, d.X, np.ones(n), exog_re=None, exog_vc=components)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = model.fit(reml=True)
        found.append(fitted.vcomp / (fitted.vcomp.sum() + fitted.scale))
    return np.array(found)


def fit(d):
    return lambda: {"hsq": shares(d, [np.linalg.cholesky(d.K)])[:, 0]}


def components(d):
    def run():
        values, vectors = np.linalg.eigh(d.parts)
        return {"hsq": shares(d, vectors * np.sqrt(np.maximum(values, 0))[:, None])}

    return run


main({"fit-one": fit, "components": components})
