"""scan against generalised least squares that builds and inverts V, pair by pair."""

import numpy as np
import pytest
import scipy.stats
from helpers import dense_loglik, dense_pair, problem, with_variance
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lmmlite_jax as lmm
from lmmlite_jax.mapping import keep, statistics
from lmmlite_jax.mapping.genotypes import as_genotypes
from lmmlite_jax.model.individuals import Individuals


def assert_pair(result, j, t, K, y, columns, X, hsq, rtol=1e-8):
    beta, se, rss0, rss1 = dense_pair(hsq, K, y, columns, X)
    n, p = X.shape
    df = columns.shape[1]
    found = np.asarray(result.beta)[j, t], np.asarray(result.se)[j, t]
    # Of an effect far below its standard error, that part of the standard error.
    close = 1e-10 * se.max()
    np.testing.assert_allclose(np.atleast_1d(found[0])[:df], beta, rtol=rtol, atol=close)
    np.testing.assert_allclose(np.atleast_1d(found[1])[:df], se, rtol=rtol)
    lod = n / 2 * np.log10(rss0 / rss1)
    assert float(result.lod[j, t]) == pytest.approx(lod, rel=rtol, abs=1e-9)
    pvalue = scipy.stats.f.sf((rss0 - rss1) / df / (rss1 / (n - p - df)), df, n - p - df)
    assert float(result.log10p[j, t]) == pytest.approx(-np.log10(pvalue), rel=1e-7, abs=1e-9)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@example(seed=141, p=1, k=3, kinship="centred", missing=False)  # a trait of h² = 1
@given(
    seed=st.integers(0, 10**6),
    p=st.sampled_from([1, 4]),
    k=st.sampled_from([1, 3]),
    kinship=st.sampled_from(["regular", "singular", "centred"]),
    missing=st.booleans(),
)
def test_every_pair_is_generalised_least_squares(seed, p, k, kinship, missing):
    K, Y, G, X = problem(seed, p=p, k=k, kinship=kinship)
    if missing:
        Y[np.random.default_rng(seed).random(Y.shape) < 0.1] = np.nan
    result = lmm.scan(lmm.NullModel(K, Y, X), G)
    assert not any(result.reasons)
    for t, hsq in enumerate(np.asarray(result.hsq)):
        seen = ~np.isnan(Y[:, t])
        own = K[np.ix_(seen, seen)]
        for j in range(G.shape[1]):
            columns = G[seen, j].reshape(seen.sum(), -1)
            assert_pair(result, j, t, own, Y[seen, t], columns, X[seen], hsq)


@pytest.mark.parametrize("kinship", ["regular", "centred"])
def test_a_rotation_serves_traits_that_lack_a_few_of_its_individuals(kinship, monkeypatch):
    """Individuals that a trait lacks are covariates of their own: no rotation is made for it."""
    K, Y, G, X = problem(60, n=60, M=6, m=8, k=3, kinship=kinship)
    Y[:2, 3:5], Y[[5, 9, 30], 5] = np.nan, np.nan
    Y[20:35, 6] = np.nan  # too many
    rotated = []
    rotate = Individuals.rotate_markers
    monkeypatch.setattr(
        Individuals, "rotate_markers", lambda of, G: rotated.append(of.n) or rotate(of, G)
    )
    for carried, times in ((False, [45, 60]), (True, [45, 57, 60])):
        if carried:  # almost nothing of a column is left without its carriers
            G[:, 4, 1] = 0.0
            G[[5, 9, 30, 41], 4, 1] = 1.0, 0.9, 0.8, 0.1
        rotated.clear()
        result = lmm.scan(lmm.NullModel(K, Y, X), G)
        assert sorted(rotated) == times
        for t, hsq in enumerate(result.hsq):
            seen = ~np.isnan(Y[:, t])
            own = K[np.ix_(seen, seen)]
            for j in range(6):
                assert_pair(result, j, t, own, Y[seen, t], G[seen, j], X[seen], hsq)


