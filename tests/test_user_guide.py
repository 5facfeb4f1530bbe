"""The user guide of R/lmmlite on its own data: every figure in it, digit for digit as printed."""

import numpy as np
import pytest

import lmmlite_jax as lmm


def printed(value: float, digits: int = 7) -> str:
    """A number as R prints it: so many significant digits."""
    return np.format_float_positional(
        float(value), precision=digits, fractional=False, unique=False, trim="-"
    )


@pytest.fixture(scope="module")
def rot(recla):
    return lmm.eigen_rotation(recla.kinship, recla.pheno.iloc[:, 0], recla.covar)


def test_the_data_are_261_mice_26_phenotypes_intercept_and_sex(recla):
    assert recla.kinship.shape == (261, 261)
    assert recla.pheno.shape == (261, 26)
    assert list(recla.covar.columns) == ["intercept", "sex"]
    assert set(recla.covar["sex"]) == {0, 1}


def test_solution_at_one_half(rot):
    solution = lmm.get_ml_soln(0.5, rot.Kva, rot.y, rot.X)
    assert [f"{b:.5f}" for b in np.asarray(solution.beta)] == ["1413.98691", "-28.17931"]
    assert printed(solution.sigmasq) == "276158.5"


def test_log_likelihood_over_the_grid_peaks_where_the_picture_does(rot):
    hsq = np.arange(101) / 100
    ll = np.asarray(lmm.calc_ll(hsq, rot.Kva, rot.y, rot.X))
    assert hsq[np.argmax(ll)] == 0.76


def test_fit(rot):
    """R's Brent stops within 1e-4: its hsq, and what follows from it, are those at 0.7642841."""
    fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    assert printed(fit.loglik, 6) == "-2332.84"
    assert abs(float(fit.hsq) - 0.7642841) < 1e-4

    guide = lmm.get_ml_soln(0.7642841, rot.Kva, rot.y, rot.X)
    assert [f"{b:.5f}" for b in np.asarray(guide.beta)] == ["1417.98330", "-23.24218"]
    sigmasq = float(guide.sigmasq)
    assert printed(sigmasq) == "295340.5"
    assert printed(0.7642841 * sigmasq) == "225724.1"
    assert printed((1 - 0.7642841) * sigmasq) == "69616.46"
    assert printed(lmm.calc_ll(0.7642841, rot.Kva, rot.y, rot.X), 6) == "-2332.84"


def test_fit_with_the_guides_tolerance_is_within_it(rot):
    fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X, tol=1e-4)
    assert float(fit.sigmasq) == pytest.approx(295340.5, rel=1e-4)
    assert float(fit.sigmasq_g) == pytest.approx(225724.1, rel=1e-4)
    assert float(fit.sigmasq_e) == pytest.approx(69616.46, rel=1e-4)
    np.testing.assert_allclose(np.asarray(fit.beta), [1417.98330, -23.24218], rtol=1e-5)
