"""fit_lmm and fit_traits give the same global maximum, whatever the data are like."""

import jax
import numpy as np
import pytest
from helpers import centred, dense_effects, dense_loglik, random_kinship, with_variance

import lmmlite_jax as lmm
from lmmlite_jax import Status

GRID = np.concatenate([[0], 1 / (1 + np.geomspace(1e6, 1e-7, 4001)), [1]])


def by_rotation(K, Y, X=None, **options):
    rot = lmm.eigen_rotation(K, Y, X, clip_negative=True)
    return lmm.fit_lmm(rot.Kva, rot.y, rot.X, **options)


@pytest.fixture(params=[by_rotation, lmm.fit_traits], ids=["fit_lmm", "fit_traits"])
def fit_all(request):
    return request.param


def grid_loglik(K, Y, X, reml):
    rot = lmm.eigen_rotation(K, Y, X)
    return np.asarray(lmm.calc_ll(GRID, rot.Kva, rot.y, rot.X, reml=reml))


def assert_is_the_global_maximum(fit, K, Y, X, reml):
    """As large as the best of a fine grid, and what `calc_ll` says at the estimate."""
    best = np.max(grid_loglik(K, Y, X, reml), axis=0)
    loglik, hsq = np.asarray(fit.loglik), np.asarray(fit.hsq)
    assert np.all(loglik >= best - 1e-9 * np.abs(best))
    for j, y in enumerate(Y.T):
        if hsq[j] < 1:
            assert loglik[j] == pytest.approx(dense_loglik(hsq[j], K, y, X, reml), rel=1e-9)
            beta, sigmasq = dense_effects(hsq[j], K, y, X)
            np.testing.assert_allclose(np.asarray(fit.beta)[:, j], beta, rtol=1e-6, atol=1e-8)
            assert float(fit.sigmasq[j]) == pytest.approx(sigmasq, rel=1e-8)
    np.testing.assert_allclose(np.asarray(fit.sigmasq_g), hsq * np.asarray(fit.sigmasq))
    np.testing.assert_allclose(np.asarray(fit.sigmasq_e), (1 - hsq) * np.asarray(fit.sigmasq))


def design(rng, n, p):
    return np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(
    ("n", "p", "rank", "hsq"),
    [(12, 1, None, 0.5), (30, 3, None, 0.8), (30, 4, 60, 0.1), (60, 6, 20, 0.5), (25, 2, 3, 0.9)],
)
def test_random_cohorts(fit_all, n, p, rank, hsq, reml):
    rng = np.random.default_rng(n + p)
    K, X = random_kinship(rng, n, rank), design(rng, n, p)
    Y = with_variance(rng, K, hsq, 25) + X @ rng.standard_normal((p, 25))
    fit = fit_all(K, Y, X, reml=reml)
    assert not any(fit.reasons)
    assert_is_the_global_maximum(fit, K, Y, X, reml)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_kinship_of_any_scale(fit_all, scale):
    rng = np.random.default_rng(5)
    K, X = random_kinship(rng, 40), design(rng, 40, 2)
    Y = with_variance(rng, K, 0.5, 10)
    unit, scaled = fit_all(K, Y, X), fit_all(scale * K, Y, X)
    ratio = np.asarray(scaled.sigmasq_g) * scale
    np.testing.assert_allclose(ratio, np.asarray(unit.sigmasq_g), rtol=1e-5, atol=1e-9)


def test_scaling_the_kinship_makes_hsq_a_heritability():
    rng = np.random.default_rng(5)
    K = random_kinship(rng, 40)
    Y = with_variance(rng, K, 0.5, 3)
    plain = lmm.fit_traits(K, Y)
    rescaled = lmm.fit_traits(7 * K, Y, scale_kinship=True)
    np.testing.assert_allclose(np.asarray(rescaled.hsq), np.asarray(plain.hsq), rtol=1e-8)


def test_of_two_maxima_the_higher_is_found(fit_all):
    """With few individuals and eigenvalues of many sizes, some likelihoods have two maxima."""
    rng = np.random.default_rng(11)
    basis = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    K = basis * np.geomspace(1e-4, 100, 12) @ basis.T
    Y, X = rng.standard_t(1.5, (12, 1500)), np.ones((12, 1))
    ll = grid_loglik(K, Y, X, True)
    inside = (ll[1:-1] > ll[:-2]) & (ll[1:-1] > ll[2:])
    maxima = inside.sum(axis=0) + (ll[0] > ll[1]) + (ll[-1] > ll[-2])
    several = np.flatnonzero(maxima >= 2)
    assert len(several) >= 50
    assert_is_the_global_maximum(fit_all(K, Y[:, several], X), K, Y[:, several], X, True)


