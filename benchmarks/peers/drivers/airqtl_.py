"""airqtl, which maps cells: one of each donor in a scan."""

import io
import time

import numpy as np
from airqtl import association, heritability, kinship
from driver import main, traits

AT_ONCE = 8


def null_scan(d):
    G, X = d.G.T.astype(float), np.ascontiguousarray(d.X.T)
    cells = np.ones(len(d.K), int)

    def run():
        started, found = time.perf_counter(), []
        values, vectors = kinship.eigen(d.K, cells)
        for first in range(0, d.Y.shape[1], AT_ONCE):
            Y = np.ascontiguousarray(d.Y[:, first : first + AT_ONCE].T)
            best = np.ones(len(Y))

            def keep(markers, traits, s0, l0, b, s, r, p, best=best):
                best[traits] = np.minimum(best[traits], p.min(axis=1))
                return []

            ratio = heritability.estimate(Y, X, cells, values, vectors)[1]
            association.multi_linear(
                *(G, Y, X, cells, values, vectors, ratio, io.StringIO(), keep),
                device="cpu",
                h0="beta",
            )
            found.append(-np.log10(best))
            if time.perf_counter() - started > d.seconds:
                break
        return {"log10p": np.concatenate(found)}

    return run


def repeated_donors(d):
    _, cells = np.unique(np.argmax(d.K, axis=1), return_counts=True)
    X = np.ascontiguousarray(d.X.T)

    def run():
        values, vectors = kinship.eigen(np.eye(len(cells)), cells)
        estimates = (heritability.estimate(y[None], X, cells, values, vectors) for y in traits(d))
        ratios = np.array([ratio[0] for _, ratio, *_ in estimates])
        return {"hsq": ratios / (1 + ratios)}

    return run


main({"repeated-donors": repeated_donors, "null-scan": null_scan})
