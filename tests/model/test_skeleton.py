import numpy as np
import pytest
from helpers import centred, random_kinship
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lmmlite_jax as lmm
from lmmlite_jax.model.skeleton import interval_skeleton, spectrum_skeleton

HSQ = np.concatenate([np.linspace(0, 1, 401)[:-1], 1 - np.geomspace(1e-7, 1e-3, 200)])


def error_of_sums(spectrum, few, terms):
    """Largest relative error over h of sums of w(λ; h), zeros exact by construction."""
    positive = spectrum > 0
    weights = 1 / (HSQ[:, None] * spectrum + (1 - HSQ[:, None]))
    at_nodes = np.asarray(few.weights_of(spectrum[positive]))
    coefficients = np.asarray(few.coefficients(at_nodes @ terms[positive]))
    skeletal = np.asarray(few.weights(HSQ)).T @ coefficients
    zero_part = weights[:, ~positive] @ terms[~positive]
    exact = weights @ terms
    return np.max(np.abs((skeletal + zero_part) / exact - 1))


def terms_for(spectrum, seed=0):
    """Squares of random traits, among them ones that live on few eigenvalues."""
    rng = np.random.default_rng(seed)
    terms = rng.standard_normal((len(spectrum), 30)) ** 2
    terms[:, 10:20] *= 10 ** rng.uniform(-8, 0, (len(spectrum), 10))
    return np.concatenate([terms, np.ones((len(spectrum), 1))], axis=1)


def simulated_spectra():
    rng = np.random.default_rng(1)
    yield "family", np.linalg.eigvalsh(lmm.simulate_cohort(300, 1).kinship)
    yield "twins", np.linalg.eigvalsh(lmm.simulate_cohort(300, 1, relatives="twins").kinship)
    yield "rank 50", np.linalg.eigvalsh(random_kinship(rng, 300, rank=50))
    yield "centred", np.linalg.eigvalsh(centred(random_kinship(rng, 200)))
    yield "identity", np.ones(100)


@pytest.mark.parametrize(("name", "spectrum"), list(simulated_spectra()))
def test_a_few_nodes_stand_for_the_spectrum_of(name, spectrum):
    spectrum = np.where(spectrum > 1e-8 * spectrum.max(), spectrum, 0)
    few = lmm.skeleton(spectrum)
    assert few.nodes.size <= 32
    assert float(few.error) < 1e-10
    assert error_of_sums(spectrum, few, terms_for(spectrum)) < 1e-9


def real_kinships(data_dir):
    import pandas as pd

    from lmmlite_jax.data import read_kinship

    yield np.asarray(lmm.load_recla(data_dir / "recla" / "recla.RData").kinship)
    yield np.load(data_dir / "bxd" / "kinship_x2.npz")["kinship"]
    yield np.load(data_dir / "synth500" / "gemma_centered_kinship.npz")["kinship"]
    geuvadis = read_kinship(data_dir / "geuvadis" / "Geuvadis_chr1_kinship.normalized.txt")
    assert isinstance(geuvadis, pd.DataFrame)
    yield np.asarray(geuvadis)


def test_a_few_nodes_stand_for_the_spectra_of_mice_strains_and_people(data_dir):
    for K in real_kinships(data_dir):
        spectrum = np.linalg.eigvalsh(K)
        spectrum = np.where(spectrum > 1e-8 * spectrum.max(), spectrum, 0)
        few = lmm.skeleton(spectrum, tol=1e-9)
        assert few.nodes.size <= 32
        assert error_of_sums(spectrum, few, terms_for(spectrum)) < 1e-9


@st.composite
def spectra(draw):
    """Condition numbers up to 1e10, clusters, repeats, exact zeros, any scale."""
    decades = draw(st.floats(0, 10))
    n = draw(st.integers(1, 60))
    exponents = draw(st.lists(st.floats(-1, 0), min_size=n, max_size=n))
    spectrum = 10 ** (decades * np.array(exponents))
    if draw(st.booleans()):
        spectrum = np.repeat(spectrum, 3) * (1 + 1e-9 * np.arange(3 * n) / n)
    zeros = np.zeros(draw(st.integers(0, 5)))
    return np.concatenate([zeros, spectrum]) * 10 ** draw(st.floats(-3, 3))


@settings(max_examples=60, deadline=None)
@given(spectra(), st.integers(0, 2**31))
def test_no_spectrum_breaks_the_promised_error(spectrum, seed):
    few = lmm.skeleton(spectrum)
    assert float(few.error) <= 1e-10
    assert error_of_sums(spectrum, few, terms_for(spectrum, seed)) < 1e-9


