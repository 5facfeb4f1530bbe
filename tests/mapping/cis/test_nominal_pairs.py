"""All pairs of genes and markers near them, against generalised least squares."""

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import centred, dense_pair, random_kinship, with_variance

import lmmlite_jax as lmm


def problem(seed, n=50, M=300, m=5, wide=30):
    rng = np.random.default_rng(seed)
    K = random_kinship(rng, n)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    G = rng.binomial(2, rng.uniform(0.2, 0.8, M), (n, M)).astype(float)
    G[0, ::9] = np.nan
    start = rng.integers(0, M - wide, m)
    windows = np.column_stack([start, start + rng.integers(1, wide, m)])
    windows[0] = [10, 280]  # more than one block of markers
    Y = with_variance(rng, K, 0.5, m)
    Y[1, -1] = np.nan
    return K, Y, G, X, windows


def together(batches):
    """One array for each column, by gene and marker."""
    batches = list(batches)
    names = vars(batches[0]).keys() - {"genes", "status", "markers", "traits", "terms"}
    columns = {
        name: np.concatenate([np.asarray(getattr(one, name)) for one in batches]) for name in names
    }
    order = np.lexsort((columns["marker"], columns["gene"]))
    return {name: values[order] for name, values in columns.items()}


def in_windows(windows):
    return np.array([(t, j) for t, (start, stop) in enumerate(windows) for j in range(start, stop)])


@pytest.mark.parametrize("kinship", [True, False])
def test_every_pair_is_generalised_least_squares(kinship):
    K, Y, G, X, windows = problem(1)
    found = together(lmm.map_cis_nominal(lmm.NullModel(K if kinship else None, Y, X), G, windows))
    np.testing.assert_array_equal(
        np.column_stack([found["gene"], found["marker"]]), in_windows(windows)
    )
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    for i in range(0, found["gene"].size, 7):
        t, j = found["gene"][i], found["marker"][i]
        seen = ~np.isnan(Y[:, t])
        g, hsq = imputed[seen, j], found["hsq"][i] if kinship else 0.0
        (beta,), (se,), rss0, rss1 = dense_pair(
            hsq, K[np.ix_(seen, seen)], Y[seen, t], g[:, None], X[seen]
        )
        n = seen.sum()
        # Both are solutions of well-conditioned systems in double precision.
        assert found["slope"][i] == pytest.approx(beta, rel=1e-7, abs=1e-12)
        assert found["slope_se"][i] == pytest.approx(se, rel=1e-7)
        assert found["lod"][i] == pytest.approx(n / 2 * np.log10(rss0 / rss1), rel=1e-6, abs=1e-12)
        pvalue = 2 * scipy.stats.t.sf(abs(beta / se), n - 3)
        assert found["pval_nominal"][i] == pytest.approx(pvalue, rel=1e-6)
        assert found["af"][i] == pytest.approx(g.mean() / 2, rel=1e-12)
        assert found["n"][i] == n


def test_refits_are_those_of_the_scan():
    K, Y, G, X, windows = problem(2)
    null = lmm.NullModel(K, Y, X)
    found = together(lmm.map_cis_nominal(null, G, windows, variance="refit"))
    scan = lmm.scan(null, G, variance="refit")
    at = found["marker"], found["gene"]
    # The same maximum, searched for from blocks of other sizes: to the search's tolerance of 1e-8.
    np.testing.assert_allclose(found["hsq"], scan.hsq[at], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["slope"], scan.beta[at], rtol=1e-6)
    np.testing.assert_allclose(found["log10p"], scan.log10p[at], rtol=1e-6, atol=1e-9)


