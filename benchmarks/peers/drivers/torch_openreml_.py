"""torch-openreml: AI-REML of σ²ₐ Z Z' + σ²ₑ I, Z Z' = K."""

import torch
from driver import main, traits
from torch_openreml import MarginalREML
from torch_openreml.covariance import CovariancePropagation, ScalarMatrix, Sum

torch.set_default_dtype(torch.float64)


def fit(d):
    n = len(d.K)

    def run():
        root = torch.linalg.cholesky(torch.tensor(d.K))
        hsq = []
        for y in traits(d):
            V = Sum(CovariancePropagation(root, ScalarMatrix(n)), ScalarMatrix(n))
            theta, *_ = MarginalREML(V).optimize(torch.tensor(y), torch.tensor(d.X), torch.zeros(2))
            genetic, rest = (float(v) for v in V.build_params(theta))
            hsq.append(genetic / (genetic + rest))
        return {"hsq": hsq}

    return run


main({"fit-one": fit})
