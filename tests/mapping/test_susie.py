"""The sum of single effects against susieR, and against a dense one of few lines."""

import numpy as np
import pandas as pd
import pytest
from helpers import with_variance
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

import lmmlite_jax as lmm
from lmmlite_jax.mapping.susie.brent import smallest
from lmmlite_jax.mapping.susie.sets import credible_sets
from lmmlite_jax.model.precision import double_precision


def whitened(hsq, K, X, *columns):
    """n - p rows without covariates, of variance 1 under the null."""
    basis = np.linalg.svd(X)[0][:, X.shape[1] :]
    if hsq == 0:
        return [basis.T @ one for one in columns]
    values, vectors = np.linalg.eigh(basis.T @ K @ basis)
    rotation = (basis @ vectors / np.sqrt(hsq * values + 1 - hsq)).T
    return [rotation @ one for one in columns]


def dense_susie(X, y, deviation, L=10, tol=1e-6):
    """Inclusion probabilities, evidence lower bound, prior variances and σ², as susieR has them."""
    X = X / deviation
    (n, M), d, variance = X.shape, np.sum(X**2, axis=0), np.var(y, ddof=1)
    sigmasq, prior = variance, np.full(L, 0.2 * variance)
    posterior, b, divergence, moment = np.zeros((L, M)), np.zeros((L, M)), np.zeros(L), np.zeros(L)
    bounds, squares = [-np.inf], sigmasq * n
    while len(bounds) < 3 or bounds[-1] - bounds[-2] >= tol:
        sigmasq = sigmasq if len(bounds) == 1 else squares / n
        for k in range(L):
            gradient = X.T @ (y - X @ (b.sum(axis=0) - b[k]))
            z = gradient**2 / (d * sigmasq)

            def log_bf(V, z=z, sigmasq=sigmasq):
                odds = V * d / sigmasq
                return 0.5 * (z * odds / (1 + odds) - np.log1p(odds))

            def worse(x, log_bf=log_bf):
                return -logsumexp(log_bf(np.exp(x)) - np.log(M))

            options = {"bounds": (-30, 15), "method": "bounded", "options": {"xatol": 1e-10}}
            found = minimize_scalar(worse, **options).x
            if prior[k] > 0 and worse(found) > worse(np.log(prior[k])):
                found = np.log(prior[k])
            prior[k] = np.exp(found) if worse(found) < 0 else 0.0
            lbf = logsumexp(log_bf(prior[k]) - np.log(M))
            posterior[k] = np.exp(log_bf(prior[k]) - np.log(M) - lbf)
            scale = prior[k] / (prior[k] * d + sigmasq)
            b[k] = posterior[k] * scale * gradient
            moment[k] = np.sum(d * posterior[k] * ((scale * gradient) ** 2 + scale * sigmasq))
            divergence[k] = (2 * gradient @ b[k] - moment[k]) / (2 * sigmasq) - lbf
        residual = y - X @ b.sum(axis=0)
        squares = residual @ residual - np.sum((X @ b.T) ** 2) + moment.sum()
        bound = -n / 2 * np.log(2 * np.pi * sigmasq) - squares / (2 * sigmasq) - divergence.sum()
        bounds.append(bound)
    pip = 1 - np.prod(1 - posterior[prior > 1e-9], axis=0)
    return pip, bounds[-1], prior, sigmasq


@pytest.fixture(scope="module")
def synth500(data_dir):
    """Genotypes of the first 300 variants, and the kinship in units of its mean diagonal."""
    folder = data_dir / "synth500"
    packed = np.fromfile(folder / "synth500.bed", dtype=np.uint8)[3:].reshape(5000, 125)[:300]
    codes = (packed[:, :, None] >> np.array([0, 2, 4, 6])) & 3
    G = np.array([2.0, np.nan, 1.0, 0.0])[codes.reshape(300, 500)].T
    K = np.load(folder / "gemma_centered_kinship.npz")["kinship"]
    return G, K / K.diagonal().mean()


@pytest.fixture(scope="module", params=["kinship", "none"])
def against_susier(request, synth500, oracle_dir):
    """What is found, in traits by markers, and susieR's table."""
    G, K = synth500
    Y = pd.read_csv(oracle_dir / "synth500_susie_traits.csv")
    table = pd.read_csv(oracle_dir / "synth500_susie.csv.gz").sort_values(["trait", "column"])
    null = lmm.NullModel(K if request.param == "kinship" else None, Y)
    found = lmm.map_cis_susie(null, G, np.array([[0, 300]] * 4), tol=1e-6)
    return found, table[table["model"] == request.param], Y


