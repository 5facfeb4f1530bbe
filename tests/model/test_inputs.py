"""Bad input gets one clear sentence, and one bad trait does not touch its neighbours."""

import warnings
from functools import partial
from itertools import combinations

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax.model.study import as_study


@pytest.fixture(scope="module")
def good():
    rng = np.random.default_rng(0)
    K = random_kinship(rng, 30)
    X = np.column_stack([np.ones(30), rng.standard_normal(30), rng.integers(0, 2, 30)])
    return K, with_variance(rng, K, 0.5, 6), X


def both_doors(K, Y, X=None):
    """Whoever is asked, the sentence is the same."""
    messages = []
    for door in (lmm.eigen_rotation, lmm.fit_traits):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 the caller checks the message
            door(K, Y, X)
        messages.append(str(caught.value))
    return messages


def broken(K, i, j, value):
    K = K.copy()
    K[i, j] = value
    return K


def test_kinship_that_is_not_square(good):
    K, Y, _ = good
    for message in both_doors(K[:, :20], Y):
        assert "K must be a square kinship matrix (n, n), got shape (30, 20)" in message


def test_kinship_that_is_not_symmetric(good):
    K, Y, _ = good
    for message in both_doors(np.tril(K), Y):
        assert "K is not symmetric: K[" in message
        assert "not one triangle" in message
    names = [f"id{i}" for i in range(30)]
    for message in both_doors(pd.DataFrame(np.tril(K), names, names), Y):
        assert "K is not symmetric: K['id" in message


def test_kinship_with_missing_values(good):
    K, Y, _ = good
    for message in both_doors(broken(broken(K, 3, 4, np.nan), 4, 3, np.nan), Y):
        assert "K has 2 missing or infinite values, the first at [3, 4]" in message


def test_kinship_that_is_not_positive_semidefinite(data_dir):
    from lmmlite_jax.data import read_kinship

    K = read_kinship(data_dir / "geuvadis" / "Geuvadis_chr1_kinship.normalized.txt")
    Y = np.random.default_rng(0).standard_normal((len(K), 3))
    for message in both_doors(K, Y):
        assert "K is not positive semidefinite: its smallest eigenvalue is -0.1961" in message
        assert "clip_negative=True" in message
    fit = lmm.fit_traits(K, Y, clip_negative=True)
    rot = lmm.eigen_rotation(K, Y, clip_negative=True)
    assert not any(fit.reasons)
    assert float(rot.Kva.min()) == 0
    expected = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    np.testing.assert_allclose(np.asarray(fit.hsq), np.asarray(expected.hsq), atol=1e-7)


def test_kinship_without_a_positive_eigenvalue(good):
    _, Y, _ = good
    for message in both_doors(np.zeros((30, 30)), Y):
        assert "K has no positive eigenvalue" in message
    for door in (lmm.eigen_rotation, lmm.fit_traits):
        with pytest.raises(ValueError, match="mean diagonal of -1"):
            door(-np.eye(30), Y, scale_kinship=True)


def test_missing_values_of_nullable_columns_and_masked_arrays(good):
    K, Y, _ = good
    expected = broken(Y, 3, 2, np.nan)
    frame = pd.DataFrame(expected).astype("Float64")
    masked = np.ma.masked_array(Y, np.isnan(expected))
    for Y_missing in (frame, masked):
        fit = lmm.fit_traits(K, Y_missing)
        np.testing.assert_array_equal(fit.n, [30, 30, 29, 30, 30, 30])


def test_inside_a_trace_missing_values_are_nan_with_a_reason(good):
    K, Y, _ = good
    with jax.enable_x64(True):
        fit = jax.jit(lambda y: lmm.fit_traits(K, y))(broken(Y, 3, 2, np.nan))
    assert "missing values" in fit.reasons[2]
    assert np.isnan(np.asarray(fit.hsq)[2])
    assert not any(np.delete(np.array(fit.reasons), 2))


