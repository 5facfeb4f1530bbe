"""Heritabilities that R/lmmlite and R/qtl2 print on real data."""

import zipfile

import numpy as np
import pandas as pd
import pytest

import lmmlite_jax as lmm


@pytest.fixture(scope="module", params=[True, False], ids=["REML", "ML"])
def reml(request):
    return request.param


@pytest.fixture(scope="module")
def lmmlite(oracle_dir, reml):
    table = pd.read_csv(oracle_dir / "recla_lmmlite.csv")
    return table[table["reml"] == reml].set_index("phenotype")


def assert_agrees(fit, expected, reml):
    """Within the oracle's tolerances; ``fit`` has one trait for each of its rows."""
    loglik, hsq = np.asarray(fit.loglik), np.asarray(fit.hsq)
    # R's optimiser stops short of a boundary that its likelihood reaches.
    at_boundary = (expected["grid_hsq"].isin([0, 1])) & (expected["grid_ll"] >= expected["loglik"])
    exact = expected["grid_hsq"][at_boundary]
    np.testing.assert_array_equal(hsq[at_boundary], exact)
    np.testing.assert_allclose(hsq, expected["hsq"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(loglik, expected["loglik"], rtol=1e-9)
    assert np.all(loglik >= expected["loglik"] - 1e-9 * np.abs(expected["loglik"]))
    np.testing.assert_allclose(fit.sigmasq, expected["sigmasq"], rtol=1e-6)
    np.testing.assert_allclose(fit.sigmasq_g, expected["sigmasq_g"], rtol=4e-6, atol=1e-9)
    beta = expected[["beta_intercept", "beta_sex"]].to_numpy().T
    np.testing.assert_allclose(np.asarray(fit.beta), beta, rtol=1e-6)
    if reml:
        inside = (hsq > 1e-3) & (hsq < 1)
        # R differentiates numerically.
        np.testing.assert_allclose(
            np.asarray(fit.hsq_se)[inside], expected["hsq_se"][inside], rtol=1e-4
        )


def test_recla_in_one_call_with_missing_values(recla, lmmlite, reml):
    fit = lmm.fit_traits(recla.kinship, recla.pheno, recla.covar, reml=reml, compute_se=True)
    assert fit.traits == tuple(lmmlite.index)
    assert fit.covariates == ("intercept", "sex")
    np.testing.assert_array_equal(fit.n, lmmlite["n"])
    assert_agrees(fit, lmmlite, reml)


def test_recla_trait_by_trait(recla, lmmlite, reml):
    for name in recla.pheno:
        y = recla.pheno[name].dropna()
        rot = lmm.eigen_rotation(recla.kinship.loc[y.index, y.index], y, recla.covar.loc[y.index])
        fit = lmm.fit_lmm(rot.Kva, rot.y[:, None], rot.X, reml=reml, compute_se=True)
        assert_agrees(fit, lmmlite.loc[[name]], reml)


def test_recla_log_likelihood_profile(recla, oracle_dir, reml):
    profile = pd.read_csv(oracle_dir / "recla_loglik_profile.csv")
    rot = lmm.eigen_rotation(recla.kinship, recla.pheno.iloc[:, 0], recla.covar)
    ll = lmm.calc_ll(profile["hsq"].to_numpy(), rot.Kva, rot.y, rot.X, reml=reml)
    expected = profile["loglik_reml" if reml else "loglik_ml"]
    np.testing.assert_allclose(np.asarray(ll), expected, rtol=1e-10)


@pytest.fixture(scope="module")
def bxd(data_dir):
    with zipfile.ZipFile(data_dir / "bxd" / "bxd.zip") as archive:
        pheno = pd.read_csv(archive.open("bxd_pheno.csv"), index_col=0, comment="#")
    file = np.load(data_dir / "bxd" / "kinship_x2.npz")
    kinship = pd.DataFrame(file["kinship"], file["ids"], file["ids"])
    return kinship.loc[pheno.index, pheno.index], pheno


def test_bxd_in_908_patterns_of_missing_values(bxd, oracle_dir, reml, compilations):
    kinship, pheno = bxd
    expected = pd.read_csv(oracle_dir / "bxd_qtl2_herit.csv", dtype={"phenotype": str})
    before = compilations()
    fit = lmm.fit_traits(kinship, pheno, reml=reml)
    # Two for each of four sizes, and two more for the size of which there is one block.
    assert compilations() - before <= 10

    hsq = np.asarray(fit.hsq)
    assert fit.traits == tuple(expected["phenotype"])
    constant = expected["phenotype"].isin(["15868", "15912", "15919"]).to_numpy()
    np.testing.assert_array_equal(np.isnan(hsq), constant)
    assert all(("constant" in r) == c for r, c in zip(fit.reasons, constant, strict=True))

    theirs = expected["hsq_reml" if reml else "hsq_ml"].to_numpy()
    differ = np.flatnonzero(~constant & ~(np.abs(hsq - theirs) <= 1e-4))
    for j in differ:
        y = pheno.iloc[:, j].dropna()
        rot = lmm.eigen_rotation(kinship.loc[y.index, y.index], y)
        both = lmm.calc_ll(np.array([hsq[j], theirs[j]]), rot.Kva, rot.y, rot.X, reml=reml)
        assert both[0] >= both[1]
    assert len(differ) <= (0 if reml else 1)
    if not reml:
        regular = ~constant & ~np.isin(np.arange(len(hsq)), differ)
        np.testing.assert_allclose(
            np.asarray(fit.loglik)[regular], expected["loglik_ml"][regular], rtol=1e-6
        )