def test_both_boundaries_are_reached_exactly(fit_all):
    rng = np.random.default_rng(2)
    K = random_kinship(rng, 30)
    Y = np.concatenate([with_variance(rng, K, 0, 40), with_variance(rng, K, 1, 40)], axis=1)
    hsq = np.asarray(fit_all(K, Y).hsq)
    assert np.sum(hsq == 0) >= 10
    assert np.sum(hsq == 1) >= 10


def test_without_the_boundary_check_the_search_stays_inside(fit_all):
    rng = np.random.default_rng(2)
    K = random_kinship(rng, 30)
    Y = np.concatenate([with_variance(rng, K, 0, 40), with_variance(rng, K, 1, 40)], axis=1)
    checked = np.asarray(fit_all(K, Y).hsq)
    hsq = np.asarray(fit_all(K, Y, check_boundary=False, tol=1e-5).hsq)
    assert hsq.min() == pytest.approx(1e-5)
    assert hsq.max() == pytest.approx(1 - 1e-5)
    np.testing.assert_allclose(hsq, checked, atol=1.1e-5)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_twins(fit_all, reml):
    """Monozygotic twins make K singular."""
    cohort = lmm.simulate_cohort(120, 30, relatives="twins", seed=4)
    fit = fit_all(cohort.kinship, cohort.pheno, cohort.covar, reml=reml)
    assert not any(fit.reasons)
    assert_is_the_global_maximum(fit, cohort.kinship, cohort.pheno, cohort.covar, reml)


def test_twins_with_a_covariate_that_differs_within_pairs(fit_all):
    cohort = lmm.simulate_cohort(60, 20, relatives="twins", seed=4)
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(60), rng.standard_normal(60)])
    fit = fit_all(cohort.kinship, cohort.pheno, X)
    assert_is_the_global_maximum(fit, cohort.kinship, cohort.pheno, X, True)


