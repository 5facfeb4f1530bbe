"""statsmodels' MixedLM, with a random intercept of each donor.

It takes a kinship as a variance component of one group, Z Z' = K.
"""

import warnings

import numpy as np
import statsmodels.api as sm
from driver import main, traits
from statsmodels.regression.mixed_linear_model import VCSpec


def fitted(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sm.MixedLM(*arguments, **options).fit(reml=True)


def shares(d, roots):
    """Shares of variance of kinships Z Z', a row a trait."""
    n, found = len(d.K), []
    names = [[[str(i) for i in range(n)]]] * len(roots)
    which = [f"g{k}" for k in range(len(roots))]
    components = VCSpec(which, names, [[root] for root in roots])
    for y in traits(d):
        one = fitted(y, d.X, np.ones(n), exog_re=None, exog_vc=components)
        found.append(one.vcomp / (one.vcomp.sum() + one.scale))
    return np.array(found)


def fit(d):
    return lambda: {"hsq": shares(d, [np.linalg.cholesky(d.K)])[:, 0]}


def donors(d):
    donor = np.argmax(d.K, axis=1)

    def run():
        models = (fitted(y, d.X, donor) for y in traits(d))
        return {"hsq": [one.cov_re[0, 0] / (one.cov_re[0, 0] + one.scale) for one in models]}

    return run


def components(d):
    def run():
        values, vectors = np.linalg.eigh(d.parts)
        return {"hsq": shares(d, vectors * np.sqrt(np.maximum(values, 0))[:, None])}

    return run


main({"fit-one": fit, "repeated-donors": donors, "components": components})
