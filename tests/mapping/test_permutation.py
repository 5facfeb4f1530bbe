"""Thresholds by permutation hold their level among relatives."""

import numpy as np
import pytest
from helpers import with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping.orders import orders_in_parts
from lmmlite_jax.mapping.permuted_block import PermutedBlock
from lmmlite_jax.model.precision import in_float64


def problem(m, seed=1, n=120, M=80):
    rng = np.random.default_rng(seed)
    K = lmm.simulate_cohort(n, 1, seed=seed).kinship
    # Markers shared within families, so that permuting phenotypes would be wrong.
    G = with_variance(rng, K, 0.9, M)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    return K, with_variance(rng, K, 0.7, m), G, X


def test_a_threshold_of_five_percent_holds():
    K, Y, G, X = problem(600)
    Y[:4, ::2] = np.nan
    null = lmm.NullModel(K, Y, X)
    limits = lmm.permutation_threshold(null, G, permutations=200)
    best = lmm.scan(null, G, keep="best")
    exceeded = np.mean(np.asarray(best.lod) > np.asarray(limits))
    assert exceeded == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 600) + 0.005)


@in_float64
def test_permuted_residuals_are_traits_that_are_fitted_anew():
    K, Y, G, X = problem(3)
    Y[:4, 1] = np.nan
    null, markers = lmm.NullModel(K, Y, X), G.T[None]
    for blocks in null.batches(*null.kinship_labels):
        for block in blocks:
            permuted = PermutedBlock(block, 30, 2, "float64")
            shares = permuted.largest_shares(block.individuals.rotate_markers(markers))
            for place, of_trait in zip(permuted.places, shares, strict=True):
                seen = block.individuals.numbers
                own_K, own_G, own_X = K[np.ix_(seen, seen)], G[seen], X[seen]
                basis = np.asarray(block.individuals.pattern.projection.Kve_t)[0]
                size, basis = len(basis), basis[: block.dof, : seen.size]
                spectrum = np.linalg.multi_dot([basis, own_K, basis.T]).diagonal()
                deviation = np.sqrt(block.hsq[place] * spectrum + 1 - block.hsq[place])
                residuals = basis @ Y[seen, block.traits[place]] / deviation
                (orders,) = orders_in_parts(block.dof, size, 30, 2)[:, :, : block.dof]
                traits = basis.T @ (deviation[:, None] * residuals[orders.T])
                best = lmm.scan(lmm.NullModel(own_K, traits, own_X), own_G, keep="best")
                expected = -np.expm1(-2 * np.log(10) / block.n * np.asarray(best.lod))
                np.testing.assert_allclose(of_trait, expected, rtol=1e-6)


def test_by_chromosome_and_with_several_columns():
    K, Y, G, X = problem(40)
    chromosome = np.repeat([1, 2], 40)
    founders = np.stack([G, G**2], axis=2)
    null = lmm.NullModel(K, Y, X)
    one = lmm.permutation_threshold(null, founders, permutations=100)
    both = lmm.permutation_threshold(
        lmm.NullModel({1: K, 2: K}, Y, X), founders, permutations=100, chromosome=chromosome
    )
    np.testing.assert_allclose(one, both, rtol=1e-9)
    fewer = lmm.permutation_threshold(null, G, permutations=100)
    assert np.mean(np.asarray(one) > np.asarray(fewer)) > 0.9


def test_the_seed_decides_and_traits_without_a_fit_have_none():
    K, Y, G, X = problem(3)
    Y[:, 1] = 1.0
    first, again = (
        lmm.permutation_threshold(lmm.NullModel(K, Y, X), G, permutations=50, seed=4) for _ in "ab"
    )
    np.testing.assert_array_equal(first, again)
    assert np.isnan(first[1])
    assert np.isfinite(first[[0, 2]]).all()


def test_too_few_permutations_are_refused():
    K, Y, G, X = problem(2)
    with pytest.raises(ValueError, match="permutations must be at least 20"):
        lmm.permutation_threshold(lmm.NullModel(K, Y, X), G, permutations=10)