def test_at_heritability_one():
    rng = np.random.default_rng(20)
    K, _, G, X = problem(20, n=60, M=4)
    Y = with_variance(rng, K, 1.0, 30)
    result = lmm.scan(lmm.NullModel(K, Y, X), G)
    at_one = np.flatnonzero(np.asarray(result.hsq) == 1)
    assert at_one.size >= 5
    for t in at_one:
        assert_pair(result, 2, t, K, Y[:, t], G[:, [2]], X, 1.0, rtol=1e-7)


def test_hsq_is_that_of_the_fit_without_markers():
    K, Y, G, X = problem(1)
    for reml in (True, False):
        expected = lmm.fit_traits(K, Y, X, reml=reml).hsq
        null = lmm.NullModel(K, Y, X, reml=reml)
        np.testing.assert_allclose(lmm.scan(null, G).hsq, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("kinship", "test", "few"),
    [
        *((kinship, test, True) for kinship in ("regular", "singular") for test in ("wald", "lrt")),
        ("regular", "wald", False),
        ("singular", "lrt", False),
    ],
)
def test_refit_finds_the_largest_likelihood_of_each_pair(kinship, test, few, monkeypatch):
    """By the program for few pairs, and by that for many."""
    if not few:
        monkeypatch.setattr(statistics, "FEW_PAIRS", 0)
    K, Y, G, X = problem(2, kinship=kinship, M=6)
    options = {"variance": "refit", "test": test, "asymptotic": test == "lrt"}
    result = lmm.scan(lmm.NullModel(K, Y, X), G, **options)
    reml = test == "wald"
    grid = np.linspace(0, 0.999, 101)
    for j in range(6):
        design = np.column_stack([X, G[:, j]])
        for t, y in enumerate(Y.T):
            hsq = float(result.hsq[j, t])
            best = max(dense_loglik(h, K, y, design, reml) for h in grid)
            found = dense_loglik(hsq, K, y, design, reml)
            assert found >= best - 1e-9
            beta, se, *_ = dense_pair(hsq, K, y, G[:, [j]], X)
            assert float(result.beta[j, t]) == pytest.approx(beta[0], rel=1e-8, abs=1e-9)
            assert float(result.se[j, t]) == pytest.approx(se[0], rel=1e-8, abs=1e-9)
            if not reml:
                null = float(lmm.fit_traits(K, y, X, reml=False).loglik[0])
                assert float(result.lod[j, t]) == pytest.approx(
                    (found - null) / np.log(10), abs=1e-9
                )


@pytest.mark.parametrize(("kinship", "test"), [("regular", "lrt"), ("centred", "wald")])
def test_refit_is_the_fit_with_the_marker_among_the_covariates(kinship, test):
    """Few individuals: many a likelihood has two maxima, or its maximum at an end."""
    K, Y, G, X = problem(8, n=24, m=12, M=40, kinship=kinship)
    Y = np.random.default_rng(8).standard_normal(Y.shape)
    options = {"variance": "refit", "test": test, "asymptotic": test == "lrt"}
    result = lmm.scan(lmm.NullModel(K, Y, X), G, **options)
    for j in range(0, 40, 2):
        fit = lmm.fit_traits(K, Y, np.column_stack([X, G[:, j]]), reml=test == "wald")
        fitted = [not reason for reason in result.reasons]
        np.testing.assert_allclose(result.hsq[j, fitted], fit.hsq[fitted], atol=1e-7)
        beta = fit.beta[-1, fitted]
        np.testing.assert_allclose(result.beta[j, fitted], beta, rtol=1e-6, atol=1e-9)
    hsq = np.asarray(result.hsq)
    assert (hsq == 0).any()
    assert ((hsq > 0) & (hsq < 1)).any()