def test_traits_of_the_wrong_length(good):
    K, Y, _ = good
    for name, message in zip("yY", both_doors(K, Y[:20]), strict=True):
        assert f"{name} must have shape (30,) or (30, m)" in message
        assert "got shape (20, 6)" in message


def test_covariates_of_the_wrong_length(good):
    K, Y, X = good
    for message in both_doors(K, Y, X[:20]):
        assert "X must have shape (30, p)" in message


def test_covariates_without_columns(good):
    K, Y, X = good
    for message in both_doors(K, Y, X[:, :0]):
        assert "X has no columns" in message


def test_covariates_without_an_intercept_are_said(good):
    K, Y, X = good
    study = partial(as_study, K, Y, weights=None, clip_negative=False, scale_kinship=False)
    with pytest.warns(UserWarning, match="X has no intercept: add a column of ones"):
        study(X[:, 1:])
    with warnings.catch_warnings(action="error"):
        study(X)
        study(np.column_stack([X[:, 2], 1 - X[:, 2]]))


def test_rank_deficient_covariates_name_the_column(good):
    K, Y, X = good
    doubled = np.column_stack([X, X[:, 1] - 2 * X[:, 0]])
    for message in both_doors(K, Y, doubled):
        assert "X is rank-deficient: column 3 (counted from 0)" in message
    frame = pd.DataFrame(doubled, columns=["intercept", "age", "sex", "age again"])
    for message in both_doors(K, Y, frame):
        assert "X is rank-deficient: column 'age again'" in message


def test_covariates_with_missing_values(good):
    K, Y, X = good
    for message in both_doors(K, Y, broken(X, 2, 1, np.nan)):
        assert "X has 1 missing or infinite values, the first at [2, 1]" in message


def test_missing_phenotypes_are_for_fit_traits(good):
    K, Y, _ = good
    with pytest.raises(ValueError, match=r"y has 1 missing .* use fit_traits"):
        lmm.eigen_rotation(K, broken(Y, 0, 0, np.nan))


@pytest.mark.parametrize("scale", [1e20, 1e-16])
def test_a_kinship_at_whose_scale_a_heritability_has_no_digits(good, scale):
    K, y, _ = good
    with pytest.raises(ValueError, match=r"K has a mean diagonal of .*scale_kinship=True"):
        lmm.fit_traits(scale * K, y)
    with pytest.raises(ValueError, match=r"K has a mean diagonal of .*scale_kinship=True"):
        lmm.eigen_rotation(scale * K, y)
    given, unit = (lmm.fit_traits(s * K, y, scale_kinship=True).hsq for s in (scale, 1.0))
    np.testing.assert_allclose(given, unit, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_units_whose_squares_no_double_holds(good, scale):
    K, y, X = good
    with pytest.raises(ValueError, match=r"Y has numbers of size .* another unit"):
        lmm.fit_traits(K, scale * y)
    with pytest.raises(ValueError, match=r"X has numbers of size .* column 0 .* another unit"):
        lmm.eigen_rotation(K, y, scale * X)


def test_infinite_phenotypes(good):
    K, Y, _ = good
    for message in both_doors(K, broken(Y, 0, 0, np.inf)):
        assert "has infinite values" in message


def test_text_where_numbers_should_be(good):
    K, Y, X = good
    frame = pd.DataFrame(X, columns=["intercept", "age", "sex"]).astype({"sex": object})
    frame.loc[4, "sex"] = "male"
    for message in both_doors(K, Y, frame):
        assert "X must hold numbers (columns intercept, age, sex)" in message
        assert "'male'" in message


def test_frames_in_different_orders_are_refused(good):
    K, Y, _ = good
    ids = [f"mouse{i}" for i in range(30)]
    kinship = pd.DataFrame(K, ids, ids)
    pheno = pd.DataFrame(Y, ids).iloc[::-1]
    for message in both_doors(kinship, pheno):
        assert "row 0 is 'mouse0' in K and 'mouse29'" in message
        assert ".loc[K.index]" in message


IDS = [f"mouse{i}" for i in range(30)]
SHUFFLED = [*IDS[:4], *IDS[:3:-1]]


def test_a_kinship_whose_rows_and_columns_are_in_different_orders(good):
    K, Y, _ = good
    for frame in (pd.DataFrame(K, IDS, SHUFFLED), pd.DataFrame(K, SHUFFLED, IDS)):
        for message in both_doors(frame, Y):
            assert "K names its rows and columns differently: row 4 is " in message
            assert "K.loc[:, K.index]" in message


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(columns=IDS), pl.DataFrame(schema=IDS)], ids=["pandas", "Polars"]
)
def test_a_kinship_that_names_its_columns_alone_is_named_by_them(good, frame):
    K, Y, X = good
    kinship = type(frame)(dict(zip(IDS, K.T, strict=True)))
    for message in both_doors(kinship, pd.DataFrame(Y, SHUFFLED)):
        assert "row 4 is 'mouse4' in K and 'mouse29' in" in message
        assert ".loc[K.columns]" in message
    lmm.eigen_rotation(kinship, pd.DataFrame(Y, IDS), X)


