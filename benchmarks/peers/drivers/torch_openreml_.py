"""torch-openreml: AI-REML of σ²ₐ Z Z' + σ²ₑ I, Z Z' = K."""

import numpy as np
import torch
from driver import main, traits
from torch_openreml import MarginalREML, post
from torch_openreml.covariance import CovariancePropagation, ScalarMatrix, Sum

torch.set_default_dtype(torch.float64)


def root_of(K):
    """Z of Z Z' = K, which may be singular."""
    values, vectors = torch.linalg.eigh(torch.tensor(K))
    return vectors * values.clamp(0).sqrt()


def variances(d, each, roots):
    """Those of kinships Z Z' and the residual variance, of one trait after the other."""
    n, X, start = len(d.K), torch.tensor(d.X), torch.zeros(len(roots) + 1)
    for y in each:
        terms = [CovariancePropagation(root, ScalarMatrix(n)) for root in roots]
        V = Sum(*terms, ScalarMatrix(n))
        theta, *_ = MarginalREML(V).optimize(torch.tensor(y), X, start)
        yield np.array([float(v) for v in V.build_params(theta)])


def shares(found):
    return np.array([v[:-1] / v.sum() for v in found])


def fit(d):
    def run():
        root = torch.linalg.cholesky(torch.tensor(d.K))
        return {"hsq": shares(variances(d, traits(d), [root]))[:, 0]}

    return run


def components(d):
    return lambda: {"hsq": shares(variances(d, traits(d), [root_of(K) for K in d.parts]))}


def gradient(d):
    """Its log likelihood differentiated at its estimates."""
    parts, X, one = torch.tensor(d.parts), torch.tensor(d.X), torch.eye(len(d.K))
    Y = np.ascontiguousarray(d.Y.T)

    def run():
        w = torch.ones(len(parts), requires_grad=True)
        for y, (genetic, rest) in zip(Y, variances(d, Y, [root_of(d.K)]), strict=True):
            V = genetic * torch.tensordot(w, parts, 1) + rest * one
            post.loglik(torch.tensor(y), X, V).backward()
        return {"gradient": w.grad}

    return run


main({"fit-one": fit, "components": components, "gradient": gradient})
