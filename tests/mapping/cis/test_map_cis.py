"""Best markers near genes, and their p-values by permutation, against dense references."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from helpers import dense_pair, random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping import orders
from lmmlite_jax.mapping.alleles import allele_statistics
from lmmlite_jax.mapping.cis import best_marker
from lmmlite_jax.mapping.cis.near import neighbourhoods
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.model.precision import in_float64


def problem(seed, n=50, M=40, m=5, missing=False, wide=12):
    rng = np.random.default_rng(seed)
    K = random_kinship(rng, n)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    G = rng.binomial(2, rng.uniform(0.1, 0.9, M), (n, M)).astype(float)
    start = np.sort(rng.integers(0, M - wide, m))
    windows = np.column_stack([start, start + rng.integers(1, wide, m)])
    Y = with_variance(rng, K, 0.5, m) + 0.5 * G[:, windows[:, 0]]
    if missing:
        Y[rng.random(Y.shape) < 0.03] = np.nan
    return K, Y, G, X, windows


@pytest.mark.parametrize(("seed", "missing", "kinship"), [(1, True, True), (2, False, False)])
def test_the_best_marker_is_that_of_generalised_least_squares(seed, missing, kinship):
    K, Y, G, X, windows = problem(seed, missing=missing)
    result = lmm.map_cis(lmm.NullModel(K if kinship else None, Y, X), G, windows, permutations=20)
    assert not any(result.reasons)
    for t, (start, stop) in enumerate(windows):
        seen = ~np.isnan(Y[:, t])
        hsq = result.hsq[t] if kinship else 0.0
        pairs = [
            dense_pair(hsq, K[np.ix_(seen, seen)], Y[seen, t], G[seen, j][:, None], X[seen])
            for j in range(start, stop)
        ]
        best = min(range(stop - start), key=lambda j: pairs[j][3])
        (beta,), (se,), rss0, rss1 = pairs[best]
        n = seen.sum()
        assert result.marker[t] == start + best
        assert result.num_var[t] == stop - start
        assert result.n[t] == n
        # Both are solutions of well-conditioned systems in double precision.
        assert result.slope[t] == pytest.approx(beta, rel=1e-7)
        assert result.slope_se[t] == pytest.approx(se, rel=1e-7)
        assert result.lod[t] == pytest.approx(n / 2 * np.log10(rss0 / rss1), rel=1e-7)
        pvalue = 2 * scipy.stats.t.sf(abs(beta / se), n - X.shape[1] - 1)
        assert result.pval_nominal[t] == pytest.approx(pvalue, rel=1e-6)
        assert result.log10p[t] == pytest.approx(-np.log10(pvalue), rel=1e-6)


@in_float64
def test_permuted_shares_are_those_of_dense_products(monkeypatch):
    monkeypatch.setattr(orders, "AT_ONCE", 16)
    # 700 markers: three blocks of a product, the last of them beyond the padding of a windows.
    K, Y, G, X, windows = problem(3, n=40, M=700, m=4, wide=600)
    windows[0] = [0, 700]
    Y[:2, 1] = np.nan
    null = lmm.NullModel(K, Y, X)
    chance = best_marker.as_permutations(40, 1, "float64")
    found = 0
    for near, shares in neighbourhoods(
        null.batches(*null.kinship_labels),
        as_dosages(G, null),
        windows,
        np.arange(4),
        lambda near: best_marker.permuted_shares(near, near.inside(), chance=chance),
        maf_threshold=0.21,
    ):
        block, whitened = near.block, near.block.whitened
        real, size = block.dof, len(whitened.residuals)
        in_parts = orders.orders_in_parts(real, size, 40, 1)
        for place, gene in enumerate(block.traits):
            if gene < 0:
                continue
            seen, hsq = ~np.isnan(Y[:, gene]), block.hsq[place]
            residual = np.asarray(whitened.residuals)[:real, place]
            dosages = G[seen, windows[gene, 0] : windows[gene, 1]]
            af = dosages.mean(axis=0) / 2
            rotated = near.markers.values[0, windows[gene, 0] - near.first :][: dosages.shape[1]]
            markers = np.asarray(rotated).T[:real] / np.asarray(whitened.deviation)[:real, [place]]
            # Whitened: their products are those of generalised least squares.
            P = np.linalg.inv(hsq * K[np.ix_(seen, seen)] + (1 - hsq) * np.eye(seen.sum()))
            P -= P @ X[seen] @ np.linalg.solve(X[seen].T @ P @ X[seen], X[seen].T @ P)
            np.testing.assert_allclose(markers.T @ markers, dosages.T @ P @ dosages, atol=1e-8)
            np.testing.assert_allclose(residual @ markers, Y[seen, gene] @ P @ dosages, atol=1e-8)
            markers = markers[:, np.minimum(af, 1 - af) >= 0.21]
            for i, order in enumerate(in_parts.reshape(-1, size)[:40, :real]):
                product = residual[order] @ markers
                share = product**2 / (markers**2).sum(axis=0) / (residual @ residual)
                assert shares[place, i] == pytest.approx(share.max(), rel=1e-9)
                found += 1
    assert found == 160


def test_permutation_p_values_are_those_of_a_direct_permutation():
    K, Y, G, X, windows = problem(5)
    P = 2000
    result = lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=P, seed=3)
    basis = scipy.linalg.null_space(X.T)
    rng = np.random.default_rng(4)
    for t, (start, stop) in enumerate(windows):
        V = result.hsq[t] * K + (1 - result.hsq[t]) * np.eye(len(K))
        values, vectors = np.linalg.eigh(basis.T @ V @ basis)
        whiten = (vectors / np.sqrt(values)).T @ basis.T
        residual, markers = whiten @ Y[:, t], whiten @ G[:, start:stop]
        markers = markers / np.linalg.norm(markers, axis=0)
        best = np.abs(residual @ markers).max()
        orders = np.array([rng.permutation(residual.size) for _ in range(P)])
        beyond = np.sum(np.abs(residual[orders] @ markers).max(axis=1) >= best)
        direct = (beyond + 1) / (P + 1)
        noise = np.sqrt(2 * max(direct * (1 - direct), 1 / P) / P)  # of two samples of P
        assert abs(result.pval_perm[t] - direct) < 4.5 * noise
        # The approximation is a smooth version of the same; 0.02 is what its form may cost.
        assert abs(result.pval_beta[t] - direct) < 4.5 * noise + 0.02


def families(m, seed=1, n=120, M=80):
    """Null genes among relatives, with markers shared within families."""
    rng = np.random.default_rng(seed)
    K = lmm.simulate_cohort(n, 1, seed=seed).kinship
    G = with_variance(rng, K, 0.9, M)
    start = rng.integers(0, M - 20, m)
    return K, with_variance(rng, K, 0.7, m), G, np.column_stack([start, start + 20])


def test_p_values_of_null_genes_in_families_are_uniform():
    K, Y, G, windows = families(1000)
    # Genes with their own markers are independent enough for a Kolmogorov-Smirnov test.
    Y[:3, ::4] = np.nan
    result = lmm.map_cis(lmm.NullModel(K, Y), G, windows, permutations=200)
    for pvalue in (result.pval_beta, result.pval_perm):
        assert scipy.stats.kstest(pvalue, "uniform").pvalue > 1e-3
        assert np.mean(pvalue < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 1000))
    unrelated = lmm.map_cis(lmm.NullModel(None, Y), G, windows, permutations=200)
    assert np.mean(unrelated.pval_beta < 0.05) > 0.15


def test_single_precision_changes_nothing_that_permutation_does_not():
    K, Y, G, windows = families(40, seed=2)
    null = lmm.NullModel(K, Y)
    single, double = (
        lmm.map_cis(null, G, windows, permutations=300, permutation_dtype=d)
        for d in ("float32", "float64")
    )
    np.testing.assert_allclose(single.pval_beta, double.pval_beta, rtol=2e-4)
    np.testing.assert_array_equal(single.log10p, double.log10p)


def test_genes_may_be_mapped_in_any_portions():
    K, Y, G, X, windows = problem(7, M=900, m=50, wide=200)
    Y[0, ::7] = np.nan
    whole = lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=50)
    for part in (slice(0, 3), slice(40, 50)):
        first, last = windows[part, 0].min(), windows[part, 1].max()
        null = lmm.NullModel(K, Y[:, part], X)
        some = lmm.map_cis(null, G[:, first:last], windows[part] - first, permutations=50)
        np.testing.assert_array_equal(some.marker + first, whole.marker[part])
        # One column of the same data is multiplied in blocks of other sizes.
        np.testing.assert_allclose(some.pval_beta, whole.pval_beta[part], rtol=1e-3)
        np.testing.assert_allclose(some.log10p, whole.log10p[part], rtol=1e-8)


def test_windows_of_all_sizes_share_a_few_programs(compilations):
    rng = np.random.default_rng(8)
    K, Y, G, X, _ = problem(8, n=40, M=1500, m=120)

    def windows():
        start = np.sort(rng.integers(0, 1400, 120))
        return np.column_stack([start, start + rng.integers(1, 100, 120)])

    lmm.map_cis(lmm.NullModel(K, Y, X), G, windows(), permutations=20)
    before = compilations()
    for _ in range(3):
        lmm.map_cis(lmm.NullModel(K, Y, X), G, windows(), permutations=20)
    # Five sizes of markers at most, each with less than a dozen programs.
    assert compilations() - before <= 12


def test_a_kinship_for_each_chromosome():
    K, Y, G, X, _ = problem(9)
    other = random_kinship(np.random.default_rng(9), len(Y))
    chromosome = np.repeat(["1", "2"], 20)
    windows = np.array([[0, 10], [25, 40], [5, 20], [20, 30], [0, 20]])
    null = lmm.NullModel({"1": K, "2": other}, Y, X)
    both = lmm.map_cis(null, G, windows, permutations=20, chromosome=chromosome)
    for kinship, genes in ((K, [0, 2, 4]), (other, [1, 3])):
        one = lmm.map_cis(lmm.NullModel(kinship, Y, X), G, windows, permutations=20)
        np.testing.assert_allclose(both.hsq[genes], one.hsq[genes], rtol=1e-9)
        np.testing.assert_allclose(both.pval_beta[genes], one.pval_beta[genes], rtol=1e-3)
    torn = windows - [[0, 0], [10, 0], [0, 0], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"windows\[1\] has markers of two chromosomes"):
        lmm.map_cis(null, G, torn, chromosome=chromosome)


def test_genes_without_a_test_say_why_and_leave_the_others_alone():
    K, Y, G, X, windows = problem(10, m=5)
    alone = lmm.map_cis(lmm.NullModel(K, Y[:, :1], X), G, windows[:1], permutations=20)
    Y[:, 1] = 2.0
    Y[:-3, 2] = np.nan
    windows[3] = [7, 7]
    G[:, windows[4, 0] : windows[4, 1]] = 1.0
    windows[0] = alone_window = windows[0]
    if alone_window[1] > windows[4, 0]:
        windows[4] = [30, 31]
        G[:, 30] = 1.0
    result = lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=20)
    assert result.marker[0] == alone.marker[0]
    assert result.pval_beta[0] == pytest.approx(alone.pval_beta[0], rel=1e-3)
    np.testing.assert_array_equal(result.marker[1:], -1)
    np.testing.assert_array_equal(result.num_var[1:], 0)
    assert np.isnan(result.pval_beta[1:]).all()
    assert "constant" in result.reasons[1]
    assert "fewer" in result.reasons[2]
    assert result.reasons[3] == result.reasons[4] == ""
    assert len(result.to_pandas()) == 1


def test_rare_markers_are_left_out():
    K, Y, G, X, windows = problem(11)
    windows[:] = [0, 40]
    af = G.mean(axis=0) / 2
    often = np.minimum(af, 1 - af) >= 0.25
    null = lmm.NullModel(K, Y, X)
    result = lmm.map_cis(null, G, windows, permutations=20, maf_threshold=0.25)
    fewer = lmm.map_cis(null, G[:, often], np.array([[0, often.sum()]] * 5), permutations=20)
    np.testing.assert_array_equal(result.num_var, often.sum())
    np.testing.assert_array_equal(result.marker, np.flatnonzero(often)[fewer.marker])
    np.testing.assert_allclose(result.pval_beta, fewer.pval_beta, rtol=1e-3)


def test_alleles_are_counted_as_tensorqtl_counts_them():
    dosages = np.array([[0, 2, 0.4], [1, 2, 1.2], [0, 1, 1.9], [0, 0, 2.0]])
    found = allele_statistics(dosages)
    np.testing.assert_allclose(found.af, [1 / 8, 5 / 8, 5.5 / 8])
    np.testing.assert_array_equal(found.ma_samples, [1, 2, 2])
    np.testing.assert_array_equal(found.ma_count, [1, 3, 3])


def test_names_come_back():
    pd = pytest.importorskip("pandas")
    K, Y, G, X, windows = problem(12)
    Y = pd.DataFrame(Y, columns=list("abcde"))
    G = pd.DataFrame(G, columns=[f"rs{j}" for j in range(G.shape[1])])
    result = lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=20)
    table = result.to_pandas()
    assert list(table.index) == list("abcde")
    assert list(table["variant_id"]) == [f"rs{j}" for j in result.marker]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": np.zeros((5, 2))}, "windows must hold the first marker"),
        ({"windows": np.array([[0, 41]] * 5)}, r"windows\[0\] is \[0, 41\)"),
        ({"permutations": 5}, "permutations must be at least 20, got 5"),
        ({"permutation_dtype": "half"}, "dtype must be"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(change, message):
    K, Y, G, X, windows = problem(13)
    with pytest.raises(ValueError, match=message):
        lmm.map_cis(lmm.NullModel(K, Y, X), G, **{"windows": windows, **change})


def test_markers_of_several_columns_are_refused():
    K, Y, G, X, windows = problem(14)
    with pytest.raises(ValueError, match="G must have one column a marker here, got 2"):
        lmm.map_cis(lmm.NullModel(K, Y, X), np.stack([G, G], axis=2), windows)


def test_windows_follow_positions():
    found = lmm.cis_windows(
        ["1", "1", "1", "2", "2"],
        [10, 20, 30, 5, 50],
        [1, 2, 3],
        [20, 40, 1],
        [25, 45, 2],
        distance=5,
    )
    np.testing.assert_array_equal(found, [[1, 3], [4, 5], [0, 0]])
    with pytest.raises(ValueError, match="chromosome 1 are not in order"):
        lmm.cis_windows([1, 1], [20, 10], [1], [5])


def test_the_first_genes_take_few_programs(compilations):
    K, Y, G, X, windows = problem(11, n=47, M=420, m=3, wide=400)
    before = compilations()
    lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=30)
    # Decomposition; traits rotated, estimated, finished; rotation of markers, its use, markers
    # multiplied together; traits at the null, their effects, residuals, what permutations need,
    # permutations; the law of their p-values.
    assert compilations() - before <= 13
