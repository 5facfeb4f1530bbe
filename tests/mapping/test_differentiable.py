"""Fits and scans inside a trace: the same numbers, and derivatives that are differences of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmmlite_jax as lmm

EPS = 1e-5
"""Step of central differences."""

COHORT = lmm.simulate_cohort(n=50, m=3, hsq=[0.5, 0.7, 0.0], seed=4)
STRAINS = np.kron(np.eye(10), np.ones((5, 5)))


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def directions(*arrays):
    rng = np.random.default_rng(7)
    return tuple(rng.standard_normal(np.shape(a)) for a in arrays)


def numbers(result):
    """Fields of a result that have derivatives."""
    return {
        name: value
        for name, value in vars(result).items()
        if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)
    }


def check_derivatives(function, at, along):
    """Values of a trace are those outside, and its derivatives differences of those."""
    outside = {name: np.asarray(value) for name, value in function(*at).items()}
    inside, slopes = jax.jit(lambda a, v: jax.jvp(function, a, v))(at, along)
    plus, minus = (
        function(*(a + sign * EPS * v for a, v in zip(at, along, strict=True))) for sign in (1, -1)
    )
    for name, values in outside.items():
        known = np.isfinite(values)
        assert known.any()
        # Curvatures, of which standard errors are made, are the skeleton's weakest numbers.
        close = 1e-5 if name.endswith("_se") else 1e-6
        np.testing.assert_allclose(inside[name], values, rtol=close, atol=1e-8, err_msg=name)
        slope = np.asarray(slopes[name])[known]
        expected = (np.asarray(plus[name]) - np.asarray(minus[name]))[known] / (2 * EPS)
        near = close * (1 + np.max(np.abs(expected)))
        np.testing.assert_allclose(slope, expected, rtol=10 * close, atol=near, err_msg=name)
    return outside


class TestFitTraits:
    @pytest.mark.parametrize(("reml", "weighted"), [(True, True), (False, False)])
    def test_derivatives_in_phenotypes_and_covariates(self, reml, weighted):
        K = COHORT.kinship if weighted else 0.8 * COHORT.kinship + 0.2 * STRAINS
        weights = np.linspace(0.5, 2, 50) if weighted else None

        def fit(Y, X):
            options = {"compute_se": True, "blup": True, "weights": weights, "tol": 1e-12}
            return numbers(lmm.fit_traits(K, Y, X, reml=reml, **options))

        at = (COHORT.pheno, COHORT.covar)
        found = check_derivatives(fit, at, directions(*at))
        assert {"beta", "beta_se", "hsq", "hsq_se", "sigmasq_g", "loglik", "blup"} <= {*found}
        assert np.all((found["hsq"][:2] > 0.05) & (found["hsq"][:2] < 0.99))

    def test_a_collinear_covariate_is_no_number(self):
        X = np.column_stack([COHORT.covar, COHORT.covar[:, 1] * 2])
        fit = jax.jit(lambda X: lmm.fit_traits(COHORT.kinship, COHORT.pheno, X))(X)
        assert np.isnan(fit.beta).all()
        assert "collinear" in fit.reasons[0]

    def test_a_traced_kinship_has_no_derivative_here(self):
        with pytest.raises(NotImplementedError, match="use heritability or log_likelihood"):
            jax.grad(lambda K: lmm.fit_traits(K, COHORT.pheno).hsq.sum())(COHORT.kinship)


def markers(k):
    rng = np.random.default_rng(5)
    G = rng.binomial(2, 0.4, (50, 6, k)).astype(float)
    G[:, 2] = 1.0  # no test
    G[:, 4, -1] = G[:, 4, 0]  # a column that another spans
    return G if k > 1 else G[:, :, 0]


class TestScan:
    @pytest.mark.parametrize(
        ("test", "reml", "k"), [("wald", True, 2), ("lrt", False, 1), ("score", True, 1)]
    )
    def test_derivatives_in_phenotypes_covariates_and_genotypes(self, test, reml, k):
        chromosome = np.array([1, 2, 1, 2, 2, 1])
        K = {1: COHORT.kinship, 2: 0.5 * COHORT.kinship + 0.5 * STRAINS}

        def scan(Y, X, G):
            null = lmm.NullModel(K, Y, X, reml=reml, tol=1e-12)
            options = {"chromosome": chromosome, "test": test, "asymptotic": True}
            return numbers(lmm.scan(null, G, **options))

        at = (COHORT.pheno, COHORT.covar, markers(k))
        along = directions(*at)
        along[1][:, 0] = 0  # the intercept stays one, or marker 2 would begin to vary
        along[2][:, 2] = 0
        if k > 1:
            along[2][:, 4, 1] = along[2][:, 4, 0]
        assert {"beta", "se", "lod", "log10p", "hsq"} <= {*check_derivatives(scan, at, along)}

    def test_gradient_is_finite_beside_markers_and_traits_without_a_test(self):
        Y = np.column_stack([COHORT.pheno, np.ones(50)])
        at = (Y, COHORT.covar, markers(1))
        along = directions(*at)

        def total(Y, X, G):
            result = lmm.scan(lmm.NullModel(COHORT.kinship, Y, X), G)
            return sum(jnp.nansum(x) for x in (result.beta, result.se, result.log10p))

        gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*at)
        slope = jax.jit(lambda a, v: jax.jvp(total, a, v)[1])(at, along)
        both = sum(np.sum(g * v) for g, v in zip(gradient, along, strict=True))
        assert np.isfinite(slope)
        assert float(both) == pytest.approx(float(slope), rel=1e-9)

    def test_what_is_not_known_inside_a_trace_is_refused(self):
        K, Y, G = COHORT.kinship, COHORT.pheno, markers(1)

        def traced(**options):
            return jax.jit(lambda Y: lmm.scan(lmm.NullModel(K, Y), G, **options).lod)(Y)

        with pytest.raises(ValueError, match="keep must be 'all'"):
            traced(keep="best")
        with pytest.raises(ValueError, match="variance='null'"):
            traced(variance="refit")
        with pytest.raises(NotImplementedError, match="no derivative in K"):
            jax.jit(lambda K: lmm.scan(lmm.NullModel(K, Y), G).lod)(K)
        incomplete = np.where(np.arange(50)[:, None] == 3, np.nan, Y)
        with pytest.raises(ValueError, match="Y must be complete"):
            jax.jit(lambda G: lmm.scan(lmm.NullModel(K, incomplete), G).lod)(G)
