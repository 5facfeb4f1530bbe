"""glimix-core."""

from driver import main, traits
from glimix_core.lmm import LMM
from numpy_sugar.linalg import economic_qs


def fit(d):
    def run():
        QS, hsq = economic_qs(d.K), []
        for y in traits(d):
            lmm = LMM(y, d.X, QS, restricted=True)
            lmm.fit(verbose=False)
            hsq.append(lmm.v0 / (lmm.v0 + lmm.v1))
        return {"hsq": hsq}

    return run


main({"fit-one": fit, "fit-many": fit})
