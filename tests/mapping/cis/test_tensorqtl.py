"""Without kinship the numbers are tensorQTL's; skipped where it is not installed."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import pytest

import lmmlite_jax as lmm

torch = pytest.importorskip("torch", reason="tensorQTL needs torch: pip install tensorqtl")
with contextlib.redirect_stdout(io.StringIO()):
    pytest.importorskip("tensorqtl", reason="pip install tensorqtl")
    from tensorqtl import cis, core

pd = pytest.importorskip("pandas")


class Problem(NamedTuple):
    Y: np.ndarray
    G: np.ndarray
    X: np.ndarray
    e: np.ndarray
    position: np.ndarray
    start: np.ndarray
    windows: np.ndarray


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    n, M, m = 120, 300, 12
    G = rng.binomial(2, rng.uniform(0.1, 0.9, M), (n, M)).astype(float)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 3))])
    position, start = 1000 * np.arange(M), np.sort(rng.integers(0, 300_000, m))
    Y = rng.standard_normal((n, m)) + 0.5 * G[:, start // 1000]
    one = np.ones(M, dtype=int)
    windows = lmm.cis_windows(one, position, one[:m], start, distance=50_000)
    return Problem(Y, G, X, rng.standard_normal(n), position, start, windows)


def together(batches):
    table = pd.concat([batch.to_pandas() for batch in batches])
    return table.sort_values(["phenotype_id", "variant_id"], ignore_index=True)


def assert_column(ours, theirs, name):
    # The stated agreement; effects near zero are compared on the scale of their standard errors.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9, err_msg=name)


def test_every_pair(problem):
    ours = together(
        lmm.map_cis_nominal(lmm.NullModel(None, problem.Y, problem.X), problem.G, problem.windows)
    )
    residualizer = core.Residualizer(torch.tensor(problem.X[:, 1:]))
    for t, (low, high) in enumerate(problem.windows):
        table = ours[ours["phenotype_id"] == t]
        np.testing.assert_array_equal(table["variant_id"], np.arange(low, high))
        G, y = torch.tensor(problem.G[:, low:high].T), torch.tensor(problem.Y[:, t])
        tstat, *columns = (x.numpy() for x in cis.calculate_cis_nominal(G, y, residualizer))
        assert_column(table["pval_nominal"], core.get_t_pval(tstat, residualizer.dof), "p")
        names = ("slope", "slope_se", "af", "ma_samples", "ma_count")
        for name, values in zip(names, columns, strict=True):
            assert_column(table[name], values, name)


def test_interactions(problem):
    ours = together(
        lmm.map_cis_interaction(
            lmm.NullModel(None, problem.Y, np.column_stack([problem.X, problem.e])),
            problem.G,
            problem.windows,
            problem.e,
        )
    )
    residualizer = core.Residualizer(torch.tensor(problem.X[:, 1:]))
    e = torch.tensor(problem.e[:, None])
    upper = np.ones(len(problem.e), dtype=bool)
    upper[np.argsort(problem.e, kind="stable")[: len(upper) // 2]] = False
    for t, (low, high) in enumerate(problem.windows):
        G, y = torch.tensor(problem.G[:, low:high].T), torch.tensor(problem.Y[:, t])
        G, kept = core.filter_maf_interaction(G, torch.tensor(upper), 0.05)
        table = ours[ours["phenotype_id"] == t]
        np.testing.assert_array_equal(table["variant_id"], np.arange(low, high)[kept.numpy()])
        found = core.calculate_interaction_nominal(G, y[None], e, residualizer)
        tstat, b, se = (x.numpy() for x in found[:3])
        pvalue = core.get_t_pval(tstat, residualizer.dof - 2)
        for k, term in enumerate(("g", "i", "gi")):
            assert_column(table[f"b_{term}"], b[:, k], term)
            assert_column(table[f"b_{term}_se"], se[:, k], term)
            assert_column(table[f"pval_{term}"], pvalue[:, k], term)


def test_best_markers_and_their_p_values(problem):
    samples, genes = [f"s{i}" for i in range(120)], [f"g{t}" for t in range(12)]
    markers = [f"v{j}" for j in range(300)]

    def tensorqtl(seed):
        with contextlib.redirect_stdout(io.StringIO()):
            return cis.map_cis(
                pd.DataFrame(problem.G.T, markers, samples),
                pd.DataFrame({"chrom": "1", "pos": problem.position}, markers),
                pd.DataFrame(problem.Y.T, genes, samples),
                pd.DataFrame({"chr": "1", "start": problem.start, "end": problem.start}, genes),
                pd.DataFrame(problem.X[:, 1:], samples),
                window=50_000,
                nperm=1000,
                seed=seed,
                verbose=False,
            )

    first, second = tensorqtl(1), tensorqtl(2)
    mapped = lmm.map_cis(
        lmm.NullModel(None, problem.Y, problem.X), problem.G, problem.windows, permutations=1000
    )
    ours = mapped.to_pandas(position=problem.position, start=problem.start, end=problem.start)
    assert set(first.columns) <= set(ours.columns)
    assert [f"v{j}" for j in ours["variant_id"]] == list(first["variant_id"])
    for name in ("num_var", "start_distance", "ma_samples", "ma_count"):
        np.testing.assert_array_equal(ours[name], first[name])
    for name in ("slope", "slope_se", "af", "pval_nominal"):
        # tensorQTL works in single precision, whose rounding a small p-value multiplies.
        np.testing.assert_allclose(ours[name], first[name], rtol=2e-5)

    def spread(a, b):
        return np.sqrt(np.mean(np.log(np.asarray(a) / np.asarray(b)) ** 2))

    for name in ("pval_beta", "beta_shape2", "true_df"):
        # An F test of 12 ratios against 12: 1.7 in standard deviations is its 95th percentile.
        assert spread(ours[name], first[name]) < 2.2 * spread(second[name], first[name])