@settings(max_examples=60, deadline=None)
@given(spectra(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_eigenvalues_far_from_the_rest_are_nodes(spectrum, low, high, seed):
    """They take no more nodes than the interval does, and any spectrum keeps its promise."""
    rng = np.random.default_rng(seed)
    inner = np.sort(spectrum[spectrum > 0])
    below = inner[0] / np.cumprod(rng.uniform(1.5, 20, low))
    above = inner[-1] * np.cumprod(rng.uniform(1.5, 20, high))
    known = np.concatenate([below[::-1], inner, above])
    assume(known[-1] < 1e10 * known[0])
    few, every = spectrum_skeleton(known), interval_skeleton(known[0] / known[-1], known[-1])
    assert few.nodes.size <= every.nodes.size
    assert (float(few.smallest), float(few.largest)) == (every.smallest, every.largest)
    assert error_of_sums(known, few, terms_for(known, seed)) < 1e-9


def test_two_eigenvalues_far_from_the_rest_save_half_of_the_nodes():
    rest = np.geomspace(0.1, 1, 100)
    few = spectrum_skeleton(np.concatenate([[0.005], rest, [20.0]]))
    assert few.nodes.size == 16
    assert interval_skeleton(0.005 / 20, 20.0).nodes.size == 30
    np.testing.assert_allclose(few.nodes[[0, -1]], [0.005, 20.0], rtol=1e-15)
    assert spectrum_skeleton(np.append(rest, [20.0, 20.001])).nodes.size > few.nodes.size


def test_more_covariates_move_an_eigenvalue_that_was_far_from_the_rest():
    """Their fits do not take it for one that is known."""
    rng = np.random.default_rng(6)
    n, X = 60, np.ones((60, 1))
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    K = (basis * np.concatenate([[0.002], np.linspace(0.5, 1.5, n - 2), [40.0]])) @ basis.T
    Y = np.linalg.cholesky(K) @ rng.standard_normal((n, 4)) + rng.standard_normal((n, 4))
    own = basis[:, [-1]] + 0.5 * basis[:, [0]] + 0.1 * rng.standard_normal((n, 4))
    found = lmm.NullModel(K, Y, X, paired_covariates=own).fit
    for k in range(4):
        rotated = lmm.eigen_rotation(K, Y[:, k], np.column_stack([X, own[:, k]]))
        alone = lmm.fit_lmm(rotated.Kva, rotated.y, rotated.X)
        assert float(found.hsq[k]) == pytest.approx(float(alone.hsq), abs=1e-8)
        assert float(found.loglik[k]) == pytest.approx(float(alone.loglik), rel=1e-10)


def test_a_kinship_that_is_symmetric_to_rounding_has_one_spectrum():
    """An eigenvalue that is a node is that of (K + K')/2, as the decomposition has it."""
    rng = np.random.default_rng(7)
    n = 60
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    K = (basis * np.concatenate([[0.002], np.linspace(0.5, 1.5, n - 1)])) @ basis.T
    rounded = K + np.triu(np.sign(np.outer(basis[:, 0], basis[:, 0])), 1) * 5e-7
    Y = np.linalg.cholesky(K) @ rng.standard_normal((n, 4))
    found = lmm.fit_traits(rounded, Y, np.ones((n, 1)))
    rotated = lmm.eigen_rotation(rounded, Y, np.ones((n, 1)))
    alone = lmm.fit_lmm(rotated.Kva, rotated.y, rotated.X)
    np.testing.assert_allclose(found.hsq, alone.hsq, atol=1e-8)
    np.testing.assert_allclose(found.loglik, alone.loglik, rtol=1e-10)


def test_the_number_of_nodes_does_not_depend_on_how_many_eigenvalues_there_are():
    few = lmm.skeleton(np.geomspace(0.01, 10, 10))
    many = lmm.skeleton(np.geomspace(0.01, 10, 10_000))
    assert few.nodes.size == many.nodes.size


def test_an_error_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"out of reach of double precision.*larger tolerance"):
        lmm.skeleton(np.geomspace(1e-6, 1, 100), tol=1e-16)


@pytest.mark.parametrize("spectrum", [[-1.0, 2.0], [0.0, 0.0]])
def test_a_spectrum_no_variance_can_have_is_refused(spectrum):
    with pytest.raises(ValueError, match="non-negative with a positive eigenvalue"):
        lmm.skeleton(spectrum)
