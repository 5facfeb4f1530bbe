"""statsmodels: MixedLM takes the kinship as a variance component of one group, Z Z' = K."""

import warnings

import numpy as np
import statsmodels.api as sm
from driver import main, traits
from statsmodels.regression.mixed_linear_model import VCSpec


def fit(d):
    n = len(d.K)

    def run():
        root = np.linalg.cholesky(d.K)
        components = VCSpec(["g"], [[[str(i) for i in range(n)]]], [[root]])
        hsq = []
        for y in traits(d):
            model = sm.MixedLM(y, d.X, np.ones(n), exog_re=None, exog_vc=components)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = model.fit(reml=True)
            hsq.append(found.vcomp[0] / (found.vcomp[0] + found.scale))
        return {"hsq": hsq}

    return run


main({"fit-one": fit})