@pytest.mark.parametrize("K", [np.eye(50), np.ones((50, 50))], ids=["identity", "in X"])
def test_heritability_cannot_be_identified_of(K, fit_all):
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((50, 40)) + 2
    fit = fit_all(K, Y)
    assert np.isnan(np.asarray(fit.hsq)).all()
    assert all("not identifiable" in reason for reason in fit.reasons)
    np.testing.assert_allclose(np.asarray(fit.sigmasq), Y.var(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(fit.beta)[0], Y.mean(axis=0), rtol=1e-12)


def test_the_fewest_individuals_a_fit_can_have(fit_all):
    rng = np.random.default_rng(8)
    K, X = random_kinship(rng, 5), design(rng, 5, 3)
    Y = rng.standard_normal((5, 50))
    assert_is_the_global_maximum(fit_all(K, Y, X), K, Y, X, True)


def test_one_trait_is_the_same_alone_and_among_twenty_thousand(fit_all):
    rng = np.random.default_rng(9)
    K = random_kinship(rng, 30)
    Y = with_variance(rng, K, 0.5, 20_000)
    many = fit_all(K, Y)
    assert many.hsq.shape == (20_000,)
    for j in (0, 2048, 19_999):
        one = fit_all(K, Y[:, [j]])
        np.testing.assert_allclose(one.hsq[0], many.hsq[j], rtol=1e-9)
        np.testing.assert_allclose(one.loglik[0], many.loglik[j], rtol=1e-12)


def test_fully_heritable_trait_with_singular_kinship(fit_all):
    """The trait has nothing outside the range of K: the likelihood has no bound at h² = 1."""
    rng = np.random.default_rng(3)
    K = random_kinship(rng, 40, rank=15)
    Y = np.column_stack([K @ rng.standard_normal((40, 3)), with_variance(rng, K, 0.5, 3)])
    fit = fit_all(K, Y)
    np.testing.assert_array_equal(np.asarray(fit.hsq)[:3], 1)
    np.testing.assert_array_equal(np.asarray(fit.loglik)[:3], np.inf)
    np.testing.assert_array_equal(np.asarray(fit.sigmasq_e)[:3], 0)
    assert np.isfinite(np.asarray(fit.sigmasq)).all()
    assert ["range of a singular K" in r for r in fit.reasons] == [True] * 3 + [False] * 3
    assert (np.asarray(fit.hsq)[3:] < 1).all()


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_a_smooth_kernel_has_no_eigenvalue_that_is_lost(fit_all, reml):
    """The intercept is almost in the range of K, whose eigenvalues fall below any rounding."""
    x, rng = np.linspace(0, 1, 40), np.random.default_rng(2)
    K = np.exp(-((x[:, None] - x) ** 2) / (2 * 0.2**2))
    Y = np.sin(6 * x + 2)[:, None] + [0.7, 1e-2, 1e-4] * rng.standard_normal((40, 3))
    X = np.ones((40, 1))
    fit = fit_all(K, Y, X, reml=reml, compute_se=True)
    assert not any(fit.reasons)
    best = np.max([dense_loglik(h, K, Y, X, reml) for h in GRID[GRID < 1 - 1e-6]], axis=0)
    assert np.all(np.asarray(fit.loglik) >= best - 1e-7 * np.abs(best))
    for j in range(3):
        at = dense_loglik(float(fit.hsq[j]), K, Y[:, j], X, reml)
        assert float(fit.loglik[j]) == pytest.approx(at, rel=1e-7)


def test_donors_and_a_covariate_almost_constant_within_them(fit_all):
    """It leaves the range of K by little, and a small eigenvalue in its own complement."""
    rng = np.random.default_rng(4)
    donor = np.repeat(np.arange(10), 4)
    K = (donor[:, None] == donor) * 1.0
    for spread in (1e-3, 1e-5, 1e-7):
        x = rng.standard_normal(10)[donor] + spread * rng.standard_normal(40)
        X = np.column_stack([np.ones(40), x])
        Y = with_variance(rng, K, 0.7, 8)
        fit = fit_all(K, Y, X, compute_se=True)
        assert not any(fit.reasons)
        best = np.max([dense_loglik(h, K, Y, X) for h in GRID[GRID < 1 - 1e-5]], axis=0)
        assert np.all(np.asarray(fit.loglik) >= best - 1e-9 * np.abs(best))


def test_no_regular_trait_lacks_a_number(fit_all):
    """Traits in the range of K but for ever less noise: at last no double is close enough to 1."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(10), 4)
    K = (donor[:, None] == donor) * 1.0
    noise = 10.0 ** -np.repeat(np.arange(3, 13), 4)
    Y = rng.standard_normal((10, 40))[donor] + noise * rng.standard_normal((40, 40))
    fit = fit_all(K, Y)
    status, hsq = np.asarray(fit.status), np.asarray(fit.hsq)
    assert set(status) == {Status.OK, Status.EXACT}
    regular = status == Status.OK
    for name in ("hsq", "sigmasq", "loglik", "beta", "lrt"):
        assert np.isfinite(np.asarray(getattr(fit, name))[..., regular]).all()
    assert (np.asarray(fit.lrt_pvalue) < 1e-10).all()
    assert (hsq[~regular] == 1).all()
    assert regular[noise > 1e-7].all()
    assert not regular[noise < 1e-9].any()


class TestSpikeOfMaximumLikelihood:
    """A centred K is singular along the intercept: ML grows without bound as h → 1."""

    rng = np.random.default_rng(6)
    K = centred(random_kinship(rng, 40))
    Y = with_variance(rng, K, 0.4, 40)
    X = np.ones((40, 1))

    def test_the_interior_maximum_is_returned(self, fit_all):
        fit = fit_all(self.K, self.Y, self.X, reml=False)
        hsq = np.asarray(fit.hsq)
        inside = GRID < 0.999
        ll = grid_loglik(self.K, self.Y, self.X, False)[inside]
        # The best of the grid that is no point on the way up to the spike.
        turning = np.concatenate([ll[1:] <= ll[:-1], np.zeros((1, 40), bool)])
        best = np.max(np.where(turning, ll, -np.inf), axis=0)
        has_one = np.isfinite(best)
        assert has_one.sum() > 30
        assert np.all(
            np.asarray(fit.loglik)[has_one] >= best[has_one] - 1e-9 * np.abs(best[has_one])
        )
        assert np.all(hsq[has_one] < 0.999)

    def test_a_kinship_printed_with_six_decimals_is_as_singular(self, fit_all):
        exact = fit_all(self.K, self.Y, self.X, reml=False)
        printed = fit_all(np.round(self.K, 6), self.Y, self.X, reml=False, **self.clip_for(fit_all))
        np.testing.assert_allclose(
            np.asarray(printed.hsq), np.asarray(exact.hsq), atol=1e-3, equal_nan=True
        )

    @staticmethod
    def clip_for(fit_all):
        """Rounding may leave the eigenvalue on either side of zero."""
        return {"clip_negative": True} if fit_all is lmm.fit_traits else {}

    def test_where_there_is_none_the_reason_says_to_use_reml(self, fit_all):
        rng = np.random.default_rng(0)
        Y = with_variance(rng, self.K, 0.999, 100)
        fit = fit_all(self.K, Y, self.X, reml=False)
        unbounded = np.asarray(fit.status) == Status.ML_UNBOUNDED
        assert unbounded.sum() > 5
        assert np.isnan(np.asarray(fit.hsq)[unbounded]).all()
        assert np.isfinite(np.asarray(fit.hsq)[~unbounded]).all()
        assert all("use REML" in fit.reasons[j] for j in np.flatnonzero(unbounded))

    def test_reml_has_no_spike(self, fit_all):
        fit = fit_all(self.K, self.Y, self.X)
        assert not any(fit.reasons)
        assert_is_the_global_maximum(fit, self.K, self.Y, self.X, True)


def test_standard_error_is_the_curvature_of_the_log_likelihood(fit_all):
    cohort = lmm.simulate_cohort(200, 5, hsq=0.5, seed=3)
    fit = fit_all(cohort.kinship, cohort.pheno, cohort.covar, compute_se=True)
    rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno, cohort.covar)
    for j, hsq in enumerate(np.asarray(fit.hsq)):
        steps = hsq + np.array([-1, 0, 1]) * 1e-4
        ll = np.asarray(lmm.calc_ll(steps, rot.Kva, rot.y, rot.X))[:, j]
        expected = 1e-4 / np.sqrt(-(ll[0] - 2 * ll[1] + ll[2]))
        assert float(fit.hsq_se[j]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("reml", [True, pytest.param(False, marks=pytest.mark.long)])
def test_under_jit_and_vmap(reml):
    cohort = lmm.simulate_cohort(50, 6, seed=3)
    rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno, cohort.covar)
    with jax.enable_x64(True):
        plain = lmm.fit_lmm(rot.Kva, rot.y, rot.X, reml)
        jitted = jax.jit(lambda *a: lmm.fit_lmm(*a, reml=reml))(rot.Kva, rot.y, rot.X)
        mapped = jax.vmap(lambda y: lmm.fit_lmm(rot.Kva, y, rot.X, reml))(rot.y.T)
        straight = jax.jit(lambda K, Y: lmm.fit_traits(K, Y, cohort.covar, reml=reml))(
            cohort.kinship, cohort.pheno
        )
    for other in (jitted, mapped, straight):
        np.testing.assert_allclose(np.asarray(other.hsq), np.asarray(plain.hsq), atol=1e-7)
        np.testing.assert_allclose(np.asarray(other.loglik), np.asarray(plain.loglik), rtol=1e-9)


def test_one_trait_has_fields_without_a_trait_axis():
    cohort = lmm.simulate_cohort(50, 1, seed=3)
    rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno[:, 0], cohort.covar)
    fit = lmm.fit_lmm(rot.Kva, rot.y, rot.X)
    assert fit.beta.shape == (3,)
    assert fit.hsq.shape == fit.loglik.shape == fit.sigmasq.shape == ()
    assert all(values.shape == () for values in jax.tree.leaves(fit)[1:])


def test_too_few_individuals_are_refused():
    with pytest.raises(ValueError, match=r"3 covariates needs at least 5 individuals, got 4"):
        lmm.fit_lmm(np.ones(4), np.arange(4.0), design(np.random.default_rng(0), 4, 3))


@pytest.mark.parametrize("tol", [0.0, -1.0, 1.0, np.nan])
def test_a_tolerance_that_cannot_be_one_is_refused(fit_all, tol):
    with pytest.raises(ValueError, match="tol must be a small positive number"):
        fit_all(np.eye(5), np.arange(5.0)[:, None], tol=tol)
