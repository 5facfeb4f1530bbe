"""Pairs over a threshold among all traits and markers: those of a scan, but for the near ones."""

import numpy as np
import pytest
import scipy.stats
from helpers import dense_pair, random_kinship, with_variance

import lmmlite_jax as lmm

THRESHOLD = 0.05
INTERACTIONS = {"marker", "af", "hsq", "n", "log10p_gi", "lod_gi"} | {
    name for term in ("g", "i", "gi") for name in (f"pval_{term}", f"b_{term}", f"b_{term}_se")
}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    n, M, m = 50, 1100, 6
    K = random_kinship(rng, n)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    G = rng.binomial(2, rng.uniform(0.05, 0.95, M), (n, M)).astype(float)
    G[3, ::50] = np.nan
    Y = with_variance(rng, K, 0.5, m) + 0.8 * G[:, [1]]
    Y[:3, 1::2] = np.nan
    return K, Y, G, X


@pytest.fixture
def some_at_a_time(monkeypatch):
    """Three pieces of 512 markers at most, as of a large cohort."""
    from lmmlite_jax.mapping import trans_search

    monkeypatch.setattr(trans_search, "_MOST_MARKERS", 512)


def together(pieces):
    """Columns of all pieces, by marker and trait."""
    pieces = list(pieces)
    names = ("marker", "trait", "pval", "b", "b_se", "af", "log10p", "lod", "hsq", "n")
    columns = {name: np.concatenate([getattr(one, name) for one in pieces]) for name in names}
    order = np.lexsort((columns["trait"], columns["marker"]))
    return {name: values[order] for name, values in columns.items()}


def assert_is_scan(found, scan, kept=slice(None)):
    """The same pairs, of which only some are ``kept``, with the same numbers."""
    np.testing.assert_array_equal(found["marker"], scan.marker[kept])
    np.testing.assert_array_equal(found["trait"], scan.trait[kept])
    for ours, name in (("b", "beta"), ("b_se", "se"), ("log10p", "log10p"), ("lod", "lod")):
        np.testing.assert_allclose(found[ours], getattr(scan, name)[kept], rtol=1e-8, atol=1e-12)
    assert found["marker"].size > 0


@pytest.mark.parametrize(("variance", "test"), [("null", "wald"), ("refit", "lrt")])
@pytest.mark.usefixtures("some_at_a_time")
def test_pairs_are_those_of_a_scan_with_a_threshold(problem, variance, test):
    K, Y, G, X = problem
    null = lmm.NullModel(K, Y, X)
    how = {"variance": variance, "test": test}
    pieces = list(lmm.map_trans(null, G, threshold=THRESHOLD, **how))
    assert_is_scan(together(pieces), lmm.scan(null, G, keep=-np.log10(THRESHOLD), **how))
    # Every marker meets every trait once.
    met = np.zeros((G.shape[1], Y.shape[1]), int)
    for piece in pieces:
        met[np.ix_(piece.tested_markers, piece.tested_traits)] += 1
        np.testing.assert_array_equal(piece.missing, np.isnan(G[:, piece.tested_markers]).sum(0))
    np.testing.assert_array_equal(met, 1)
    assert len(pieces) >= 3


def test_each_pair_is_generalised_least_squares(problem):
    K, Y, G, X = problem
    found = together(lmm.map_trans(lmm.NullModel(K, Y, X), G, threshold=1e-4))
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    for i in range(0, found["marker"].size, 5):
        t, seen = found["trait"][i], ~np.isnan(Y[:, found["trait"][i]])
        g = imputed[seen, found["marker"][i]]
        own = K[np.ix_(seen, seen)]
        (b,), (se,), *_ = dense_pair(found["hsq"][i], own, Y[seen, t], g[:, None], X[seen])
        assert found["b"][i] == pytest.approx(b, rel=1e-7)
        assert found["b_se"][i] == pytest.approx(se, rel=1e-7)
        pvalue = 2 * scipy.stats.t.sf(abs(b / se), seen.sum() - 3)
        assert found["pval"][i] == pytest.approx(pvalue, rel=1e-6)
        assert found["af"][i] == pytest.approx(g.mean() / 2, rel=1e-12)
        assert found["n"][i] == seen.sum()