def test_numbered_columns_of_a_kinship_name_no_one(good):
    K, Y, _ = good
    pheno = pd.DataFrame(Y, IDS)
    numbered = pd.DataFrame(K, IDS, pd.Index([*range(1, 31)]))  # as read without a header
    for kinship in (numbered, pd.DataFrame(K), pd.DataFrame(K, IDS), pl.DataFrame(K)):
        assert lmm.eigen_rotation(kinship, pheno).y.shape == (30, 6)


WINDOWS = np.repeat([[0, 3]], 6, axis=0)


def against_null(search, **more):
    """One function of a null model and of what is tested against it."""

    def search_with(K, Y, X, weights, **tested):
        return search(lmm.NullModel(K, Y, X, weights=weights), **tested, **more)

    return search_with


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lmm.fit_traits, ["K", "Y", "X", "weights"]),
        (lmm.eigen_rotation, ["K", "y", "X"]),
        (lmm.projected_rotation, ["K", "X"]),
        (lmm.heritability, ["K", "y", "X"]),
        (lmm.fit_components, ["kinships", "y", "X"]),
        (lmm.NullModel, ["K", "Y", "X", "weights"]),
        (against_null(lmm.scan), ["K", "Y", "X", "weights", "G", "interaction"]),
        (against_null(lmm.permutation_threshold), ["K", "Y", "X", "weights", "G", "interaction"]),
        (against_null(lmm.map_cis, windows=WINDOWS), ["K", "Y", "X", "weights", "G"]),
        (
            against_null(lmm.map_cis_interaction, windows=WINDOWS),
            ["K", "Y", "X", "weights", "G", "interaction"],
        ),
    ],
)
def test_any_two_tables_that_name_individuals_name_them_in_one_order(good, function, arguments):
    K, Y, X = good
    rng = np.random.default_rng(1)
    values = {"K": K, "Y": Y, "y": Y, "X": X, "weights": np.ones(30), "kinships": K}
    values |= {"G": rng.standard_normal((30, 3)), "interaction": X[:, 1]}

    def given(names):
        known = {}
        for name in arguments:
            value = values.get(name)
            if name in names and name in ("K", "kinships"):
                value = pd.DataFrame(value, names[name], names[name])
            elif name in names:
                value = (pd.Series if value.ndim == 1 else pd.DataFrame)(value, names[name])
            known[name] = [value] if name == "kinships" else value
        return known

    for one, other in combinations(arguments, 2):
        with pytest.raises(ValueError, match="name different individuals: row 4"):
            function(**given({one: IDS, other: SHUFFLED}))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_names_come_back_where_a_frame_came_in(good, frame):
    K, Y, X = good
    names, covariates = [f"gene{j}" for j in range(6)], ["intercept", "age", "sex"]
    pheno = frame(dict(zip(names, Y.T, strict=True)))
    covar = frame(dict(zip(covariates, X.T, strict=True)))
    rot = lmm.eigen_rotation(K, pheno, covar)
    assert (rot.traits, rot.covariates) == (tuple(names), tuple(covariates))
    fit = lmm.fit_traits(K, pheno, covar)
    assert (fit.traits, fit.covariates) == (tuple(names), tuple(covariates))
    table = fit.to_pandas()
    assert list(table.index) == names
    assert list(table.columns) == [
        *("n", "hsq", "sigmasq", "sigmasq_g", "sigmasq_e", "loglik", "lrt", "lrt_pvalue"),
        *("beta_intercept", "beta_age", "beta_sex", "reason"),
    ]


