"""glimix-core."""

import time

import numpy as np
from driver import main, observed, traits
from glimix_core.lmm import LMM
from numpy_sugar.linalg import economic_qs


def hsq_of(y, X, QS):
    lmm = LMM(y, X, QS, restricted=True)
    lmm.fit(verbose=False)
    return lmm.v0 / (lmm.v0 + lmm.v1)


def fit(d):
    def run():
        QS = economic_qs(d.K)
        return {"hsq": [hsq_of(y, d.X, QS) for y in traits(d)]}

    return run


def fit_patterns(d):
    return lambda: {"hsq": [hsq_of(y, X, economic_qs(K)) for y, K, X in observed(d)]}


def gradient(d, step=1e-4):
    """Central differences, one weight after the other, until the time is over."""

    def total(K):
        QS = economic_qs(K)
        models = [LMM(np.ascontiguousarray(y), d.X, QS, restricted=True) for y in d.Y.T]
        for lmm in models:
            lmm.fit(verbose=False)
        return sum(lmm.lml() for lmm in models)

    def run():
        started, found = time.perf_counter(), []
        for part in d.parts:
            found.append((total(d.K + step * part) - total(d.K - step * part)) / (2 * step))
            if time.perf_counter() - started > d.seconds:
                break
        return {"gradient": found}

    return run


main({"gradient": gradient, "fit-one": fit, "fit-many": fit, "fit-patterns": fit_patterns})
