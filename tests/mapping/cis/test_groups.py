"""Groups of genes that are mapped together."""

from functools import partial

import numpy as np
import pytest
from helpers import random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.mapping.cis.best_marker import as_permutations, candidates_of, permuted_shares
from lmmlite_jax.mapping.cis.beta_approximation import beta_approximation
from lmmlite_jax.mapping.cis.groups import NOT_BEST, as_groups, best_markers
from lmmlite_jax.mapping.cis.near import each_neighbourhood
from lmmlite_jax.mapping.genotypes import as_dosages
from lmmlite_jax.mapping.tables import BEST_COLUMNS
from lmmlite_jax.model.precision import in_float64

P = 100
WINDOWS = np.array([[0, 30], [10, 40], [0, 30], [10, 40], [0, 30]])
GROUPS = ["a", "b", "a", "b", "a"]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(7)
    n, M, m = 50, 40, 5
    K = random_kinship(rng, n)
    G = rng.binomial(2, rng.uniform(0.2, 0.8, M), (n, M)).astype(float)
    Y = with_variance(rng, K, 0.5, m)
    Y[:, 2] += 1.5 * G[:, 12]
    Y[:2, 4] = np.nan  # another pattern: comes last, or first
    return lmm.NullModel(K, Y), G


@in_float64
def candidates(null, G):
    """Share, permuted shares and degrees of freedom of each gene on its own."""
    chance = as_permutations(P, 0, "float32")
    alone = {}
    work = partial(candidates_of, permuted=partial(permuted_shares, chance=chance))
    for _, found in each_neighbourhood(null, as_dosages(G, null), WINDOWS, None, work):
        for place, gene in enumerate(found.genes.tolist()):
            alone[gene] = found.share[place], found.permuted[place], found.df
    return alone


def test_a_group_has_its_strongest_gene_and_the_largest_of_all_in_each_permutation(problem):
    null, G = problem
    alone = lmm.map_cis(null, G, WINDOWS, permutations=P)
    result = lmm.map_cis(null, G, WINDOWS, groups=GROUPS, permutations=P)
    other = 1 if alone.lod[1] > alone.lod[3] else 3
    assert alone.lod[[0, 2, 4]].argmax() == 1
    np.testing.assert_array_equal(np.flatnonzero(result.marker >= 0), sorted([2, other]))
    for name in ("marker", "slope", "slope_se", "pval_nominal", "num_var", "n", "af", "hsq"):
        for gene in (2, other):
            assert getattr(result, name)[gene] == getattr(alone, name)[gene], name
    np.testing.assert_array_equal(result.group_size[[2, other]], [3, 2])
    assert [result.reasons[gene] == NOT_BEST for gene in range(5)] == [
        gene not in (2, other) for gene in range(5)
    ]
    genes = candidates(null, G)
    for best, members in ((2, [0, 2, 4]), (other, [1, 3])):
        df = genes[best][2]
        # A likelihood ratio is (1 - share) ** -(df / 2), but for what all genes share.
        largest = np.max(
            [1 - (1 - genes[one][1]) ** (genes[one][2] / df) for one in members], axis=0
        )
        fitted = beta_approximation(largest[None], genes[best][0][None], df)
        for name in ("pval_perm", "pval_beta", "beta_shape2", "true_df"):
            expected = getattr(fitted, name)[0]
            assert getattr(result, name)[best] == pytest.approx(expected, rel=1e-6), name
        assert fitted.beta_shape2[0] > alone.beta_shape2[best]
    table = result.to_pandas()
    assert table["group_id"].to_dict() == {2: "a", other: "b"}
    assert "group_id" not in alone.to_pandas()


def test_genes_that_are_one_are_no_more_than_one(problem):
    """Permuted alike, so that their correlation counts."""
    null, G = problem
    twice = lmm.NullModel(None, np.asarray(null.phenotypes)[:, [2, 2, 1]])
    windows = WINDOWS[[0, 0, 1]]
    alone = lmm.map_cis(twice, G, windows, permutations=P)
    result = lmm.map_cis(twice, G, windows, groups=[1, 1, 2], permutations=P)
    assert result.group_size[0] == 2
    for name in BEST_COLUMNS:
        if name != "group_size":
            np.testing.assert_allclose(
                getattr(result, name)[[0, 2]], getattr(alone, name)[[0, 2]], rtol=1e-12
            )


@in_float64
def test_some_groups_are_the_same_as_among_all(problem):
    null, G = problem
    whole = lmm.map_cis(null, G, WINDOWS, groups=GROUPS, permutations=P)
    numbers = as_groups(GROUPS, WINDOWS)
    chance = as_permutations(P, 0, "float32")
    found = [
        best
        for best in best_markers(
            null, as_dosages(G, null), WINDOWS, numbers, None, chance, 0.0, numbers == 0
        )
        if best.finished.size
    ]
    assert [sorted(best.finished) for best in found] == [[0, 2, 4]]
    assert list(found[0].genes) == [2]
    assert found[0].columns["pval_beta"][0] == whole.pval_beta[2]


def test_signals_of_a_group_may_be_of_several_of_its_genes(problem):
    null, G = problem
    Y = np.array(null.phenotypes)
    Y[:, 0] += 1.2 * G[:, 25]
    null = lmm.NullModel(None, Y)
    cis = lmm.map_cis(null, G, WINDOWS, groups=GROUPS, permutations=P)
    found = lmm.map_cis_independent(
        null, G, WINDOWS, cis, threshold=0.01, groups=GROUPS, permutations=P
    )
    signals = set(zip(found.gene.tolist(), found.marker.tolist(), strict=True))
    assert {(2, 12), (0, 25)} <= signals
    table = found.to_pandas()
    assert set(table.loc[table["phenotype_id"].isin([0, 2, 4]), "group_id"]) == {"a"}
    assert table["rank"].iloc[0] == 1


def test_groups_that_are_none_are_refused(problem):
    null, G = problem
    with pytest.raises(ValueError, match="group of each of the 5 traits, got shape"):
        lmm.map_cis(null, G, WINDOWS, groups=GROUPS[:4])
    with pytest.raises(ValueError, match="traits of the group b have different windows"):
        lmm.map_cis(null, G, WINDOWS, groups=["a", "b", "a", "b", "b"])