def test_a_frame_without_traits_named_gets_numbers_in_its_table(good):
    K, Y, _ = good
    table = lmm.fit_traits(K, Y).to_pandas()
    assert list(table.index) == list(range(6))
    assert "beta_intercept" in table


class TestOneBadTraitAmongMany:
    """It is NaN with a reason; the others are what they are without it."""

    def fit(self, good, bad, X=None):
        K, Y, _ = good
        alone = lmm.fit_traits(K, Y, X)
        among = lmm.fit_traits(K, np.column_stack([Y[:, :3], bad, Y[:, 3:]]), X)
        for name in ("hsq", "loglik", "sigmasq", "beta"):
            kept = np.delete(np.asarray(getattr(among, name)), 3, axis=-1)
            np.testing.assert_allclose(kept, np.asarray(getattr(alone, name)), rtol=1e-9)
        assert not any(alone.reasons)
        assert np.isnan(np.asarray(among.hsq)[3])
        assert np.isnan(np.asarray(among.beta)[:, 3]).all()
        assert [bool(r) for r in among.reasons] == [False] * 3 + [True] + [False] * 3
        return among

    @pytest.mark.parametrize("value", [0.0, 5.0, 1e9, -1e-9])
    def test_constant(self, good, value):
        fit = self.fit(good, np.full(30, value))
        assert "constant" in fit.reasons[3]

    def test_linear_combination_of_the_covariates(self, good):
        X = good[2]
        fit = self.fit(good, 3 + 2 * X[:, 1], X)
        assert "linear combination of the covariates" in fit.reasons[3]

    def test_all_missing(self, good):
        fit = self.fit(good, np.full(30, np.nan))
        assert "no individual observed" in fit.reasons[3]
        assert int(fit.n[3]) == 0

    def test_fewer_than_p_plus_2_observed(self, good):
        y = np.full(30, np.nan)
        y[:4] = [1, 3, 2, 5]
        fit = self.fit(good, y, good[2])
        assert "fewer than p + 2 individuals" in fit.reasons[3]
        assert int(fit.n[3]) == 4

    def test_covariate_constant_among_those_observed(self, good):
        X = good[2]
        y = np.where(X[:, 2] == 1, np.random.default_rng(0).standard_normal(30), np.nan)
        frame = pd.DataFrame(X, columns=["intercept", "age", "sex"])
        fit = self.fit(good, y, frame)
        assert "covariate 'sex' is collinear" in fit.reasons[3]

    def test_constant_among_those_observed(self, good):
        fit = self.fit(good, np.where(np.arange(30) < 10, np.nan, 2.5))
        assert "constant" in fit.reasons[3]


def test_when_no_trait_can_be_fitted_all_say_why(good):
    fit = lmm.fit_traits(good[0], np.full((30, 2), np.nan))
    assert fit.reasons == ("no individual observed",) * 2


def test_precision_that_is_neither(good):
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got 'float16'"):
        lmm.fit_traits(good[0], good[1], dtype="float16")
