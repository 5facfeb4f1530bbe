import numpy as np
import pytest

from lmmlite_jax.data import simulate_cohort
from lmmlite_jax.data.gene_drop import drop_genes


def test_genotypes_are_as_related_as_the_families():
    cohort = simulate_cohort(60, 1, seed=2)
    G = drop_genes(cohort.individuals, 40, 100, np.random.default_rng(2)).astype(float)
    scaled = (G - G.mean(axis=0)) / np.maximum(G.std(axis=0), 1e-9)
    correlation = scaled @ scaled.T / G.shape[1]
    apart = ~np.eye(60, dtype=bool)
    relatives = correlation[apart & (cohort.kinship == 0.5)]
    strangers = correlation[cohort.kinship == 0]
    # Frequencies are those of the sample, which takes as much from both.
    assert abs(relatives.mean() - strangers.mean() - 0.5) < 0.03
    assert relatives.min() > 0.3


def test_neighbours_on_a_chromosome_are_inherited_together():
    """Of two heterozygous parents' copies; markers of two chromosomes are not."""
    names = ["f_father", "f_mother", *(f"f_child{c}" for c in range(400))]
    G = drop_genes(names, 2, 50, np.random.default_rng(0)).astype(float)
    one = (G[0] == 1) & (G[1] != 1)  # what varies among the children comes from the father
    children = G[2:, one]
    where = np.flatnonzero(one)
    correlation = np.abs(np.corrcoef(children.T))
    beside = [(i, i + 1) for i in range(where.size - 1) if where[i + 1] - where[i] == 1]
    same = [correlation[i, j] for i, j in beside if where[i] // 50 == where[j] // 50]
    assert min(same) > 0.8
    assert correlation[np.ix_(where < 50, where >= 50)].max() < 0.25


def test_a_child_before_its_parents_is_refused():
    with pytest.raises(ValueError, match="f_child1 comes before its parents: give f_father and"):
        drop_genes(["f_father", "f_child1"], 1, 2, np.random.default_rng(0))
