"""Colocalisation against a sum over all pairs of markers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmmlite_jax as lmm


@pytest.fixture(scope="module")
def runs():
    """One cohort's markers and two traits of two effects, and other people with half of them."""
    rng = np.random.default_rng(3)
    cohorts = [lmm.simulate_cohort(150, 1, hsq=0.3, seed=seed) for seed in (1, 2)]
    names = [f"rs{j}" for j in range(30)]
    found = []
    for cohort, effects, kept in zip(cohorts, ([4, 20], [4, 11]), (30, 25), strict=True):
        G = rng.binomial(2, 0.4, (150, 30)).astype(float)
        scale = cohort.pheno.std()
        Y = cohort.pheno + 1.5 * scale * (G[:, effects[:1]] + G[:, effects[1:]])
        Y = pd.DataFrame(np.column_stack([Y, cohort.pheno]), columns=["a", "b"])
        columns = names[:kept][::-1] if kept < 30 else names
        table = pd.DataFrame(G, columns=names)[columns]
        null = lmm.NullModel(cohort.kinship, Y, cohort.covar)
        found.append(lmm.map_cis_susie(null, table, np.array([[0, kept]] * 2), max_effects=4))
    return found


def by_sums(bf1, bf2, p1, p2, p12):
    pairs = np.exp(np.add.outer(bf1, bf2))
    same = np.trace(pairs)
    sums = [1, p1 * np.exp(bf1).sum(), p2 * np.exp(bf2).sum()]
    sums += [p1 * p2 * (pairs.sum() - same), p12 * same]
    return np.array(sums) / np.sum(sums)


def test_probabilities_are_sums_over_pairs_of_markers(runs):
    first, second = runs
    found = lmm.coloc(first, second)
    own = first.sets.gene == 0
    assert len(found.gene1) == own.sum() * (second.sets.gene == 0).sum() == 4
    of_second = [second.markers.index(name) for name in first.markers[:25]]
    for pair in range(4):
        bf1 = first.log_bf[first.gene == 0][:25, found.cs_id1[pair] - 1]
        bf2 = second.log_bf[second.gene == 0][of_second, found.cs_id2[pair] - 1]
        expected = by_sums(bf1, bf2, 1e-4, 1e-4, 5e-6)
        np.testing.assert_allclose(found.posterior[pair], expected, rtol=1e-7, atol=1e-14)
        both = np.exp(bf1 + bf2)
        assert found.marker[pair] == both.argmax()
        assert found.marker_posterior[pair] == pytest.approx(both.max() / both.sum())
    assert (found.nsnps == 25).all()
    table = found.to_pandas()
    (same,) = np.flatnonzero(table["pp_h4_abf"] > 0.9)
    assert table["variant_id"][same] == "rs4"
    assert (table["phenotype_id1"] == "a").all()
    # Without its own marker in the other run little is left of an effect.
    np.testing.assert_allclose(found.shared2, 1)
    assert found.shared1.min() > 0.999


def test_genes_without_a_marker_in_common_have_no_probability(runs):
    first, second = runs
    elsewhere = replace(second, markers=tuple(f"other{j}" for j in range(25)))
    found = lmm.coloc(first, elsewhere)
    assert not found.nsnps.any()
    assert np.isnan(found.posterior).all()
    assert (found.marker == -1).all()
    assert found.to_pandas()["variant_id"].isna().all()


def test_genes_are_compared_by_name_by_number_or_as_asked(runs):
    first, second = runs
    swapped = replace(second, traits=("b", "a"))
    assert lmm.coloc(first, swapped).gene1.size == 0  # b of the first run has no set
    assert lmm.coloc(first, swapped, [(0, 0)]).gene1.size == 4
    unnamed = replace(first, traits=None)
    assert lmm.coloc(unnamed, swapped).gene1.size == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p12": 0.0}, "p12 must be above 0"),
        ({"genes": [(0, 2)]}, "none of the 2 and 2"),
        ({"genes": [0, 1]}, r"shape \(2,\)"),
    ],
)
def test_what_cannot_be_used_is_named(runs, arguments, message):
    with pytest.raises(ValueError, match=message):
        lmm.coloc(*runs, **arguments)
