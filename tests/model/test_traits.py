"""Traits with missing values are fitted as if the missing individuals were not there."""

import numpy as np
import pytest
from helpers import centred, random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.model.missing import batches


@pytest.mark.parametrize(
    "kind", ["regular", "singular", "centred", "identity blocks", "tiny", "huge"]
)
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_missing_individuals_are_as_good_as_absent(kind, reml):
    n, m = 40, 20
    regular = random_kinship(np.random.default_rng(4), n)
    K = {
        "regular": regular,
        "singular": random_kinship(np.random.default_rng(4), n, rank=15),
        "centred": centred(regular),
        "identity blocks": lmm.simulate_cohort(n, 1).kinship,
        "tiny": 1e-6 * regular,
        "huge": 1e9 * regular,
    }[kind]
    rng = np.random.default_rng(5)  # the same patterns for all, hence a few compiled programs
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    Y = with_variance(rng, K / K.diagonal().mean(), 0.5, m)
    patterns = rng.random((n, 4)) < rng.uniform(0, 0.5, 4)
    Y[patterns[:, rng.integers(0, 4, m)]] = np.nan

    fit = lmm.fit_traits(K, Y, X, reml=reml)
    for j in range(m):
        seen = ~np.isnan(Y[:, j])
        rot = lmm.eigen_rotation(K[np.ix_(seen, seen)], Y[seen, j], X[seen])
        alone = lmm.fit_lmm(rot.Kva, rot.y, rot.X, reml=reml)
        assert int(fit.n[j]) == seen.sum()
        assert int(fit.status[j]) == int(alone.status)
        np.testing.assert_allclose(fit.loglik[j], alone.loglik, rtol=1e-9)
        np.testing.assert_allclose(fit.hsq[j], alone.hsq, atol=1e-6)
        np.testing.assert_allclose(
            np.asarray(fit.beta)[:, j], np.asarray(alone.beta), rtol=1e-5, atol=1e-7
        )


def test_full_likelihoods_with_several_covariates_are_the_dense_ones():
    rng = np.random.default_rng(6)
    n, m = 40, 5
    K = random_kinship(rng, n)
    X = np.column_stack([np.ones(n), K @ rng.standard_normal(n), rng.standard_normal((n, 2))])
    Y = with_variance(rng, K, 0.5, m)
    fit = lmm.fit_traits(K, Y, X, reml=False)
    for y, h, loglik in zip(Y.T, np.asarray(fit.hsq), np.asarray(fit.loglik), strict=True):
        values, vectors = np.linalg.eigh(h * K + (1 - h) * np.eye(n))
        left = vectors.T @ np.column_stack([X, y]) / np.sqrt(values)[:, None]
        _, (rss,), _, _ = np.linalg.lstsq(left[:, :-1], left[:, -1])
        dense = -0.5 * (np.sum(np.log(values)) + n * np.log(rss))
        np.testing.assert_allclose(loglik, dense, rtol=1e-10)


def test_many_patterns_are_few_compilations(compilations):
    rng = np.random.default_rng(0)
    K = random_kinship(rng, 50)
    Y = with_variance(rng, K, 0.5, 300)
    Y[rng.random(Y.shape) < rng.uniform(0, 0.6, 300)] = np.nan
    before = compilations()
    fit = lmm.fit_traits(K, Y)
    assert compilations() - before <= 8
    assert not any(fit.reasons)


def test_every_trait_is_in_one_batch_with_the_individuals_it_has():
    rng = np.random.default_rng(0)
    observed = rng.random((70, 500)) > rng.uniform(0, 0.5, 500)
    observed[:, 100:400] = observed[:, [100]]
    seen = np.zeros(500, int)
    for batch in batches(observed, np.arange(500)):
        for which, traits in zip(batch.pattern, batch.traits, strict=True):
            for pattern, block in zip(which, traits, strict=True):
                members = batch.members[pattern]
                for trait in block[block >= 0]:
                    seen[trait] += 1
                    expected = np.flatnonzero(observed[:, trait])
                    np.testing.assert_array_equal(members[members >= 0], expected)
    np.testing.assert_array_equal(seen, 1)


def padded_sizes(sizes):
    """Sizes to which patterns of so many individuals are padded."""
    rng = np.random.default_rng(0)
    observed = np.stack([rng.permutation(300) < size for size in sizes], axis=1)
    return sorted({batch.members.shape[1] for batch in batches(observed, np.arange(len(sizes)))})


