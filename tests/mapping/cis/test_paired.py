"""A covariate of a gene's own: as in a null model of the gene alone, with it among the others."""

import jax
import numpy as np
import pytest
from helpers import random_kinship, with_variance

import lmmlite_jax as lmm

N, M, GENES = 50, 300, 3
PAIRED = [0, 2]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(5)
    K = random_kinship(rng, N)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    G = rng.binomial(2, 0.3, (N, M)).astype(float)
    C = rng.standard_normal((N, GENES))
    Y = with_variance(rng, K, 0.5, GENES) + 2 * C + G[:, [7, 100, 250]]
    Y[[3, 4], 2] = C[[3, 4], 2] = np.nan
    C[:, 1] = np.nan
    windows = np.array([[0, 60], [80, 120], [220, 300]])
    return K, Y, X, G, C, windows


def interactions(null, X, G, windows):
    return list(lmm.map_cis_interaction(null, G, windows, X[:, 1]))


def best(null, X, G, windows):
    return lmm.map_cis(null, G, windows, permutations=100)


def fits(null, X, G, windows):
    return null.fit


NAMES = {
    interactions: ("marker", "b_gi", "log10p_gi", "pval_i", "hsq", "n"),
    best: ("marker", "slope", "pval_perm", "true_df", "hsq", "n"),
    fits: ("hsq", "sigmasq", "loglik", "n"),
}


@pytest.mark.parametrize("search", NAMES)
def test_a_gene_is_mapped_beside_its_covariate(problem, search):
    K, Y, X, G, C, windows = problem
    together = search(lmm.NullModel(K, Y, X, paired_covariates=C), X, G, windows)
    for gene in range(GENES):
        beside = np.column_stack([X, np.nan_to_num(C[:, gene])]) if gene in PAIRED else X
        alone = search(lmm.NullModel(K, Y[:, [gene]], beside), X, G, windows[[gene]])
        ours = together
        if isinstance(together, list):
            (ours,) = [one for one in together if gene in one.genes]
            (alone,) = alone
        for name in NAMES[search]:
            values = np.asarray(getattr(ours, name))
            if hasattr(ours, "gene") and values.shape == ours.gene.shape:
                values = values[ours.gene == gene]
            elif len(values) == GENES:
                values = values[[gene]]
            np.testing.assert_allclose(values, getattr(alone, name), rtol=1e-7, err_msg=name)


def test_columns_of_a_frame_are_some_of_the_traits(problem):
    pd = pytest.importorskip("pandas")
    K, Y, X, _, C, _ = problem
    named = pd.DataFrame(Y, columns=list("abc"))
    some = pd.DataFrame(C, columns=list("abc"))[["c", "a"]]
    found = lmm.NullModel(K, named, X, paired_covariates=some).fit.hsq
    np.testing.assert_array_equal(found, lmm.NullModel(K, Y, X, paired_covariates=C).fit.hsq)
    with pytest.raises(ValueError, match="has a column 'd', and Y has no such trait"):
        lmm.NullModel(K, named, X, paired_covariates=some.rename(columns={"a": "d"}))


def test_a_gene_without_room_for_its_covariate_or_along_the_others_says_so(problem):
    K, Y, X, G, C, windows = problem
    few = Y.copy()
    few[4:, 0] = np.nan  # p + 2 individuals
    along = C.copy()
    along[:, 2] = np.where(np.isnan(C[:, 2]), np.nan, 3 * X[:, 1])
    found = lmm.map_cis(
        lmm.NullModel(K, few, X, paired_covariates=along), G, windows, permutations=20
    )
    assert found.reasons[0] == "fewer than p + 2 individuals observed"
    assert found.reasons[1] == ""
    assert "a covariate of its own, paired or another marker, is collinear" in found.reasons[2]


def test_no_scan_inside_a_trace_forgets_it(problem):
    K, Y, X, G, C, _ = problem
    null = lmm.NullModel(K, Y, X, paired_covariates=C)
    with pytest.raises(ValueError, match="inside a trace a null model has no paired_covariates"):
        jax.jit(lambda G: lmm.scan(null, G).log10p)(G)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda C: C[:, :2], "must have a column for each of the 3 traits"),
        (lambda C: np.where(np.arange(N)[:, None] == 7, np.nan, C), "no value for individual 7"),
        (lambda C: C[1:], "must have shape"),
    ],
)
def test_what_cannot_be_is_refused_at_once(problem, change, message):
    K, Y, X, _, C, _ = problem
    with pytest.raises(ValueError, match=message):
        lmm.NullModel(K, Y, X, paired_covariates=change(C))
