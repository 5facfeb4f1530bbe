"""pylmm, in its edition for Python 3."""

import numpy as np
from driver import main, traits
from pylmm3.lmm import LMM


def fit(d):
    def run():
        Kva, Kve = np.linalg.eigh(d.K)
        models = (LMM(y, d.K, Kva, Kve, d.X) for y in traits(d))
        return {"hsq": [float(np.squeeze(model.fit(REML=True)[0])) for model in models]}

    return run


main({"fit-one": fit, "fit-many": fit})
