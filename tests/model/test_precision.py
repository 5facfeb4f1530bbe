"""Double precision whatever the global setting, and no setting changed."""

import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmmlite_jax as lmm


def run(code: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_importing_changes_no_jax_setting():
    printed = run("""
        import jax
        before = dict(jax.config.values)
        import lmmlite_jax
        print(before == dict(jax.config.values))
    """)
    assert printed.strip() == "True"


def test_importing_takes_little_beyond_jax():
    printed = run("""
        import time
        import jax, jax.numpy, jax.scipy.linalg
        started = time.process_time()
        import lmmlite_jax
        print(time.process_time() - started)
    """)
    assert float(printed) < 1


def test_importing_loads_nothing_of_the_extras():
    printed = run("""
        import sys
        import lmmlite_jax
        print([m for m in ("pandas", "matplotlib", "rdata", "typer", "rich") if m in sys.modules])
    """)
    assert printed.strip() == "[]"


def test_names_load_of_scipy_what_jax_loads_too():
    """Its other parts take longer than the library's own modules."""
    code = """
        import sys
        import jax, scipy.linalg, scipy.special
        before = {*sys.modules}
        import lmmlite_jax as lmm
        used = [getattr(lmm, name) for name in lmm.__all__]
        new = {name.split(".")[1] for name in {*sys.modules} - before if name.startswith("scipy.")}
        print({one for one in new if not one.startswith("_")} or "nothing")
    """
    assert run(code).strip() == "nothing"


@pytest.mark.parametrize("x64", [True, False], ids=["64 bits", "32 bits"])
def test_results_are_double_whatever_the_global_setting(x64):
    cohort = lmm.simulate_cohort(40, 3, seed=1)
    with jax.enable_x64(x64):
        rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno, cohort.covar)
        results = [
            rot,
            lmm.get_ml_soln(0.5, rot.Kva, rot.y, rot.X),
            lmm.calc_ll([0.1, 0.5], rot.Kva, rot.y, rot.X),
            lmm.fit_lmm(rot.Kva, rot.y, rot.X, compute_se=True),
            lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar, compute_se=True),
            lmm.projected_rotation(cohort.kinship, cohort.covar),
        ]
        leaves = jax.tree.leaves(results)
        assert jax.config.jax_enable_x64 == x64
        # Operations of the caller keep the precision too.
        assert {(leaf * 2).dtype for leaf in leaves} <= {np.dtype("float64"), np.dtype("int64")}
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float64"), np.dtype("int64")}
    reference = np.linalg.eigvalsh(cohort.kinship)
    np.testing.assert_allclose(np.asarray(rot.Kva), reference, atol=1e-13)


def test_results_are_the_same_with_the_setting_on_and_off():
    cohort = lmm.simulate_cohort(40, 3, seed=1)
    fits = []
    for x64 in (True, False):
        with jax.enable_x64(x64):
            fits.append(lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar))
    for one, other in zip(*map(jax.tree.leaves, fits), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_under_jit_the_callers_setting_rounds_the_arguments_only():
    """JAX rounds what enters a caller's ``jit`` to single precision; inside, all is double."""
    cohort = lmm.simulate_cohort(40, 3, seed=1)
    rot = lmm.eigen_rotation(cohort.kinship, cohort.pheno, cohort.covar)
    functions = {
        "fit_lmm": (lambda y: lmm.fit_lmm(rot.Kva, y, rot.X).loglik, rot.y),
        "fit_traits": (
            lambda y: lmm.fit_traits(cohort.kinship, y, cohort.covar).loglik,
            cohort.pheno,
        ),
        "calc_ll": (lambda y: lmm.calc_ll(0.5, rot.Kva, y, rot.X), rot.y),
        "get_ml_soln": (lambda y: lmm.get_ml_soln(0.5, rot.Kva, y, rot.X).sigmasq, rot.y),
        "eigen_rotation": (lambda y: lmm.eigen_rotation(cohort.kinship, y).y, cohort.pheno),
    }
    for name, (function, y) in functions.items():
        jitted = jax.jit(function)(y)
        assert jitted.dtype == np.float64, name
        expected = np.asarray(function(y.astype(np.float32).astype(np.float64)))
        np.testing.assert_allclose(np.asarray(jitted), expected, rtol=1e-9, atol=1e-9)


def functions_and_arguments():
    cohort = lmm.simulate_cohort(40, 3, seed=1)
    unrotated = cohort.kinship, cohort.pheno, cohort.covar
    rot = lmm.eigen_rotation(*unrotated)
    rotated = rot.Kva, rot.y, rot.X
    return {
        "log_likelihood": (lmm.log_likelihood, (0.4, *unrotated)),
        "heritability": (lmm.heritability, unrotated),
        "calc_ll": (lmm.calc_ll, (0.4, *rotated)),
        "get_ml_soln": (lmm.get_ml_soln, (0.4, *rotated)),
        "fit_lmm": (lmm.fit_lmm, rotated),
        "fit_traits": (
            lambda K, Y, X, weights: lmm.fit_traits(K, Y, X, weights=weights),
            (*unrotated, np.linspace(0.5, 2, 40)),
        ),
    }


@pytest.mark.parametrize("of", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
@pytest.mark.parametrize(
    "name", ["log_likelihood", "heritability", "calc_ll", "get_ml_soln", "fit_lmm", "fit_traits"]
)
def test_under_jit_each_argument_may_be_known_or_traced(name, of):
    with jax.enable_x64(True):
        function, arguments = functions_and_arguments()[name]
        known = [of(argument) for argument in arguments]
        expected = jax.tree.leaves(function(*known))

        def with_traced(which, *traced):
            mixed = [*known]
            for i, argument in zip(which, traced, strict=True):
                mixed[i] = argument
            return jax.tree.leaves(function(*mixed))

        every = range(len(known))
        for which in [*((i,) for i in every), tuple(every)]:
            found = jax.jit(partial(with_traced, which))(*(known[i] for i in which))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_under_jit_what_is_known_is_checked():
    (K, y, _), (Kva, rotated_y, X) = (
        functions_and_arguments()[name][1] for name in ("heritability", "fit_lmm")
    )
    with pytest.raises(ValueError, match="hsq must lie in"):
        jax.jit(lambda K: lmm.log_likelihood(1.5, K, y))(K)
    with pytest.raises(ValueError, match="hsq must lie in"):
        jax.jit(lambda y: lmm.calc_ll(1.5, Kva, y, X))(rotated_y)
    with pytest.raises(ValueError, match="Kva has missing values"):
        jax.jit(lambda y: lmm.fit_lmm(Kva * np.nan, y, X))(rotated_y)
