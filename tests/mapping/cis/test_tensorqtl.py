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
    from tensorqtl import cis, core, mixqtl, post

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


def test_several_interactions(problem):
    rng = np.random.default_rng(2)
    e = pd.DataFrame(rng.standard_normal((120, 2)), columns=["age", "bmi"])
    null = lmm.NullModel(None, problem.Y, np.column_stack([problem.X, e]))
    ours = together(
        lmm.map_cis_interaction(null, problem.G, problem.windows, e, maf_threshold_interaction=0.0)
    )
    residualizer = core.Residualizer(torch.tensor(problem.X[:, 1:]))
    for t, (low, high) in enumerate(problem.windows):
        G, y = torch.tensor(problem.G[:, low:high].T), torch.tensor(problem.Y[:, t])
        found = core.calculate_interaction_nominal(
            G, y[None], torch.tensor(e.to_numpy()), residualizer
        )
        tstat, b, se = (x.numpy() for x in found[:3])
        pvalue = core.get_t_pval(tstat, residualizer.dof - 4)
        table = ours[ours["phenotype_id"] == t]
        for k, term in enumerate(("g", "age", "bmi", "g-age", "g-bmi")):
            assert_column(table[f"b_{term}"], b[:, k], term)
            assert_column(table[f"b_{term}_se"], se[:, k], term)
            assert_column(table[f"pval_{term}"], pvalue[:, k], term)


def test_paired_covariates(problem):
    """Of two genes in three; degrees of freedom are fewer there."""
    rng = np.random.default_rng(3)
    own = rng.standard_normal(problem.Y.shape)
    own[:, ::3] = np.nan
    Y = problem.Y + np.nan_to_num(own)
    null = lmm.NullModel(None, Y, problem.X, paired_covariates=own)
    ours = together(lmm.map_cis_nominal(null, problem.G, problem.windows))
    for t, (low, high) in enumerate(problem.windows):
        beside = problem.X[:, 1:] if t % 3 == 0 else np.column_stack([problem.X[:, 1:], own[:, t]])
        residualizer = core.Residualizer(torch.tensor(beside))
        G, y = torch.tensor(problem.G[:, low:high].T), torch.tensor(Y[:, t])
        tstat, slope, *_ = (x.numpy() for x in cis.calculate_cis_nominal(G, y, residualizer))
        table = ours[ours["phenotype_id"] == t]
        assert_column(table["pval_nominal"], core.get_t_pval(tstat, residualizer.dof), "p")
        assert_column(table["slope"], slope, "slope")


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


@pytest.mark.parametrize("threshold", [0.0, 8.0])
@pytest.mark.parametrize("imputation", ["offset", "half_min"])
def test_allelic_fold_changes(problem, imputation, threshold):
    """A gene of two markers and one of one, with counts of zero."""
    counts = np.random.default_rng(4).poisson(6 + 4 * problem.G[:, [0, 2]]).astype(float)
    counts[:5] = 0
    trait, marker = np.array([0, 1, 0]), np.array([0, 2, 1])
    logs = lmm.log2_counts(counts, imputation=imputation, count_threshold=threshold)
    ours = lmm.allelic_fold_change(lmm.NullModel(None, logs), problem.G, trait, marker)
    for gene in range(2):
        G = torch.tensor(problem.G[:, marker[trait == gene]].T, dtype=torch.float32)
        b, se = mixqtl.trc(
            G,
            torch.tensor(counts[:, gene], dtype=torch.float32),
            count_threshold=threshold,
            imputation=imputation,
            mode="multi",
        )
        for own, theirs in ((ours.afc, b), (ours.afc_se, se)):
            expected = theirs.numpy() * np.log2(np.e)
            np.testing.assert_allclose(own[trait == gene], expected, rtol=1e-4)