@pytest.mark.parametrize("kinship", ["regular", "singular", "distant"])
@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_refits_are_corrected_for_few_individuals(kinship, test):
    """By dense matrices: Kenward and Roger's F test, and Bartlett's corrected ratio.

    Distant relatives say so little of h² that its estimate varies as much as it can in [0, 1].
    """
    K, Y, G, X = problem(2, kinship=kinship, M=6)
    if kinship == "distant":
        K = 0.7 * np.eye(40) + 0.3 * K
    result = lmm.scan(lmm.NullModel(K, Y, X), G, variance="refit", test=test)
    null = lmm.fit_traits(K, Y, X)
    N = np.linalg.qr(X, "complete")[0][:, 2:]
    dof = N.shape[1]
    change = N.T @ (K - np.eye(40)) @ N

    def loglik(h, y, columns):
        V = N.T @ (h * K + (1 - h) * np.eye(40)) @ N
        root = np.linalg.inv(np.linalg.cholesky(V))
        left = root @ y
        for column in columns:
            x = root @ column
            left = left - x * (x @ left) / (x @ x)
        return -0.5 * (np.linalg.slogdet(V)[1] + dof * np.log(left @ left))

    information = []
    for j, g in enumerate((N.T @ G).T):
        for t, y in enumerate((N.T @ Y).T):
            h = float(result.hsq[j, t])
            inverse = np.linalg.inv(N.T @ (h * K + (1 - h) * np.eye(40)) @ N)
            x = inverse @ g
            d, d1 = g @ x, -x @ change @ x
            within = x @ change @ inverse @ change @ x / d - (d1 / d) ** 2
            slopes = (inverse - np.outer(x, x) / d) @ change
            trace = np.trace(slopes)
            information.append((np.trace(slopes @ slopes) - trace**2 / (dof - 1)) / 2)
            variance = min(1 / information[-1], 0.25 if test == "wald" else h * (1 - h))
            spread = variance * (d1 / d + trace / (dof - 1)) ** 2
            if test == "wald":
                F = float(result.beta[j, t] / result.se[j, t]) ** 2 / (1 + 2 * variance * within)
                df = 2 / (2 / (dof - 1) + spread)
                pvalue = scipy.stats.f.sf(F, 1, df)
            else:
                best = max(loglik(h, y, [g]) for h in np.linspace(0, 0.999, 101))
                found = loglik(h, y, [g])
                assert found >= best - 1e-9
                gain = found - loglik(float(null.hsq[t]), y, [])
                assert float(result.lod[j, t]) == pytest.approx(gain / np.log(10), abs=1e-9)
                ratio = 2 * gain / (1 + variance * within + 0.75 * spread)
                pvalue = scipy.stats.f.sf((dof - 1) * np.expm1(ratio / dof), 1, dof - 1)
            assert float(result.log10p[j, t]) == pytest.approx(-np.log10(pvalue), abs=1e-7)
    assert (np.max(information) < 4) == (kinship == "distant")


@pytest.mark.parametrize("kinship", ["regular", "singular", "distant"])
def test_a_corrected_pvalue_is_never_smaller_than_the_plain_one(kinship):
    """The variance of an effect grows by its bias, and the degrees of freedom fall."""
    K, Y, G, X = problem(2, kinship=kinship, M=6)
    if kinship == "distant":
        K = 0.7 * np.eye(40) + 0.3 * K
    null = lmm.NullModel(K, Y, X)
    corrected = lmm.scan(null, G, variance="refit", test="wald")
    plain = lmm.scan(null, G, variance="refit", test="wald", asymptotic=True)
    np.testing.assert_allclose(corrected.beta / corrected.se, plain.beta / plain.se, rtol=1e-9)
    log10p, largest = (np.asarray(one.log10p) for one in (corrected, plain))
    assert (log10p <= largest * (1 + 1e-9)).all()
    assert np.median(log10p / largest) < 0.99


