"""Kernels learned from many traits: where the maximum is, what it says, and why there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lmmlite_jax as lmm

N, M = 40, 12
PLACES = np.sort(np.random.default_rng(1).uniform(0, 10, N))
DISTANCE = np.abs(PLACES[:, None] - PLACES)
LOW, HIGH = {"length": 0.05, "shift": 0.0}, {"length": 20.0, "shift": 0.0}


def near(parameters):
    """Resemblance of neighbours; a shift is of no consequence, for residuals have one as well."""
    return jnp.exp(-0.5 * (DISTANCE / parameters["length"]) ** 2) + parameters["shift"] * np.eye(N)


def simulated(length=1.0, hsq=0.7, seed=2):
    rng = np.random.default_rng(seed)
    K = np.exp(-0.5 * (DISTANCE / length) ** 2)
    root = np.linalg.cholesky(hsq * K + (1 - hsq) * np.eye(N))
    return root @ rng.standard_normal((N, M))


Y = simulated()


def fit(length=0.5, shift=0.0, traits=Y, **options):
    return lmm.fit_kernel(near, {"length": length, "shift": shift}, traits, **options)


@pytest.fixture(scope="module")
def best():
    return fit(bounds=(LOW, HIGH))


def test_the_maximum_is_that_of_a_grid_with_the_curvature_there(best):
    assert best.status == lmm.KernelStatus.OK
    assert best.reason == ""
    length, error = best.parameters["length"], best.standard_errors["length"]
    assert best.distance < 1e-3
    assert np.isnan(best.standard_errors["shift"])
    lengths = length + error * np.array([-2, -1, -1e-2, 0, 1e-2, 1, 2])
    rows = [
        lmm.profile_log_likelihood(np.exp(-0.5 * (DISTANCE / at) ** 2), Y).sum() for at in lengths
    ]
    assert np.argmax(rows) == 3
    assert float(best.loglik) == pytest.approx(rows[3], abs=1e-8)
    curvature = -(rows[2] - 2 * rows[3] + rows[4]) / (1e-2 * error) ** 2
    assert float(error) == pytest.approx(curvature**-0.5, rel=1e-3)
    assert float(best.covariance[0, 0]) == pytest.approx(error**2)
    np.testing.assert_allclose(best.kinship, np.exp(-0.5 * (DISTANCE / length) ** 2), atol=1e-12)
    np.testing.assert_allclose(best.hsq, lmm.heritability(best.kinship, Y), atol=1e-6)
    assert abs(length - 1) < 3 * error


@pytest.mark.parametrize("start", [0.1, 3.0, 20.0])
def test_other_starts_end_there_too(start, best):
    again = fit(start, bounds=(LOW, HIGH))
    assert again.status == lmm.KernelStatus.OK
    assert float(again.parameters["length"]) == pytest.approx(best.parameters["length"], rel=1e-4)
    assert np.all(np.diff(again.trace[1:]) > -1e-6)


def test_a_flat_direction_is_named(best):
    found = fit(shift=0.1, bounds=(0.0, 20.0))
    assert found.status == lmm.KernelStatus.FLAT
    assert found.reason.startswith("flat direction in shift")
    assert np.isnan(found.standard_errors["shift"])
    assert float(found.loglik) == pytest.approx(float(best.loglik), abs=1e-4)


def test_without_bounds_the_maximum_is_the_same(best):
    found = fit(0.9)
    assert found.status == lmm.KernelStatus.FLAT
    assert float(found.loglik) == pytest.approx(float(best.loglik), abs=1e-4)


def test_a_bound_holds_and_is_named(best):
    half = {**HIGH, "length": float(best.parameters["length"]) / 2}
    found = fit(0.2, bounds=(LOW, half))
    assert found.parameters["length"] == half["length"]
    assert found.reason == "at a bound, without standard error: length"
    assert np.isnan(found.standard_errors["length"])
    assert found.loglik < best.loglik


def test_a_kernel_that_is_none_is_named():
    found = fit(shift=-1.0)
    assert found.status == lmm.KernelStatus.NOT_FINITE
    assert found.reason.startswith(
        "kernel not positive semidefinite at length = 0.5, shift = -1: its smallest eigenvalue"
    )
    assert np.isnan(found.hsq).all()
    assert found.standard_errors is None
    assert found.steps == 0


def test_steps_that_run_out_say_how_far_it_is_and_a_callback_ends_them(capsys):
    found = fit(8.0, bounds=(LOW, HIGH), steps=1)
    assert found.status == lmm.KernelStatus.NOT_CONVERGED
    assert "the steps ran out" in found.reason or "curves upwards" in found.reason
    seen = []

    def enough(step, loglik, parameters):
        seen.append((step, loglik, float(parameters["length"])))
        return step == 2

    found = fit(8.0, bounds=(LOW, HIGH), callback=enough, progress=True)
    assert found.steps == 2
    assert [step for step, *_ in seen] == [1, 2]
    np.testing.assert_allclose(found.trace, [loglik for _, loglik, _ in seen])
    assert "step 2  log likelihood" in capsys.readouterr().err


def test_minibatches_of_a_stochastic_optimiser_end_near_the_maximum(best):
    schedule = optax.exponential_decay(0.1, 20, 0.5)
    found = fit(bounds=(LOW, HIGH), optimizer=optax.adam(schedule), minibatch=4, steps=120, seed=1)
    error = float(best.standard_errors["length"])
    assert abs(found.parameters["length"] - best.parameters["length"]) < error / 2
    assert found.distance < 0.5
    assert found.steps == 120


def test_missing_values_are_left_out():
    seen = Y.copy()
    seen[:4, 3:] = np.nan
    found = fit(
        traits=seen, bounds=(LOW, HIGH), optimizer=optax.adam(0.1), steps=20, standard_errors=False
    )
    assert found.reason == "not converged: the 20 steps ran out"
    first = lmm.fit_traits(np.exp(-0.5 * (DISTANCE / 0.5) ** 2), seen).loglik.sum()
    assert float(found.trace[0]) == pytest.approx(float(first), rel=1e-9)
    here = lmm.fit_traits(found.kinship, seen).loglik.sum()
    assert float(found.loglik) == pytest.approx(float(here), rel=1e-12)
    assert here > first + 5


def test_a_trait_without_a_likelihood_is_left_out(best):
    traits = np.column_stack([Y[:, :-1], np.ones(N)])
    found = fit(traits=traits, bounds=(LOW, HIGH))
    assert found.status == lmm.KernelStatus.OK
    assert np.isnan(found.hsq[-1])
    alone = lmm.profile_log_likelihood(found.kinship, Y[:, :-1]).sum()
    assert float(found.loglik) == pytest.approx(float(alone), rel=1e-10)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"start outside of the bounds: length is 30, to be"):
        fit(30.0, bounds=(LOW, HIGH))
    with pytest.raises(ValueError, match=r"kernel returns shape \(3, 3\): it should be"):
        lmm.fit_kernel(lambda p: p * jnp.eye(3), 1.0, Y)
    with pytest.raises(ValueError, match=r"minibatch must be between 1 and the 12 traits, got 13"):
        fit(minibatch=13)
    with pytest.raises(ValueError, match="bounds has a lower one of the structure"):
        fit(bounds=({"length": 0.1}, HIGH))
    with pytest.raises(
        ValueError, match="no trait of Y has a likelihood to learn from: the trait is"
    ):
        fit(traits=np.ones((N, 2)))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        fit(steps=0)
    with pytest.raises(ValueError, match="call it outside of traces"):
        jax.jit(lambda Y: fit(traits=Y).loglik)(Y)
    gaps = np.where(np.arange(M) == 2, np.nan, Y)
    gaps[1:, 2] = Y[1:, 2]
    with pytest.raises(ValueError, match="minibatch takes complete traits alone"):
        fit(traits=gaps, minibatch=3)
