"""Kinship matrices against slow loops, GEMMA and R/qtl2."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lmmlite_jax.mapping import kinship as module
from lmmlite_jax.mapping.kinship import kinship, kinship_of_blocks


def genotypes(rng, n=30, M=200, missing=0.0):
    G = rng.binomial(2, rng.uniform(0.1, 0.9, M), (n, M)).astype(float)
    G[rng.random((n, M)) < missing] = np.nan
    return G


def probabilities(rng, n=12, M=40, k=8):
    return rng.dirichlet(np.full(k, 0.3), (n, M))


def one_marker_at_a_time(G, method):
    total, used = np.zeros((len(G), len(G))), 0
    for g in np.moveaxis(G, 1, 0):
        if method == "allele_probs":
            total += g @ g.T
        else:
            g = np.where(np.isnan(g), np.nanmean(g), g)
            if g.std() == 0:
                continue
            z = (g - g.mean()) / (g.std() if method == "standardized" else 1)
            total += np.outer(z, z)
        used += 1
    return total / used


@pytest.mark.parametrize("method", ["standardized", "centered"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_dosages_as_one_marker_at_a_time(method, missing, monkeypatch):
    G = genotypes(np.random.default_rng(1), missing=missing)
    G[:, 7] = 1
    expected = one_marker_at_a_time(G, method)
    np.testing.assert_allclose(kinship(G, method), expected, atol=1e-13)
    monkeypatch.setattr(module, "_BLOCK", 1)
    monkeypatch.setattr(module, "_FEWEST", 17)
    np.testing.assert_allclose(kinship(G, method), expected, atol=1e-13)


def test_allele_probabilities_as_one_marker_at_a_time():
    p = probabilities(np.random.default_rng(2))
    expected = one_marker_at_a_time(p, "allele_probs")
    np.testing.assert_allclose(kinship(p, "allele_probs"), expected, atol=1e-14)
    single = kinship(p.astype(np.float32), "allele_probs")
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_an_inbred_strain_has_allele_probability_kinship_1_with_itself():
    founders = np.eye(4)[np.array([[0, 1, 2], [0, 1, 3], [3, 0, 0]])]
    K = kinship(founders, "allele_probs")
    np.testing.assert_allclose(K, [[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 1]], atol=1e-15)


def test_standardized_kinship_has_mean_diagonal_1_and_null_vector_1():
    K = kinship(genotypes(np.random.default_rng(3), missing=0.05))
    assert K.diagonal().mean() == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(K.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(K, K.T)


def test_flipping_alleles_changes_nothing():
    G = genotypes(np.random.default_rng(4), missing=0.05)
    flipped = np.where(np.arange(G.shape[1]) % 2, G, 2 - G)
    for method in ("standardized", "centered"):
        np.testing.assert_allclose(kinship(flipped, method), kinship(G, method), atol=1e-13)


def test_missing_genotypes_count_as_the_mean_of_their_marker():
    G = genotypes(np.random.default_rng(5), missing=0.1)
    imputed = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    np.testing.assert_allclose(kinship(G), kinship(imputed), atol=1e-13)
    p = probabilities(np.random.default_rng(5))
    p[3, 4] = np.nan
    filled = p.copy()
    filled[3, 4] = np.nanmean(p[:, 4], axis=0)
    np.testing.assert_allclose(
        kinship(p, "allele_probs"), kinship(filled, "allele_probs"), atol=1e-14
    )


def test_an_individual_without_genotypes_is_related_to_nobody():
    G = genotypes(np.random.default_rng(6))
    G[4] = np.nan
    K = kinship(G)
    np.testing.assert_array_equal(K[4], 0)
    np.testing.assert_allclose(K, one_marker_at_a_time(G, "standardized"), atol=1e-13)


def test_markers_that_do_not_vary_or_are_missing_are_left_out():
    rng = np.random.default_rng(7)
    G = genotypes(rng, M=50)
    constant = np.full((30, 3), [0.0, 2.0, np.nan])
    constant[:, 1] += 1e-8 * rng.standard_normal(30)  # dosages written in single precision
    for method in ("standardized", "centered"):
        K = kinship(np.hstack([constant, G]), method)
        np.testing.assert_allclose(K, kinship(G, method), atol=1e-14)
    p = probabilities(rng)
    unseen = np.full((12, 1, 8), np.nan)
    K = kinship(np.hstack([unseen, p]), "allele_probs")
    np.testing.assert_allclose(K, kinship(p, "allele_probs"), atol=1e-14)


@pytest.mark.parametrize("method", ["standardized", "centered", "allele_probs"])
def test_leaving_a_chromosome_out_is_the_kinship_of_the_other_markers(method):
    rng = np.random.default_rng(8)
    G = probabilities(rng) if method == "allele_probs" else genotypes(rng, M=40, missing=0.05)
    chromosome = rng.permutation(np.repeat(["2", "10", "X"], [20, 15, 5]))
    without = kinship(G, method, chromosome, loco=True)
    assert list(without) == list(dict.fromkeys(chromosome.tolist()))
    for label, K in without.items():
        expected = kinship(G[:, chromosome != label], method)
        np.testing.assert_allclose(K, expected, atol=1e-12)
        np.testing.assert_array_equal(K, K.T)


def test_chromosomes_may_be_numbers_a_series_or_a_list_of_both():
    G = genotypes(np.random.default_rng(9), M=6)
    expected = kinship(G[:, 2:])
    numbers = [1, 1, 2, 2, 3, 3]
    for chromosome in (numbers, np.array(numbers), pd.Series(numbers), pl.Series(numbers)):
        np.testing.assert_allclose(kinship(G, chromosome=chromosome, loco=True)[1], expected)
    assert list(kinship(G, chromosome=[1, 1, 2, 2, "X", "X"], loco=True)) == [1, 2, "X"]


def test_any_kind_of_table_gives_the_same():
    G = genotypes(np.random.default_rng(10))
    expected = kinship(G)
    kinds = [
        G.astype(np.int8),
        G.astype(np.float32),
        G.tolist(),
        np.asfortranarray(G),
        pd.DataFrame(G),
        pl.DataFrame(G),
    ]
    for kind in kinds:
        np.testing.assert_allclose(kinship(kind), expected, atol=1e-13)


def test_missing_values_of_any_kind():
    G = genotypes(np.random.default_rng(11))
    hole = G.copy()
    hole[2, 3] = np.nan
    frame = pd.DataFrame(G).astype("Int8")
    frame.iloc[2, 3] = pd.NA
    polars = pl.DataFrame([[None if np.isnan(x) else int(x) for x in row] for row in hole.T])
    masked = np.ma.masked_invalid(hole)
    for kind in (frame, polars, masked):
        np.testing.assert_allclose(kinship(kind), kinship(hole), atol=1e-13)


def test_the_callers_array_is_left_as_it_was():
    G = genotypes(np.random.default_rng(12), missing=0.1)
    before = G.copy()
    kinship(G, chromosome=np.arange(200) // 100, loco=True)
    np.testing.assert_array_equal(G, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "vanraden"}, "method must be one of standardized, centered, allele_probs"),
        ({"method": "allele_probs"}, r"got shape \(5, 4\): for dosages use another method"),
        ({"loco": True}, "chromosome is not given"),
        ({"loco": True, "chromosome": [1, 2]}, "each of the 4 markers of G, got 2"),
        ({"chromosome": [1, 2]}, "each of the 4 markers of G, got 2"),
        ({"loco": True, "chromosome": [1, 1, 1, 1]}, "chromosome is 1 for all markers"),
        ({"loco": True, "chromosome": ["1", None, "2", np.nan]}, r"2 missing .* first at \[1\]"),
        ({"G": np.ones((5, 4))}, "each of the 4 is missing or does not vary among the 5"),
        ({"G": np.full((5, 4), np.nan)}, "each of the 4 is missing or does not vary"),
        ({"G": np.ones((5, 4, 2))}, "for probabilities of shape .* use method 'allele_probs'"),
        ({"G": np.ones((5, 0))}, r"G has shape \(5, 0\)"),
        ({"G": [["AA", "AB"]]}, "G must hold numbers"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    G = genotypes(np.random.default_rng(13), n=5, M=4)
    with pytest.raises(ValueError, match=message):
        kinship(**{"G": G, **arguments})


def test_infinite_values_are_refused_and_located():
    G = genotypes(np.random.default_rng(14))
    G[3, 150] = np.inf
    with pytest.raises(ValueError, match=r"G\[3, 150\] is infinite"):
        kinship(G)
    with pytest.raises(ValueError, match=r"G\[3, 150\] is infinite"):
        kinship(G, chromosome=np.arange(200) % 2, loco=True)


def test_all_variation_on_one_chromosome():
    G = genotypes(np.random.default_rng(15), M=4)
    G[:, 2:] = 0
    with pytest.raises(ValueError, match="no marker that varies outside chromosome 'a'"):
        kinship(G, chromosome=["a", "a", "b", "b"], loco=True)


def test_alleles_in_the_middle_dimension_are_refused():
    p = probabilities(np.random.default_rng(16))
    with pytest.raises(ValueError, match=r"G\[0, 0\] holds .* not probabilities that sum to 1"):
        kinship(np.swapaxes(p, 1, 2), "allele_probs")


@pytest.fixture(scope="module")
def synth500(data_dir):
    """Dosages of the second allele in the .bim, and chromosomes."""
    folder = data_dir / "synth500"
    chromosome = [line.split()[0] for line in (folder / "synth500.bim").read_text().splitlines()]
    packed = np.fromfile(folder / "synth500.bed", dtype=np.uint8)[3:].reshape(len(chromosome), -1)
    codes = (packed[:, :, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3
    codes = codes.reshape(len(chromosome), -1)[:, :500]
    return np.array([0, np.nan, 1, 2])[codes].T, np.array(chromosome)


def test_synth500_as_gemma_prints_it(synth500, data_dir):
    G, _ = synth500
    expected = np.load(data_dir / "synth500" / "gemma_centered_kinship.npz")["kinship"]
    np.testing.assert_allclose(kinship(G, "centered"), expected, rtol=0, atol=1e-9)


def test_synth500_leaving_each_of_five_chromosomes_out(synth500):
    G, chromosome = synth500
    without = kinship(G, "standardized", chromosome, loco=True)
    assert len(without) == 5
    expected = kinship(G[:, chromosome != "3"])
    np.testing.assert_allclose(without["3"], expected, atol=1e-13)


@pytest.mark.parametrize("method", ["standardized", "centered"])
def test_blocks_of_a_file_as_the_whole(method):
    G = genotypes(np.random.default_rng(12), missing=0.05)
    chromosome = np.repeat(["1", "2", "1", "X"], 50)
    edges = [0, 30, 31, 120, 200]
    blocks = [(G[:, a:b], chromosome[a:b]) for a, b in itertools.pairwise(edges)]
    whole = kinship(G, method)
    np.testing.assert_allclose(kinship_of_blocks(blocks, method), whole, atol=1e-13)
    expected = kinship(G, method, chromosome, loco=True)
    without = kinship_of_blocks(blocks, method, loco=True)
    assert list(without) == ["1", "2", "X"]
    for name, matrix in without.items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-13)


def test_blocks_that_make_no_kinship_are_refused():
    G = genotypes(np.random.default_rng(13), n=5, M=6)
    with pytest.raises(ValueError, match="5 individuals in one block and 4 in the first"):
        kinship_of_blocks([(G[:4], None), (G, None)])
    with pytest.raises(ValueError, match="no marker that varies outside chromosome '1'"):
        kinship_of_blocks([(G, ["1"] * 6), (G, ["1"] * 6)], loco=True)
    with pytest.raises(ValueError, match="no marker to use"):
        kinship_of_blocks([])
    with pytest.raises(ValueError, match="no marker to use"):
        kinship_of_blocks([(np.ones((3, 2)), None)])