def test_padded_sizes_cost_the_least():
    sizes = np.repeat([10, 11, 50, 52, 90, 91, 92, 93, 200], [900, 800, 50, 50, 5, 5, 5, 5, 2])
    chosen = padded_sizes(sizes)
    most = 4
    assert len(chosen) == most
    assert chosen[-1] == 200

    def cost(candidate):
        padded = [min(c for c in candidate if c >= s) for s in sizes]
        return sum(p**3 for p in padded)

    from itertools import combinations

    distinct = sorted(set(sizes[:-1].tolist()))
    best = min(cost([*c, 200]) for c in combinations(distinct, most - 1))
    assert cost(chosen) == best


def test_few_padded_sizes_where_more_would_save_little():
    assert padded_sizes([258, 258, 259, 261]) == [261]
    assert padded_sizes([100, 259, 261]) == [100, 261]
    assert padded_sizes([100, 101, 260, 261] * 5) == [101, 261]


def test_single_precision_is_close():
    cohort = lmm.simulate_cohort(200, 50, seed=1)
    double = lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar)
    single = lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar, dtype="float32")
    np.testing.assert_allclose(np.asarray(single.hsq), np.asarray(double.hsq), atol=1e-4)
    np.testing.assert_allclose(np.asarray(single.loglik), np.asarray(double.loglik), rtol=1e-5)
    assert np.max(np.abs(np.asarray(single.loglik) - np.asarray(double.loglik))) > 0


def test_adjacent_traits_that_lack_one_individual():
    """Their padded size is that of the whole cohort, which they are not."""
    rng = np.random.default_rng(2)
    K = random_kinship(rng, 60)
    Y = with_variance(rng, K, 0.5, 6 * 128)
    for group, observed in enumerate([59, 60, 40, 30, 20, 10]):
        Y[observed:, group * 128 : (group + 1) * 128] = np.nan
    fit = lmm.fit_traits(K, Y)
    assert not any(fit.reasons)
    rot = lmm.eigen_rotation(K[:59, :59], Y[:59, :128])
    expected = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    np.testing.assert_allclose(np.asarray(fit.loglik)[:128], np.asarray(expected.loglik), rtol=1e-9)


def test_complete_traits_that_do_not_fill_their_block():
    rng = np.random.default_rng(2)
    K = random_kinship(rng, 60)
    Y = with_variance(rng, K, 0.5, 260)
    Y[0, 27:127] = np.nan
    for part, missing in enumerate([20, 30, 40, 50]):
        Y[:missing, 230 + part :: 4] = np.nan
    fit = lmm.fit_traits(K, Y)
    assert not any(fit.reasons)
    alone = lmm.fit_traits(K, Y[:, :27])
    np.testing.assert_allclose(np.asarray(fit.hsq)[:27], np.asarray(alone.hsq), atol=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_constant_traits_and_odd_units_in_either_precision(dtype):
    cohort = lmm.simulate_cohort(60, 4, seed=1)
    Y = np.column_stack([np.full(60, 3.7), cohort.covar @ [1.0, 2.0, 3.0], cohort.pheno])
    plain = lmm.fit_traits(cohort.kinship, Y, cohort.covar, dtype=dtype)
    assert ["covariates" in reason for reason in plain.reasons] == [True] * 2 + [False] * 4
    for unit in (1e20, 1e-25):
        scaled = lmm.fit_traits(cohort.kinship, unit * Y, cohort.covar, dtype=dtype)
        assert scaled.reasons == plain.reasons
        np.testing.assert_allclose(
            np.asarray(scaled.hsq), np.asarray(plain.hsq), atol=1e-4 if dtype == "float32" else 1e-9
        )


def test_blocks_of_traits_are_as_wide_as_the_largest_pattern_where_that_saves_blocks():
    observed = np.ones((30, 26), dtype=bool)  # the mice's patterns: 11, 2, 3 and 10 traits
    for row, traits in ((0, slice(0, 11)), (1, slice(11, 13)), (2, slice(13, 16))):
        observed[row, traits] = False
    found = [batch.traits for batch in batches(observed, np.arange(26))]
    assert sum(traits.shape[0] * traits.shape[1] for traits in found) == 4
    together = np.concatenate([traits.ravel() for traits in found])
    np.testing.assert_array_equal(np.sort(together[together >= 0]), np.arange(26))