def test_probabilities_and_sets_are_susiers(against_susier):
    found, table, Y = against_susier
    for gene, trait in enumerate(Y):
        theirs, own = table[table["trait"] == trait], found.gene == gene
        tested = theirs["pip"].notna().to_numpy()
        np.testing.assert_array_equal(found.marker[own], np.flatnonzero(tested))
        np.testing.assert_allclose(found.pip[own], theirs["pip"][tested], rtol=0, atol=1e-3)
        # susieR's standard deviations are about a mean over eigenvectors, whose signs are anyone's.
        assert found.elbo[gene] == pytest.approx(theirs["elbo"].iloc[0], rel=1e-5)
    members = found.to_pandas()
    with_set = table[table["cs"].notna()].set_index("trait").loc[members["phenotype_id"]]
    assert len(with_set) == table["cs"].notna().sum() > 0
    np.testing.assert_array_equal(members["variant_id"], with_set["column"])
    np.testing.assert_array_equal("L" + members["cs_id"].astype(str), with_set["cs"])


def test_it_is_the_dense_one_which_is_susiers_but_for_scales(synth500, against_susier):
    found, table, Y = against_susier
    G, K = synth500
    G = np.where(np.isnan(G), np.nanmean(G, axis=0), G)[:, found.marker[found.gene == 0]]
    hsq = np.nan_to_num(found.hsq)
    gene, trait = (2, "none") if hsq.any() else (0, "two")  # few steps
    theirs = table[table["trait"] == trait]
    columns, y = whitened(hsq[gene], K, np.ones((500, 1)), G, Y[trait].to_numpy())
    pip, elbo, *_ = dense_susie(columns, y, columns.std(axis=0, ddof=1))
    np.testing.assert_allclose(pip, theirs["pip"].dropna(), atol=1e-6)
    assert elbo == pytest.approx(theirs["elbo"].iloc[0], abs=1e-4)
    scale = np.sqrt(np.sum(columns**2, axis=0) / (len(y) - 1))
    pip, elbo, prior, sigmasq = dense_susie(columns, y, scale)
    np.testing.assert_allclose(found.pip[found.gene == gene], pip, atol=1e-6)
    assert found.elbo[gene] == pytest.approx(elbo, abs=1e-5)
    np.testing.assert_allclose(found.prior_variance[gene], prior, rtol=1e-3, atol=1e-8)
    assert found.sigmasq[gene] == pytest.approx(sigmasq, rel=1e-6)


@pytest.fixture(scope="module")
def relatives():
    """Genes of several windows and patterns, some of which have no result, with covariates."""
    rng = np.random.default_rng(1)
    n, M, m = 150, 60, 13
    cohort = lmm.simulate_cohort(n, 1, seed=1)
    G = rng.binomial(2, 0.4, (n, M)).astype(float)
    G[:, 1::3] = np.where(rng.random((n, 20)) < 0.9, G[:, 0::3], G[:, 1::3])
    G[:, 12] = cohort.covar[:, 1]
    Y = with_variance(rng, cohort.kinship, 0.5, m)
    Y[:, :10] += 1.1 * G[:, [6]] + np.linspace(0, 1.2, 10) * G[:, [30]]
    Y[:4, 3:6] = np.nan
    Y[:, 11] = 1.0
    windows = np.array([[0, 40]] * 8 + [[20, 60], [4, 11], [12, 13], [0, 40], [30, 30]])
    null = lmm.NullModel(cohort.kinship, Y, cohort.covar)
    return cohort, G, Y, windows, null, lmm.map_cis_susie(null, G, windows, tol=1e-6, max_effects=6)


def test_windows_patterns_and_covariates_are_those_of_the_dense_one(relatives):
    cohort, G, Y, windows, _, found = relatives
    for gene in (0, 4, 8):
        seen = ~np.isnan(Y[:, gene])
        here = np.ix_(seen, seen)
        markers = found.marker[found.gene == gene]
        first, last = windows[gene]
        np.testing.assert_array_equal(markers, np.setdiff1d(np.arange(first, last), 12))
        both = G[seen][:, markers], Y[seen, gene]
        columns, y = whitened(found.hsq[gene], cohort.kinship[here], cohort.covar[seen], *both)
        scale = np.sqrt(np.sum(columns**2, axis=0) / (len(y) - 1))
        pip, elbo, *_ = dense_susie(columns, y, scale, L=6)
        np.testing.assert_allclose(found.pip[found.gene == gene], pip, atol=1e-6)
        assert found.elbo[gene] == pytest.approx(elbo, abs=1e-5)
        assert found.n[gene] == seen.sum()
        np.testing.assert_allclose(found.af[found.gene == gene], both[0].mean(axis=0) / 2)


