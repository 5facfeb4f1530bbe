"""pylmm, in its edition for Python 3."""

import numpy as np
from driver import main, traits
from pylmm3.lmm import LMM


def hsq_of(model):
    return float(np.squeeze(model.fit(REML=True)[0]))


def fit(d):
    def run():
        Kva, Kve = np.linalg.eigh(d.K)
        return {"hsq": [hsq_of(LMM(y, d.K, Kva, Kve, d.X)) for y in traits(d)]}

    return run


def fit_patterns(d):
    """It leaves out who has no phenotype."""
    return lambda: {"hsq": [hsq_of(LMM(y, d.K, X0=d.X)) for y in traits(d)]}


main({"fit-one": fit, "fit-many": fit, "fit-patterns": fit_patterns})
