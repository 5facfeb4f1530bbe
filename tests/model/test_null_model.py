"""A null model is checked, decomposed and fitted once, whatever is tested against it."""

from dataclasses import fields

import numpy as np
import pytest
from helpers import dense_loglik, random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.model import null_model
from lmmlite_jax.model.engine import Engine
from lmmlite_jax.model.precision import double_precision


def problem(m=6, n=40, M=30):
    rng = np.random.default_rng(1)
    K = random_kinship(rng, n)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    G = rng.binomial(2, 0.4, (n, M)).astype(float)
    Y = with_variance(rng, K, 0.5, m)
    Y[:3, 1::2] = np.nan
    return K, Y, G, X


@pytest.fixture
def counted(monkeypatch):
    """How often kinships were decomposed, and blocks of traits fitted."""
    counts = {"decompose": 0, "fit": 0}

    def counting(name):
        original = getattr(Engine, name)

        def counted(*arguments, **options):
            counts[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(Engine, name, counted)

    counting("decompose")
    counting("fit")
    return counts


def everything(null, G, windows, chromosome):
    """A scan, its thresholds, best and all pairs near genes, pairs over a threshold, and fits."""
    shared = {"chromosome": chromosome}
    scan = lmm.scan(null, G, **shared)
    limits = lmm.permutation_threshold(null, G, permutations=20, **shared)
    cis = lmm.map_cis(null, G, windows, permutations=20, **shared)
    nominal = [one.slope for one in lmm.map_cis_nominal(null, G, windows, **shared)]
    trans = [one.log10p for one in lmm.map_trans(null, G, threshold=0.1, **shared)]
    fits = null.fit if isinstance(null.fit, dict) else {"": null.fit}
    hsq = [fit.hsq for fit in fits.values()]
    return [scan.log10p, limits, cis.pval_beta, *nominal, *trans, *hsq]


@pytest.mark.parametrize("several", [False, True])
def test_a_scan_its_thresholds_and_cis_share_one_decomposition_and_fit(
    several, counted, monkeypatch
):
    K, Y, G, X = problem()
    chromosome = np.repeat(["1", "2"], 15)
    kinships = {"1": K, "2": 0.5 * K + 0.5 * np.eye(40)} if several else K
    windows = np.array([[0, 9], [16, 30], [15, 25], [2, 5], [3, 15], [20, 30]])
    null = lmm.NullModel(kinships, Y, X)
    lmm.scan(null, G, chromosome=chromosome)
    once = dict(counted)
    assert once["decompose"] == len(null.kinship_labels) * 2  # padded to the sizes 37 and 40
    kept = everything(null, G, windows, chromosome)
    assert counted == once
    monkeypatch.setattr(null_model, "KEPT_BYTES", 0)
    streamed = everything(lmm.NullModel(kinships, Y, X), G, windows, chromosome)
    assert counted["decompose"] > 4 * once["decompose"]
    for one, other in zip(kept, streamed, strict=True):
        # Of several kinships each is for the genes of its chromosome alone, where nothing is kept:
        # the same sums in blocks of other sizes.
        np.testing.assert_allclose(one, other, rtol=1e-10 if several else 0)


@pytest.mark.parametrize("reml", [True, False])
def test_its_fit_is_that_of_fit_traits_and_carries_names(reml):
    pd = pytest.importorskip("pandas")
    K, Y, _, X = problem()
    Y = pd.DataFrame(Y, columns=list("abcdef"))
    X = pd.DataFrame(X, columns=["intercept", "age"])
    weights = np.linspace(0.5, 2, 40)
    kinships = {"1": K, 2: 0.5 * K + 0.5 * np.eye(40)}
    null = lmm.NullModel(kinships, Y, X, weights=weights, reml=reml)
    assert list(null.fit) == ["1", "2"] == list(null.chromosomes)
    for fit, kinship in zip(null.fit.values(), kinships.values(), strict=True):
        expected = lmm.fit_traits(kinship, Y, X, weights=weights, reml=reml)
        assert (fit.traits, fit.covariates) == (expected.traits, expected.covariates)
        assert fit.covariates == ("intercept", "age") == null.covariates
        assert fit.reasons == expected.reasons
        for item in fields(lmm.LMMFit):
            values = getattr(expected, item.name)
            if hasattr(values, "dtype"):
                np.testing.assert_array_equal(getattr(fit, item.name), values, item.name)
    one = lmm.NullModel(K, Y, X, weights=weights, reml=reml).fit
    np.testing.assert_array_equal(one.loglik, null.fit["1"].loglik)


@pytest.mark.long
def test_data_given_are_not_changed():
    K, Y, G, X = problem()
    G[5, ::4] = np.nan
    Y[:, 5] = 2.0
    before = [given.copy() for given in (K, Y, G, X)]
    null = lmm.NullModel(K, Y, X, scale_kinship=True, clip_negative=True)
    everything(null, G, np.array([[0, 9]] * 6), None)
    lmm.scan(null, G, interaction=X[:, 1], variance="null", keep=1.0)
    lmm.scan(null, G, variance="refit", keep="best")
    for given, copy in zip((K, Y, G, X), before, strict=True):
        np.testing.assert_array_equal(given, copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"tol": -1.0}, "tol must be"),
        ({"K": {}}, "K is an empty dict"),
        ({"K": {"1": np.eye(40), "2": np.eye(39)}}, r"K\['2'\] is of 39 individuals"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(options, message):
    K, Y, _, X = problem()
    with pytest.raises(ValueError, match=message):
        lmm.NullModel(**{"K": K, "Y": Y, "X": X} | options)


@pytest.mark.parametrize("reml", [True, False])
def test_a_covariate_more_may_leave_a_singular_kinship_smaller_eigenvalues(reml):
    rng = np.random.default_rng(6)
    n, zeros = 40, 5
    K = random_kinship(rng, n, n - zeros)
    vectors = np.linalg.eigh(K)[1]
    X, y = np.ones((n, 1)), with_variance(rng, K, 0.6, 1)
    for part in (1e-1, 1e-4, 1e-6):  # of the covariate in the null space
        more = vectors[:, zeros:] @ rng.standard_normal((n - zeros, 1)) + part * vectors[:, [0]]
        with double_precision():
            block = lmm.NullModel(K, y, X, reml=reml).given(0, more, "")
        expected = lmm.fit_traits(K, y, np.column_stack([X, more]), reml=reml)
        assert block.hsq[0] == pytest.approx(float(expected.hsq[0]), abs=1e-7)
        found = float(expected.hsq[0])
        best, beside = (
            dense_loglik(h, K, y[:, 0], np.column_stack([X, more]), reml)
            for h in (found, np.clip(found + 0.01, 0, 0.999))
        )
        assert best >= beside - 1e-9