def test_rare_markers_are_left_out_and_monomorphic_ones_have_no_number():
    K, Y, G, X, windows = problem(3)
    G[:, 15] = 1.0
    af = np.nanmean(G, axis=0) / 2
    found = together(lmm.map_cis_nominal(lmm.NullModel(K, Y, X), G, windows, maf_threshold=0.31))
    pairs = in_windows(windows)
    common = np.minimum(af, 1 - af)[pairs[:, 1]] >= 0.31
    # The one individual not observed for a gene may carry a marker over the threshold.
    near = np.abs(np.minimum(af, 1 - af)[pairs[:, 1]] - 0.31) < 0.02
    kept = {(t, j) for t, j in zip(found["gene"], found["marker"], strict=True)}
    for pair, is_common, is_near in zip(pairs, common, near, strict=True):
        if not is_near:
            assert (tuple(pair) in kept) == is_common
    monomorphic = found["marker"] == 15
    assert monomorphic.any()
    assert np.isnan(found["slope"][monomorphic]).all()
    assert np.isfinite(found["slope"][~monomorphic]).all()


def test_the_table_has_tensorqtls_columns():
    pd = pytest.importorskip("pandas")
    K, Y, G, X, windows = problem(4)
    Y = pd.DataFrame(Y, columns=list("abcde"))
    G = pd.DataFrame(G, columns=[f"rs{j}" for j in range(300)])
    (first, *_) = lmm.map_cis_nominal(lmm.NullModel(K, Y, X), G, windows)
    position, start = np.arange(300) * 10, np.array([500, 700, 80, 90, 10])
    table = first.to_pandas(position=position, start=start, end=start + 5)
    assert table["phenotype_id"][0] == "abcde"[first.gene[0]]
    assert table["variant_id"][0] == f"rs{first.marker[0]}"
    (interactions, *_) = lmm.map_cis_interaction(lmm.NullModel(K, Y, X), G, windows, X[:, 1])
    of_interactions = interactions.to_pandas()
    assert {*of_interactions["phenotype_id"]} <= {*"abcde"}
    assert of_interactions["variant_id"][0] == f"rs{interactions.marker[0]}"
    assert list(table.columns) == [
        "phenotype_id", "variant_id", "start_distance", "end_distance", "af", "ma_samples",
        "ma_count", "pval_nominal", "slope", "slope_se", "log10p", "lod", "hsq", "n",
    ]  # fmt: skip
    np.testing.assert_array_equal(
        table["start_distance"], position[first.marker] - start[first.gene]
    )
    assert not jax.config.jax_enable_x64


def test_interactions_are_generalised_least_squares_of_three_columns():
    K, Y, G, X, windows = problem(5, n=60)
    e = np.random.default_rng(5).standard_normal(60)
    null = lmm.NullModel(K, Y, np.column_stack([X, e]))
    found = together(lmm.map_cis_interaction(null, G, windows, e, maf_threshold_interaction=0.1))
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    fits = lmm.fit_traits(K, Y, np.column_stack([X, e]))
    for i in range(0, found["gene"].size, 5):
        t = found["gene"][i]
        seen = ~np.isnan(Y[:, t])
        g = imputed[seen, found["marker"][i]]
        columns = np.column_stack([g, e[seen], g * e[seen]])
        hsq = found["hsq"][i]
        beta, se, *_ = dense_pair(hsq, K[np.ix_(seen, seen)], Y[seen, t], columns, X[seen])
        assert hsq == pytest.approx(float(fits.hsq[t]), rel=1e-6)
        pvalue = 2 * scipy.stats.t.sf(abs(beta / se), seen.sum() - 5)
        for k, name in enumerate(("g", "i", "gi")):
            # Three correlated columns: a condition number of some hundreds.
            assert found[f"b_{name}"][i] == pytest.approx(beta[k], rel=1e-6)
            assert found[f"b_{name}_se"][i] == pytest.approx(se[k], rel=1e-6)
            assert found[f"pval_{name}"][i] == pytest.approx(pvalue[k], rel=1e-5)


