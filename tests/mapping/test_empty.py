"""Empty in, empty out: tables have their columns without markers, traits or hits."""

import numpy as np
import pandas as pd
import pytest
from helpers import random_kinship, with_variance

import lmmlite_jax as lmm

N = 30
RNG = np.random.default_rng(21)
K = random_kinship(RNG, N)
Y = with_variance(RNG, K, 0.4, 3)
G = RNG.binomial(2, 0.4, (N, 6)).astype(float)
E = RNG.standard_normal(N)
X = np.column_stack([np.ones(N), E])
LABELS = np.array(["1", "1", "1", "2", "2", "2"])


def scan_of(**options):
    def scan(Y, G, windows):
        return [lmm.scan(lmm.NullModel(K, Y, X), G, **options).to_pandas()]

    return scan


def scan_by_chromosome(Y, G, windows):
    labels = LABELS[: G.shape[1]]
    null = lmm.NullModel({"1": K, "2": K}, Y, X)
    return [lmm.scan(null, G, chromosome=labels, keep="best").to_pandas()]


def cis(Y, G, windows):
    null = lmm.NullModel(K, Y, X)
    result = lmm.map_cis(null, G, windows, permutations=20)
    found = lmm.map_cis_independent(null, G, windows, result, threshold=0.9, permutations=20)
    return [result.to_pandas(), found.to_pandas()]


def susie(Y, G, windows):
    found = lmm.map_cis_susie(lmm.NullModel(K, Y, X), G, windows, max_effects=2)
    return [
        found.to_pandas()[:0],
        found.sets_to_pandas()[:0],
        lmm.coloc(found, found).to_pandas()[:0],
    ]


def each(search, *more, **options):
    def tables(Y, G, windows):
        given = more if search is lmm.map_trans else (windows, *more)
        return [one.to_pandas() for one in search(lmm.NullModel(K, Y, X), G, *given, **options)]

    return tables


def fits(Y, G, windows):
    options = {"compute_se": True, "interval": 0.9, "simulations": 200, "blup": True}
    return [lmm.fit_traits(K, Y, X, **options).to_pandas()]


TABLES = {
    "scan": scan_of(),
    "refit": scan_of(variance="refit", test="lrt"),
    "best": scan_of(keep="best"),
    "best refit": scan_of(keep="best", variance="refit"),
    "hits": scan_of(keep=0.01),
    "interaction": scan_of(interaction=E, keep=0.01),
    "chromosomes": scan_by_chromosome,
    "cis": cis,
    "nominal": each(lmm.map_cis_nominal),
    "cis interaction": each(lmm.map_cis_interaction, E),
    "susie": susie,
    "trans": each(lmm.map_trans, threshold=0.9),
    "fits": fits,
    "components": lambda Y, G, windows: [lmm.fit_components([K], Y, X).to_pandas()],
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_without_markers_or_traits_have_the_columns_of_others(name):
    table = TABLES[name]
    windows = np.array([[0, 3], [1, 3], [3, 6]])
    usual = table(Y, G, windows)
    for M, m in ((0, 3), (6, 0), (0, 0)):
        # The best marker of a trait, and its fit, has a row where there is no marker too.
        rows = m if name in ("best", "best refit", "chromosomes", "fits", "components") else 0
        for found, expected in zip(
            table(Y[:, :m], G[:, :M], windows[:m] * (M > 0)), usual, strict=False
        ):
            assert list(found.columns) == list(expected.columns)
            assert len(found) == rows


@pytest.mark.parametrize("variance", ["null", "refit"])
def test_a_threshold_that_nothing_reaches_leaves_an_empty_table(variance):
    null = lmm.NullModel(K, Y, X)
    result = lmm.scan(null, G, variance=variance, keep=300.0)
    assert result.marker.size == result.log10p_columns.size == 0
    assert result.to_pandas().shape == (0, 7)
    pairs = list(lmm.map_trans(null, G, variance=variance, threshold=1e-300))
    assert [len(one.to_pandas()) for one in pairs] == [0]


def test_shapes_without_markers_or_traits():
    null, no_trait = lmm.NullModel(K, Y, X), lmm.NullModel(K, Y[:, :0], X)
    assert lmm.scan(no_trait, G).beta.shape == (6, 0)
    assert lmm.scan(null, G[:, :0]).beta.shape == (0, 3)
    several = lmm.NullModel({"1": K}, Y, X)
    assert lmm.scan(several, G[:, :0], chromosome=np.array([], dtype=str)).hsq.shape == (0, 3)
    assert lmm.permutation_threshold(no_trait, G, permutations=20).shape == (0,)
    assert np.isnan(lmm.permutation_threshold(null, G[:, :0], permutations=20)).all()
    assert lmm.fit_traits(K, Y[:, :0], X, compute_se=True, blup=True).blup.shape == (N, 0)
    with pytest.raises(ValueError, match="give at least one individual and marker"):
        lmm.kinship(G[:, :0])
    with pytest.raises(ValueError, match="K has no individuals"):
        lmm.fit_traits(np.zeros((0, 0)), np.zeros((0, 2)))


def test_no_signal_has_a_table_with_names():
    """Numbers of markers that are not there are whole numbers too: they look up names."""
    y, g = pd.DataFrame(Y, columns=list("abc")), pd.DataFrame(G, columns=list("uvwxyz"))
    null, windows = lmm.NullModel(K, y, X), np.array([[0, 3], [1, 3], [3, 6]])
    result = lmm.map_cis(null, g, windows, permutations=20)
    found = lmm.map_cis_independent(null, g, windows, result, threshold=1e-12, permutations=20)
    assert found.marker.dtype == found.gene.dtype == np.int64
    assert found.to_pandas(position=np.arange(6), start=np.arange(3)).empty


def test_traits_that_cannot_be_fitted_have_all_fields_asked_for():
    none = np.full((N, 2), np.nan)
    fit = lmm.fit_traits(K, none, X, compute_se=True, interval=0.95, blup=True)
    for name in ("beta_se", "hsq_se", "hsq_low", "lrt_pvalue_simulated", "blup"):
        assert np.isnan(getattr(fit, name)).all()


def test_summaries_of_nothing():
    for lod in (np.zeros((0, 2)), np.zeros((4, 0)), np.zeros(0)):
        places = np.arange(len(lod)), ["1"] * len(lod)
        assert lmm.lod_peaks(lod, *places, 3.0).shape == (0, 7)
    assert np.isnan(lmm.genomic_inflation(np.zeros(0)))
    assert np.isnan(lmm.genomic_inflation(np.zeros((0, 2)))).tolist() == [True, True]
    assert lmm.genomic_inflation(np.zeros((4, 0))).shape == (0,)
    for pvalues in ([], [np.nan]):
        qvalue, pi0 = lmm.q_values(pvalues)
        assert qvalue.size == len(pvalues)
        assert np.isnan([*qvalue, pi0]).all()
        assert lmm.nominal_thresholds(*[pvalues] * 3).shape == (len(pvalues),)