def test_genes_mapped_together_have_what_they_have_alone(relatives):
    cohort, G, Y, windows, _, found = relatives
    assert np.ptp(found.iterations[:9]) > 4  # so that some go on in a smaller program
    for gene in (3, 9):
        null = lmm.NullModel(cohort.kinship, Y[:, [gene]], cohort.covar)
        alone = lmm.map_cis_susie(null, G, windows[[gene]], tol=1e-6, max_effects=6)
        np.testing.assert_allclose(alone.pip, found.pip[found.gene == gene], atol=1e-9)
        np.testing.assert_allclose(alone.log_bf, found.log_bf[found.gene == gene], atol=1e-7)
        assert alone.iterations[0] == found.iterations[gene]


def test_genes_without_a_result_say_why(relatives):
    *_, found = relatives
    assert [bool(reason) for reason in found.reasons] == [False] * 10 + [True] * 3
    assert "no marker in the window varies" in found.reasons[10] == found.reasons[12]
    assert "constant" in found.reasons[11]
    assert not found.num_var[10:].any()
    assert np.isnan(found.elbo[10:]).all()
    table = found.genes_to_pandas()
    assert list(table["reason"]) == list(found.reasons)


def test_sets_are_of_the_markers_put_in(relatives):
    *_, found = relatives
    members = found.to_pandas()
    assert list(members.columns) == ["phenotype_id", "variant_id", "pip", "af", "cs_id"]
    of_last = members[members["phenotype_id"] == 7]
    assert {6, 30} <= {*of_last["variant_id"]} <= {6, 7, 30, 31}
    sets = found.sets_to_pandas()
    assert sets["coverage"].between(0.95, 1 + 1e-12).all()
    assert sets["min_abs_corr"].between(0.5, 1 + 1e-12).all()
    assert sets["size"].sum() == len(members)
    # With seven markers an effect for each at most.
    assert (found.prior_variance[9] > 0).sum() <= 6


def test_a_search_that_is_cut_short_has_no_set_and_says_so(relatives):
    _, G, _, windows, null, _ = relatives
    found = lmm.map_cis_susie(null, G, windows, tol=1e-9, max_iter=2, max_effects=6)
    assert not found.converged.any()
    assert "2 steps: raise max_iter" in found.reasons[0]
    assert np.isfinite(found.pip).all()
    assert found.to_pandas().empty
    assert found.sets_to_pandas().empty


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_effects", 0), ("coverage", 1.0), ("min_abs_corr", 1.5), ("tol", 0.0), ("max_iter", 0)],
)
def test_what_cannot_be_used_is_named(relatives, argument, value):
    _, G, _, windows, null, _ = relatives
    with pytest.raises(ValueError, match=f"{argument} must be .*, got {value}"):
        lmm.map_cis_susie(null, G, windows, **{argument: value})


def test_sets_of_alike_markers_alone_and_of_equal_ones_the_first():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((6, 50))
    values[1] = values[0] + 0.1 * rng.standard_normal(50)
    posterior = np.array(
        [[0.5, 0.48, 0.02, 0, 0, 0], [0, 0, 0, 0.5, 0.5, 0], [0.48, 0.5, 0, 0, 0.02, 0]]
    )
    some = np.array([True, True, True])
    (first,) = credible_sets(posterior, some, lambda members: values[members], 0.95, 0.5)
    assert first.effect == 1
    np.testing.assert_array_equal(first.members, [0, 1])
    assert first.coverage == pytest.approx(0.98)
    assert first.min_abs_corr == pytest.approx(abs(np.corrcoef(values[:2])[0, 1]), abs=0.01)
    assert len(credible_sets(posterior, some, lambda members: values[members], 0.95, 0.0)) == 2


def test_brents_search_is_scipys():
    centres = np.array([-20.0, -3.0, 0.0, 4.0, 14.99])

    def valleys(x, centre):
        return 0.01 * (x - centre) ** 2 - np.exp(-((x - 7) ** 2))

    expected = [
        minimize_scalar(
            lambda x, c=c: valleys(x, c),
            bounds=(-30, 15),
            method="bounded",
            options={"xatol": 1e-9},
        ).x
        for c in centres
    ]
    with double_precision():
        import jax.numpy as jnp

        found = smallest(
            lambda x: 0.01 * (x - centres) ** 2 - jnp.exp(-((x - 7) ** 2)), -30.0, 15.0, 5
        )
    np.testing.assert_allclose(found, expected, atol=0.02)