def test_an_interacting_covariate_may_be_the_main_axis_of_a_singular_kinship():
    """Without it the complement of the covariates has a far larger eigenvalue."""
    _, Y, G, X, windows = problem(8, n=60)
    rng = np.random.default_rng(8)
    e = rng.standard_normal(60)
    root = np.column_stack([300 * e, rng.standard_normal((60, 40))])
    K = centred(root @ root.T) / 60
    null = lmm.NullModel(K, Y, np.column_stack([X, e]))
    found = together(lmm.map_cis_interaction(null, G, windows, e))
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    for i in range(0, found["gene"].size, 40):
        t, hsq = found["gene"][i], found["hsq"][i]
        if hsq > 0.99:
            continue
        seen = ~np.isnan(Y[:, t])
        g = imputed[seen, found["marker"][i]]
        columns = np.column_stack([g, e[seen], g * e[seen]])
        beta, se, *_ = dense_pair(hsq, K[np.ix_(seen, seen)], Y[seen, t], columns, X[seen])
        for k, name in ((0, "g"), (2, "gi")):
            assert found[f"b_{name}"][i] == pytest.approx(beta[k], rel=1e-6)
            assert found[f"b_{name}_se"][i] == pytest.approx(se[k], rel=1e-6)


def test_several_interactions_are_in_one_model_and_named_by_their_covariates():
    K, Y, G, X, windows = problem(4)
    G = np.nan_to_num(G, nan=1.0)
    rng = np.random.default_rng(4)
    e = pd.DataFrame(rng.standard_normal((len(Y), 2)), columns=["age", "cell_id"])
    X = np.column_stack([X, e])
    null = lmm.NullModel(K, Y, X)
    batches = list(lmm.map_cis_interaction(null, G, windows, e))
    found = together(batches)
    for i in range(0, found["gene"].size, 29):
        t, j = found["gene"][i], found["marker"][i]
        seen = ~np.isnan(Y[:, t])
        g, terms = G[seen, j], e.to_numpy()[seen]
        columns = np.column_stack([g, terms[:, 0] * g, terms[:, 1] * g])
        V = found["hsq"][i], K[np.ix_(seen, seen)]
        beta, se, *_ = dense_pair(*V, Y[seen, t], columns, X[seen])
        assert found["b_g"][i] == pytest.approx(beta[0], rel=1e-6)
        np.testing.assert_allclose(found["b_gi"][i], beta[1:], rtol=1e-6)
        np.testing.assert_allclose(found["b_gi_se"][i], se[1:], rtol=1e-6)
        df = seen.sum() - X.shape[1] - 3
        pvalue = 2 * scipy.stats.t.sf(np.abs(beta / se), df)
        np.testing.assert_allclose(found["pval_gi"][i], pvalue[1:], rtol=1e-5)
        # Beside the markers, a covariate's effect is that of least squares with it left out of X.
        own = np.column_stack([terms[:, 0], columns])
        beta, *_ = dense_pair(*V, Y[seen, t], own, np.delete(X[seen], -2, axis=1))
        assert found["b_i"][i, 0] == pytest.approx(beta[0], rel=1e-6)
    table = batches[0].to_pandas()
    assert {"pval_age", "b_g-age", "b_g-age_se", "log10p_g-cell_id", "lod_g-cell_id"} <= {*table}
    named = next(lmm.map_cis_interaction(null, G, windows, e.set_axis(["g", "cell_id"], axis=1)))
    with pytest.raises(ValueError, match="a covariate 'g', by which there would be two columns"):
        named.to_pandas()


def test_interactions_need_markers_that_vary_in_both_halves():
    K, Y, G, X, windows = problem(6, n=60)
    e = np.linspace(-1, 1, 60)
    G[:30, 20] = 0.0
    null = lmm.NullModel(K, Y, np.column_stack([X, e]))
    found = together(lmm.map_cis_interaction(null, G, windows, e, maf_threshold_interaction=0.05))
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)[:, 10:280]
    af = np.stack([imputed[half].mean(axis=0) / 2 for half in (slice(0, 30), slice(30, 60))])
    varied = (np.minimum(af, 1 - af) >= 0.05 - 1e-7).all(axis=0)
    assert not varied[10]
    of_first = found["marker"][found["gene"] == 0]
    np.testing.assert_array_equal(of_first, 10 + np.flatnonzero(varied))