def test_significant_pairs(problem, tmp_path):
    null = lmm.NullModel(None, problem.Y, problem.X)
    pairs = together(lmm.map_cis_nominal(null, problem.G, problem.windows))
    best = pairs.loc[pairs.groupby("phenotype_id")["pval_nominal"].idxmin()]
    best = best.set_index("phenotype_id")[["pval_nominal"]].assign(
        qval=np.arange(12) / 100, pval_nominal_threshold=10.0 ** -np.arange(12), pval_beta=0.5
    )
    pairs.to_parquet(tmp_path / "1.parquet")
    of_groups = best.iloc[::2].assign(group_id=[f"group{k}" for k in range(6)])
    group_of = {gene: f"group{gene // 2}" for gene in range(12)}
    for groups, cis in ((None, best), (group_of, of_groups)):
        of_genes = None if groups is None else pd.Series(groups)
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = post.get_significant_pairs(cis, {"1": tmp_path / "1.parquet"}, of_genes)
        ours = lmm.significant_pairs(pairs, cis, groups=groups)
        assert 12 < len(ours) < len(pairs)
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs)


def test_groups_and_their_signals(problem):
    """Pairs of genes at one place: the same genes, markers and sizes, p-values within noise."""
    samples, genes = [f"s{i}" for i in range(120)], [f"g{t}" for t in range(12)]
    markers, pairs = [f"v{j}" for j in range(300)], np.arange(12) // 2
    start, windows = problem.start[2 * pairs], problem.windows[2 * pairs]
    groups = [f"group{pair}" for pair in pairs]
    Y = problem.Y + 0.5 * problem.G[:, (start // 1000 + 20) % 300] * (np.arange(12) % 2)
    files = (
        pd.DataFrame(problem.G.T, markers, samples),
        pd.DataFrame({"chrom": "1", "pos": problem.position}, markers),
    )
    expression = (
        pd.DataFrame(Y.T, genes, samples),
        pd.DataFrame({"chr": "1", "start": start, "end": start}, genes),
        pd.DataFrame(problem.X[:, 1:], samples),
    )
    options = {
        "group_s": pd.Series(groups, genes),
        "window": 50_000,
        "nperm": 1000,
        "seed": 1,
        "verbose": False,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = cis.map_cis(*files, *expression, **options)
        theirs["qval"] = theirs["pval_beta"]  # all are significant
        signals = cis.map_independent(*files, theirs, *expression, fdr=0.01, **options)
    # Both have nothing between the largest p-value that is significant there, 0.0013, and 0.01.
    null = lmm.NullModel(None, Y, problem.X)
    mapped = lmm.map_cis(null, problem.G, windows, groups=groups, permutations=20_000)
    ours = mapped.to_pandas(position=problem.position, start=start, end=start)
    assert set(theirs.columns) - {"qval"} <= set(ours.columns)
    assert [f"g{t}" for t in ours.index] == list(theirs.index)
    assert [f"v{j}" for j in ours["variant_id"]] == list(theirs["variant_id"])
    for name in ("group_id", "group_size", "num_var", "start_distance"):
        assert list(ours[name]) == list(theirs[name])
    for name in ("slope", "slope_se", "pval_nominal"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4)
    for name in ("pval_beta", "beta_shape2"):
        ratio = np.log(ours[name].to_numpy(float) / theirs[name].to_numpy(float))
        assert np.abs(ratio).max() < 0.5  # 1,000 permutations of theirs
    found = lmm.map_cis_independent(
        null, problem.G, windows, mapped, threshold=0.003, groups=groups, permutations=1000
    ).to_pandas()
    names = ["phenotype_id", "variant_id", "rank", "group_id"]
    own = found.assign(
        phenotype_id="g" + found["phenotype_id"].astype(str),
        variant_id="v" + found["variant_id"].astype(str),
    )
    assert own[names].to_numpy().tolist() == signals[names].to_numpy().tolist()
    assert own["rank"].max() == 2
    np.testing.assert_allclose(own["slope"], signals["slope"], rtol=1e-4)