@pytest.mark.usefixtures("some_at_a_time")
def test_markers_near_a_trait_and_rare_ones_are_left_out(problem):
    K, Y, G, X = problem
    null = lmm.NullModel(K, Y, X)
    start = np.array([0, 0, 500, 900, 1100, 3])
    windows = np.column_stack([start, np.minimum(start + 200, 1100)])
    scan = lmm.scan(null, G, keep=-np.log10(THRESHOLD))
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    observed = ~np.isnan(Y[:, scan.trait])
    af = np.where(observed, imputed[:, scan.marker], 0).sum(0) / observed.sum(0) / 2
    near = (scan.marker >= windows[scan.trait, 0]) & (scan.marker < windows[scan.trait, 1])
    rare = np.minimum(af, 1 - af) < 0.2
    found = together(
        lmm.map_trans(null, G, threshold=THRESHOLD, windows=windows, maf_threshold=0.2)
    )
    assert_is_scan(found, scan, ~near & ~rare)
    np.testing.assert_allclose(found["af"], af[~near & ~rare], rtol=1e-12)
    assert (near & ~rare).any()
    assert (rare & ~near).any()


def test_chromosomes_have_kinships_of_their_own_and_names_come_back(problem):
    pd = pytest.importorskip("pandas")
    K, Y, G, X = problem
    other = random_kinship(np.random.default_rng(2), len(Y))
    chromosome = np.repeat(["1", "2"], [500, 600])
    Y = pd.DataFrame(Y, columns=list("abcdef"))
    G = pd.DataFrame(G, columns=[f"rs{j}" for j in range(1100)])
    null = lmm.NullModel({"1": K, "2": other}, Y, X)
    pieces = list(lmm.map_trans(null, G, threshold=THRESHOLD, chromosome=chromosome))
    scan = lmm.scan(null, G, keep=-np.log10(THRESHOLD), chromosome=chromosome)
    found = together(pieces)
    assert_is_scan(found, scan)
    of_marker = (chromosome[found["marker"]] == "2").astype(int)
    np.testing.assert_array_equal(found["hsq"], scan.hsq[of_marker, found["trait"]])
    table = pd.concat([piece.to_pandas() for piece in pieces])
    assert {*table["phenotype_id"]} == {*"abcdef"}
    assert list(table["variant_id"]) == [f"rs{j}" for one in pieces for j in one.marker]


@pytest.mark.usefixtures("some_at_a_time")
def test_pieces_that_are_not_wanted_are_passed_over_and_change_no_other(problem):
    K, Y, G, X = problem
    null = lmm.NullModel(K, Y, X)
    every = {one.unit: one for one in lmm.map_trans(null, G, threshold=THRESHOLD)}
    chosen = set(list(every)[1::2])
    some = list(lmm.map_trans(null, G, threshold=THRESHOLD, wanted=chosen.__contains__))
    assert {one.unit for one in some} == chosen
    for one in some:
        np.testing.assert_array_equal(one.log10p, every[one.unit].log10p)


@pytest.mark.usefixtures("some_at_a_time")
def test_interactions_are_those_of_every_marker_near_a_trait(problem):
    K, Y, G, X = problem
    e = np.column_stack([X[:, 1], G[:, 1]])
    null = lmm.NullModel(K, Y, np.column_stack([X, G[:, 1]]))
    every, (start, stop) = np.tile([0, 1100], (6, 1)), (200, 600)
    near, far = (
        {name: np.concatenate([getattr(one, name) for one in pieces]) for name in names}
        for names, pieces in (
            (INTERACTIONS | {"gene"}, list(lmm.map_cis_interaction(null, G, every, e))),
            (
                INTERACTIONS | {"trait"},
                list(
                    lmm.map_trans_interaction(
                        null, G, e, threshold=0.01, windows=np.tile([start, stop], (6, 1))
                    )
                ),
            ),
        )
    )
    smallest = near["pval_gi"].min(axis=1)
    kept = (smallest <= 0.01) & ((near["marker"] < start) | (near["marker"] >= stop))
    order = np.lexsort((near["gene"][kept], near["marker"][kept]))
    again = np.lexsort((far["trait"], far["marker"]))
    assert kept.sum() > 20
    np.testing.assert_array_equal(far["trait"][again], near["gene"][kept][order])
    for name in INTERACTIONS:
        np.testing.assert_allclose(far[name][again], near[name][kept][order], rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 0.0}, "threshold must be a p-value above 0"),
        ({"variance": "refit", "test": "score"}, "the score test fits no pair|test must be"),
        ({"windows": np.zeros((2, 2), int)}, "windows must hold"),
    ],
)
def test_what_cannot_be_is_refused_at_once(problem, change, message):
    K, Y, G, X = problem
    with pytest.raises(ValueError, match=message):
        lmm.map_trans(lmm.NullModel(K, Y, X), G, **change)