def test_an_interaction_is_one_of_the_covariates():
    K, Y, G, X, windows = problem(7)
    null = lmm.NullModel(K, Y, X)
    for interaction, message in (
        (2 * X[:, 1] + 1, "the interaction is not among the covariates: add it to X"),
        (X, "interaction must be one covariate, got 2|has a covariate that is constant"),
    ):
        for call in (
            lambda e: lmm.scan(null, G, interaction=e),
            lambda e: lmm.permutation_threshold(null, G, interaction=e),
            lambda e: lmm.map_cis_interaction(null, G, windows, e),
        ):
            with pytest.raises(ValueError, match=message):
                call(interaction)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": "both"}, "variance must be 'null' or 'refit'"),
        ({"test": "score", "variance": "refit"}, "test must be one of wald, lrt here"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(change, message):
    K, Y, G, X, windows = problem(8)
    with pytest.raises(ValueError, match=message):
        lmm.map_cis_nominal(lmm.NullModel(K, Y, X), G, windows, **change)


def test_pairs_found_elsewhere_are_those_of_the_nominal_pass():
    K, Y, G, X, _ = problem(3)
    Y[:3, 1] = np.nan
    Y[:, 2] = 1.0
    null = lmm.NullModel(K, Y, X)
    whole = np.tile([0, G.shape[1]], (Y.shape[1], 1))
    nominal = pd.concat([one.to_pandas() for one in lmm.map_cis_nominal(null, G, whole)])
    trait, marker = [1, 0, 1, 2, 0, 1], [5, 7, 6, 1, 30, 7]
    found = lmm.replication(null, G, trait, marker)
    assert [bool(reason) for reason in found.reasons] == [one == 2 for one in trait]
    expected = nominal.set_index(["phenotype_id", "variant_id"])
    table = found.to_pandas().set_index(["phenotype_id", "variant_id"])
    assert list(table.index) == list(zip(trait, marker, strict=True))
    assert np.isnan(table.loc[(2, 1), "slope"])
    table = table.drop(index=(2, 1), columns="reason")
    np.testing.assert_allclose(table, expected.loc[table.index, table.columns], rtol=1e-7)
    with pytest.raises(ValueError, match="marker has 300, and there are 300, from 0"):
        lmm.replication(null, G, [0], [300])


def test_allelic_fold_changes_are_effects_of_half_the_dosages_of_all_markers_of_a_gene():
    K, Y, G, X, _ = problem(3)
    Y[:3, 1] = np.nan
    Y[:, 2] = 1.0
    G[:, 9] = 1.0
    trait, marker = [1, 0, 1, 1, 2, 3], [5, 7, 6, 5, 1, 9]
    found = lmm.allelic_fold_change(lmm.NullModel(K, Y, X), G, trait, marker)
    assert found.reasons[:4] == ("",) * 4
    assert "the trait is constant" in found.reasons[4]
    assert "the marker does not vary" in found.reasons[5]
    for i, others in enumerate([[6], [], [5], [6]]):
        seen = ~np.isnan(Y[:, trait[i]])
        columns = G[np.ix_(seen, [marker[i], *others])] / 2
        own = K[np.ix_(seen, seen)]
        b, se, *_ = dense_pair(found.hsq[i], own, Y[seen, trait[i]], columns, X[seen])
        assert found.afc[i] == pytest.approx(b[0], rel=1e-6)
        assert found.afc_se[i] == pytest.approx(se[0], rel=1e-6)
    assert found.to_pandas()["variant_id"].tolist() == marker


def test_counts_of_zero_and_few_have_logarithms_or_none():
    counts = np.array([[0.0, 4], [2, 1], [8, np.nan]])
    np.testing.assert_allclose(lmm.log2_counts(counts), np.log2(counts + 1))
    named = pd.DataFrame(counts, list("xyz"), ["a", "b"])
    pd.testing.assert_frame_equal(lmm.log2_counts(named), np.log2(named + 1))
    half = lmm.log2_counts(counts, imputation="half_min", count_threshold=2.0)
    np.testing.assert_array_equal(half, [[np.nan, 2], [1, np.nan], [3, np.nan]])
    for change, message in (
        ({"counts": -counts}, "counts has a negative value, -8"),
        (
            {"counts": counts, "imputation": "none"},
            "imputation must be one of offset, half_min",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            lmm.log2_counts(**change)