@pytest.mark.long
def test_pvalues_hold_their_level_with_many_covariates():
    """40 hidden factors and 100 individuals: asymptotic laws reject 12 to 15% at a level of 5%."""
    rng = np.random.default_rng(40)
    cohort = lmm.simulate_cohort(n=100, m=100, hsq=0.4, seed=40)
    X = np.column_stack([np.ones(100), rng.standard_normal((100, 39))])
    G = rng.binomial(2, 0.4, (100, 100)).astype(float)
    null = lmm.NullModel(cohort.kinship, cohort.pheno, X)

    def rejected(**options):
        log10p = np.asarray(lmm.scan(null, G, **options).log10p)
        return np.mean(log10p > -np.log10(0.05))

    for variance, test in (
        *(("null", test) for test in ("wald", "lrt", "score")),
        *(("refit", test) for test in ("wald", "lrt")),
    ):
        assert 0.042 < rejected(variance=variance, test=test) < 0.058
        if test != "wald":
            assert rejected(variance=variance, test=test, asymptotic=True) > 0.1


def test_without_kinship_it_is_ordinary_regression():
    _, Y, G, X = problem(3)
    result = lmm.scan(lmm.NullModel(None, Y, X), G)
    for j in range(G.shape[1]):
        for t in range(Y.shape[1]):
            assert_pair(result, j, t, np.zeros((40, 40)), Y[:, t], G[:, [j]], X, 0.0)


def test_pairs_of_more_traits_than_are_refitted_together_come_once(monkeypatch):
    """All of them by several threads."""
    monkeypatch.setattr(keep, "PAIRS_ALL_REFITTED", 0)
    monkeypatch.setattr(keep, "SCREENED_TRAITS", 32)
    K, Y, G, X = problem(9, n=24, m=100, M=4)
    null = lmm.NullModel(K, Y, X)
    hits = lmm.scan(null, G, variance="refit", keep=1e-9)
    assert {*zip(hits.marker.tolist(), hits.trait.tolist(), strict=True)} == {
        (j, t) for j in range(4) for t in range(100)
    }
    assert hits.marker.size == 400
    every = lmm.scan(null, G, variance="refit")
    np.testing.assert_allclose(np.asarray(every.log10p).ravel(), hits.log10p, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(every.beta).ravel(), hits.beta, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"keep": "best"}, {"variance": "refit"}])
def test_genotypes_of_small_integers_are_those_numbers(options):
    K, Y, G, X = problem(9, n=24, m=100, M=4)
    null, counts = lmm.NullModel(K, Y, X), np.round(np.abs(G)) % 3
    expected = lmm.scan(null, counts, **options)
    found = lmm.scan(null, counts.astype(np.int8), **options)
    np.testing.assert_allclose(found.log10p, expected.log10p, rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"keep": "best"}, {"keep": 1.0}, {"variance": "refit"}])
