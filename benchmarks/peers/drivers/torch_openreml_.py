"""torch-openreml: AI-REML of σ²ₐ Z Z' + σ²ₑ I, Z Z' = K."""

import numpy as np
import torch
from driver import main, traits
from torch_openreml import MarginalREML, post
from torch_openreml.covariance import CovariancePropagation, ScalarMatrix, Sum

torch.set_default_dtype(torch.float64)


def variances(d, each, root):
    """Genetic and residual variance of one trait after the other, root root' = K."""
    n = len(d.K)
    for y in each:
        V = Sum(CovariancePropagation(root, ScalarMatrix(n)), ScalarMatrix(n))
        theta, *_ = MarginalREML(V).optimize(torch.tensor(y), torch.tensor(d.X), torch.zeros(2))
        yield [float(v) for v in V.build_params(theta)]


def fit(d):
    def run():
        root = torch.linalg.cholesky(torch.tensor(d.K))
        found = variances(d, traits(d), root)
        return {"hsq": [genetic / (genetic + rest) for genetic, rest in found]}

    return run


def gradient(d):
    """Its log likelihood differentiated at its estimates."""
    parts, X, one = torch.tensor(d.parts), torch.tensor(d.X), torch.eye(len(d.K))
    Y = np.ascontiguousarray(d.Y.T)

    def run():
        values, vectors = torch.linalg.eigh(torch.tensor(d.K))
        root = vectors * values.clamp(0).sqrt()
        w = torch.ones(len(parts), requires_grad=True)
        for y, (genetic, rest) in zip(Y, variances(d, Y, root), strict=True):
            V = genetic * torch.tensordot(w, parts, 1) + rest * one
            post.loglik(torch.tensor(y), X, V).backward()
        return {"gradient": w.grad}

    return run


main({"fit-one": fit, "gradient": gradient})