def test_missing_ones_of_small_integers_are_those_of_other_genotypes(options):
    K, Y, G, X = problem(9, n=24, m=100, M=4)
    null, counts = lmm.NullModel(K, Y, X), np.round(np.abs(G)) % 3
    counts[2:5, 1] = counts[7, 3] = np.nan
    packed = np.where(np.isnan(counts), -127, counts).astype(np.int8)
    expected, found = (lmm.scan(null, genotypes, **options) for genotypes in (counts, packed))
    np.testing.assert_array_equal(found.missing, [0, 3, 0, 1])
    for name in ("beta", "se", "lod", "log10p", "hsq"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_array_equal(lmm.kinship(packed), lmm.kinship(counts))


def test_best_and_threshold_are_what_all_shows():
    K, Y, G, X = problem(4, M=1100, m=5)
    G[:, 700:] = G[:, :400] @ np.diag(np.random.default_rng(0).uniform(0.5, 2, 400))
    null, refit = lmm.NullModel(K, Y, X), {"variance": "refit"}
    asymptotic = {"test": "lrt", "asymptotic": True}
    for options in ({}, refit, asymptotic, {**refit, "test": "lrt"}):
        every = lmm.scan(null, G, **options)
        best = lmm.scan(null, G, keep="best", **options)
        hits = lmm.scan(null, G, keep=1.5, **options)
        log10p = np.asarray(every.log10p)
        np.testing.assert_allclose(best.log10p, log10p.max(axis=0), rtol=1e-9)
        chosen = np.asarray(best.marker), np.arange(5)
        for name in ("beta", "se", "lod", "log10p"):
            found, expected = np.asarray(getattr(best, name)), np.asarray(getattr(every, name))
            np.testing.assert_allclose(found, expected[chosen], rtol=1e-9)
            kept = np.asarray(hits.marker), np.asarray(hits.trait)
            np.testing.assert_allclose(getattr(hits, name), expected[kept], rtol=1e-9)
        np.testing.assert_array_equal(np.transpose(np.nonzero(log10p >= 1.5)), np.transpose(kept))
        assert 0 < len(hits.trait) < log10p.size


def test_a_threshold_that_no_share_of_variance_reaches_has_no_hits():
    K, Y, G, X = problem(4, M=1100, m=5)
    hits = lmm.scan(lmm.NullModel(K, Y, X), G, keep=50.0, test="score", asymptotic=True)
    assert hits.trait.shape == hits.log10p.shape == (0,)


def test_best_of_several_columns_with_missing_phenotypes():
    """A marker of fewer columns is the best with a smaller share, if it is more significant."""
    K, Y, G, X = problem(12, M=30, m=4, k=3)
    G[:, :15, 1:] = G[:, :15, :1] * [2, 3]
    Y[:5, 1], Y[3:9, 2], Y[:, 3] = np.nan, np.nan, np.nan
    null = lmm.NullModel(K, Y, X)
    every, best = lmm.scan(null, G), lmm.scan(null, G, keep="best")
    top = np.asarray(every.log10p)[:, :3].argmax(axis=0)
    assert (np.asarray(every.lod)[:, :3].argmax(axis=0) != top).any()
    np.testing.assert_array_equal(best.marker, [*top, -1])
    for name in ("beta", "se", "lod", "log10p"):
        expected = np.asarray(getattr(every, name))[top, np.arange(3)]
        np.testing.assert_allclose(getattr(best, name)[:3], expected, rtol=1e-9)
        assert np.isnan(getattr(best, name)[3]).all()


def test_markers_without_a_test_are_nan_and_leave_the_others_alone():
    K, Y, G, X = problem(5)
    plain = lmm.scan(lmm.NullModel(K, Y, X), G)
    G[:, 4], G[:, 9] = 2.0, X[:, 1] * 3 + 1
    Y = np.column_stack([Y, np.ones(40), np.full(40, np.nan)])
    null = lmm.NullModel(K, Y, X)
    for options in ({}, {"variance": "refit"}):
        odd = lmm.scan(null, G, **options)
        for name in ("beta", "se", "lod", "log10p"):
            values = np.asarray(getattr(odd, name))
            assert np.isnan(values[[4, 9]]).all()
            assert np.isnan(values[:, 3:]).all()
            rest = np.delete(values[:, :3], [4, 9], axis=0)
            assert np.isfinite(rest).all()
            if not options:
                same = np.delete(np.asarray(getattr(plain, name)), [4, 9], axis=0)
                np.testing.assert_allclose(rest, same, rtol=1e-9)
    assert [bool(reason) for reason in odd.reasons] == [False] * 3 + [True] * 2
    best = lmm.scan(null, G, keep="best")
    assert best.marker[3] == best.marker[4] == -1


def test_collinear_columns_of_a_marker_are_left_out():
    """Founder probabilities sum to one: the last says nothing that the intercept does not."""
    K, Y, G, X = problem(6, k=4)
    G /= G.sum(axis=2, keepdims=True)
    null = lmm.NullModel(K, Y, X)
    fewer = lmm.scan(null, G[:, :, :3])
    for columns in (G, 2 * G):  # sums of one are seen beforehand, those of two in the elimination
        whole = lmm.scan(null, columns)
        np.testing.assert_allclose(whole.lod, fewer.lod, rtol=1e-7)
        np.testing.assert_allclose(whole.log10p, fewer.log10p, rtol=1e-7)
        assert np.isnan(np.asarray(whole.beta)[:, :, 3]).all()


def test_each_chromosome_has_its_own_kinship():
    K, Y, G, X = problem(7)
    other = problem(8)[0]
    chromosome = np.repeat(["2", "X"], [6, 9])
    result = lmm.scan(lmm.NullModel({"X": other, "2": K}, Y, X), G, chromosome=chromosome)
    first, second = lmm.scan(lmm.NullModel(K, Y, X), G), lmm.scan(lmm.NullModel(other, Y, X), G)
    np.testing.assert_allclose(result.lod[:6], first.lod[:6], rtol=1e-9)
    np.testing.assert_allclose(result.lod[6:], second.lod[6:], rtol=1e-9)
    np.testing.assert_allclose(result.hsq, [second.hsq, first.hsq])


def test_interaction_tests_marker_and_product():
    K, Y, G, X = problem(9)
    e = np.random.default_rng(10).standard_normal(40)
    with_e = np.column_stack([X, e])
    result = lmm.scan(lmm.NullModel(K, Y, with_e), G, interaction=e)
    for j in range(G.shape[1]):
        columns = np.column_stack([G[:, j], G[:, j] * e])
        for t, hsq in enumerate(np.asarray(result.hsq)):
            assert_pair(result, j, t, K, Y[:, t], columns, with_e, hsq)


def test_g_and_its_interaction_have_tests_of_their_own():
    K, Y, G, X = problem(9)
    e = np.random.default_rng(10).standard_normal(40)
    null = lmm.NullModel(K, Y, np.column_stack([X, e]))
    result = lmm.scan(null, G, interaction=e)
    each = np.asarray(result.log10p_columns)
    assert each.shape == (15, 3, 2)
    for t, hsq in enumerate(np.asarray(result.hsq)):
        root = np.linalg.inv(np.linalg.cholesky(hsq * K + (1 - hsq) * np.eye(40)))
        for j in (0, 7):
            design = root @ np.column_stack([X, e, G[:, j], G[:, j] * e])
            y = root @ Y[:, t]
            beta, rss, *_ = np.linalg.lstsq(design, y)
            se = np.sqrt(rss / 35 * np.diag(np.linalg.inv(design.T @ design)))
            expected = -np.log10(2 * scipy.stats.t.sf(np.abs(beta / se), 35))
            np.testing.assert_allclose(each[j, t], expected[3:], rtol=1e-8)
    best = lmm.scan(null, G, interaction=e, keep="best")
    rows = each[np.asarray(best.marker), np.arange(3)]
    np.testing.assert_allclose(best.log10p_columns, rows, rtol=1e-8)
    lone = lmm.scan(null, G)
    np.testing.assert_allclose(lone.log10p_columns, lone.log10p, rtol=1e-8)
    hits = lmm.scan(null, G, keep=0.5)
    np.testing.assert_allclose(hits.log10p_columns, hits.log10p, rtol=1e-8)


def test_missing_genotypes_are_their_marker_s_mean_and_are_counted():
    K, Y, G, X = problem(11)
    holes = G.copy()
    holes[3:7, 2] = np.nan
    filled = G.copy()
    filled[3:7, 2] = np.nanmean(holes[:, 2])
    null = lmm.NullModel(K, Y, X)
    result = lmm.scan(null, holes)
    np.testing.assert_allclose(result.lod, lmm.scan(null, filled).lod)
    np.testing.assert_array_equal(result.missing, np.where(np.arange(15) == 2, 4, 0))


@pytest.mark.parametrize("markers", [[4, 5], [5, 4], [2, 9, 1], []])
def test_dosages_come_in_the_order_in_which_they_are_asked_for(markers):
    K, Y, G, X = problem(11)
    chosen = np.array(markers, dtype=int)
    found = as_genotypes(G, lmm.NullModel(K, Y, X)).dosages_of(chosen)
    np.testing.assert_array_equal(found, G[:, chosen])


def test_weights_and_single_precision():
    K, Y, G, X = problem(12)
    weights = np.random.default_rng(13).uniform(0.5, 3, 40)
    result = lmm.scan(lmm.NullModel(K, Y, X, weights=weights), G)
    root = np.sqrt(weights)
    scaled = (root[:, None] * A for A in (G, X))
    columns, design = scaled
    for t, hsq in enumerate(np.asarray(result.hsq)):
        args = K * np.outer(root, root), root * Y[:, t], columns[:, [4]], design, hsq
        assert_pair(result, 4, t, *args)
    single = lmm.scan(lmm.NullModel(K, Y, X, weights=weights, dtype="float32"), G)
    np.testing.assert_allclose(single.lod, result.lod, atol=2e-4)
    best = lmm.scan(lmm.NullModel(K, Y, X, weights=weights, dtype="float32"), G, keep="best")
    assert np.asarray(best.beta).dtype == np.asarray(best.se).dtype == np.float64


def test_one_marker_one_trait_and_names():
    pd = pytest.importorskip("pandas")
    K, Y, G, X = problem(14)
    ids = [f"mouse{i}" for i in range(40)]
    result = lmm.scan(
        lmm.NullModel(pd.DataFrame(K, ids, ids), pd.DataFrame(Y, ids, ["a", "b", "c"]), X),
        pd.DataFrame(G, ids, [f"rs{j}" for j in range(15)]),
        keep="best",
    )
    table = result.to_pandas()
    assert list(table["trait"]) == ["a", "b", "c"]
    assert set(table["marker"]) <= {f"rs{j}" for j in range(15)}
    alone = lmm.scan(lmm.NullModel(K, Y[:, 0], X), G[:, 3])
    assert alone.lod.shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "each"}, "variance must be 'null' or 'refit', got 'each'"),
        ({"test": "rao"}, "test must be one of wald, lrt, score"),
        ({"variance": "refit", "test": "score"}, "the score test fits no pair"),
        ({"keep": "some"}, "keep must be 'all', 'best' or the least"),
        ({"keep": -1.0}, "keep must be a positive"),
        ({"K": {"1": np.eye(40)}}, "chromosome must have one label for each of the 15 markers"),
        (
            {"K": {"1": np.eye(40)}, "chromosome": np.repeat(["1", "2"], [7, 8])},
            "K has no kinship matrix for chromosome 2",
        ),
        ({"K": np.eye(39)}, r"Y must have shape \(39,\).* the 39 individuals of the kinship"),
        ({"G": np.full((40, 3), np.inf)}, "G has infinite values"),
        ({"G": np.zeros((39, 3))}, r"G must have shape \(40,\)"),
        ({"interaction": np.ones((40, 2))}, "rank-deficient|one covariate"),
        ({"interaction": "sex"}, "interaction must hold numbers"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    options = dict(options)
    K, Y, G, X = problem(15)
    K, G = options.pop("K", K), options.pop("G", G)
    with pytest.raises(ValueError, match=message):
        lmm.scan(lmm.NullModel(K, Y, X), G, **options)


def test_a_last_column_that_the_others_span_is_not_worked_on():
    rng = np.random.default_rng(4)
    founders = rng.dirichlet(np.ones(4), (60, 9))
    cohort = lmm.simulate_cohort(60, 2, seed=4)
    null = lmm.NullModel(cohort.kinship, cohort.pheno)
    design = np.asarray(null.design)
    assert as_genotypes(founders, null).independent(design).columns == 3
    assert as_genotypes(founders.round(3), null).independent(design).columns == 4
    assert as_genotypes(founders, null).independent(design[:, :0]).columns == 4
    gap = founders.copy()
    gap[0, 0, 0] = np.nan
    assert as_genotypes(gap, null).independent(design).columns == 4
    four, three = lmm.scan(null, founders), lmm.scan(null, founders[:, :, :3])
    for found, expected in ((four.beta, three.beta), (four.se, three.se)):
        np.testing.assert_array_equal(found[..., :3], expected)
        assert np.isnan(found[..., 3]).all()
    np.testing.assert_array_equal(four.lod, three.lod)
