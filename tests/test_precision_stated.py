"""No float32 product is left to the device: NVIDIA's cards would take it as TF32, of 10 bits."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import lmmlite_jax as lmm

N, M, T = 40, 48, 16  # traits enough for a screen
COHORT = lmm.simulate_cohort(N, T, hsq=0.5, seed=1)
K, X = COHORT.kinship, COHORT.covar
G = np.random.default_rng(1).binomial(2, 0.3, (N, M)).astype(float)
Y = COHORT.pheno + 10 * G[:, [7]]

pytestmark = pytest.mark.long

PRODUCTS = ("stablehlo.dot", "stablehlo.convolution", "ragged_dot")


def scan(dtype="float64", **options):
    return lmm.scan(lmm.NullModel(K, Y, X, dtype=dtype), G, **options)


def permuted_maxima(dtype):
    return lmm.permutation_threshold(lmm.NullModel(K, Y, X, dtype=dtype), G, permutations=20)


def cis_of_permutations():
    windows = np.column_stack([np.arange(T), np.arange(T) + 30])
    return lmm.map_cis(lmm.NullModel(K, Y, X), G, windows, permutations=20)


def fine_mapping():
    windows = np.column_stack([np.zeros(T, int), np.full(T, M)])
    return lmm.map_cis_susie(lmm.NullModel(K, Y, X, dtype="float32"), G, windows, max_effects=2)


def gradient_of_log_likelihood():
    """Its backward pass runs after the function has returned, in single precision."""
    single = [jnp.asarray(a, jnp.float32) for a in (0.4, K, Y[:, 0], X)]
    return jax.grad(lmm.log_likelihood, argnums=(0, 1, 2, 3))(*single)


CALLS = {
    "fit_traits": partial(lmm.fit_traits, K, Y, X, compute_se=True, blup=True),
    "fit_traits in float32": partial(lmm.fit_traits, K, Y, X, dtype="float32", blup=True),
    "fit_components": partial(lmm.fit_components, [K, np.kron(np.eye(N // 4), np.ones((4, 4)))], Y),
    "scan": scan,
    "scan in float32": partial(scan, "float32"),
    "best": partial(scan, keep="best"),
    "best in float32": partial(scan, "float32", keep="best"),
    "hits": partial(scan, keep=1.0),
    "hits in float32": partial(scan, "float32", keep=1.0),
    "refit": partial(scan, variance="refit"),
    "refit in float32": partial(scan, "float32", variance="refit"),
    "best of a refit": partial(scan, variance="refit", keep="best"),
    "hits of a refit in float32": partial(scan, "float32", variance="refit", keep=1.0),
    "permutation_threshold": partial(permuted_maxima, "float64"),
    "permutation_threshold in float32": partial(permuted_maxima, "float32"),
    "map_cis": cis_of_permutations,
    "map_cis_susie in float32": fine_mapping,
    "gradient of log_likelihood": gradient_of_log_likelihood,
}

WITH_SINGLE = (
    "fit_traits in float32",
    "scan in float32",
    "best",
    "refit",
    "map_cis",
    "map_cis_susie in float32",
)
"""Calls of which some work is done in float32: the first of each kind, which compile it."""


def single_products(text):
    return [
        line.strip()[:200]
        for line in text.splitlines()
        if any(name in line for name in PRODUCTS) and "xf32>" in line
    ]


def loose(lines):
    return [line for line in lines if "[HIGHEST, HIGHEST]" not in line]


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """Results of all calls, and the float32 products of the programs that each compiles."""
    jax.clear_caches()
    results, products, read = {}, {}, set()
    folder = tmp_path_factory.mktemp("programs")
    jax.config.update("jax_dump_ir_to", str(folder))
    try:
        for name, call in CALLS.items():
            results[name] = jax.tree.map(np.asarray, call())
            new = {*folder.iterdir()} - read
            read |= new
            products[name] = [line for path in new for line in single_products(path.read_text())]
    finally:
        jax.config.update("jax_dump_ir_to", "")
    return results, products


@pytest.mark.parametrize("name", CALLS)
def test_every_float32_product_states_its_precision(name, called):
    assert not loose(called[1][name])


def test_float32_products_are_seen(called):
    seen = {name for name, lines in called[1].items() if lines}
    assert seen >= {*WITH_SINGLE, "gradient of log_likelihood"}


IN_SINGLE = {
    "log_likelihood": (lmm.log_likelihood, (0.4, K, Y[:, 0], X)),
    "heritability": (lmm.heritability, (K, Y, X)),
    "profile_log_likelihood": (lmm.profile_log_likelihood, (K, Y, X)),
}
"""Functions with derivatives in single precision: those of the others need 64-bit types."""


@pytest.fixture
def _traced_anew():
    """JAX keeps the derivatives of a program, traced under the settings of whoever was first."""
    jax.clear_caches()


def derivative(function):
    return jax.grad(lambda values: jnp.sum(function(*values)))


DERIVATIVES = {
    "gradient": derivative,
    "gradient of a program": lambda function: derivative(jax.jit(function)),
    "tangent of a program": lambda function: lambda at: jax.jvp(jax.jit(function), at, at),
    "gradients together": lambda function: jax.vmap(derivative(jax.jit(function))),
}


@pytest.mark.usefixtures("_traced_anew")
@pytest.mark.parametrize("kind", DERIVATIVES)
@pytest.mark.parametrize("name", IN_SINGLE)
def test_derivatives_state_it_whenever_they_are_traced(name, kind):
    function, values = IN_SINGLE[name]
    several = 2 if kind == "gradients together" else None
    at = tuple(jnp.asarray(a, jnp.float32) for a in values)
    at = tuple(jnp.stack([a] * several) for a in at) if several else at
    lines = single_products(jax.jit(DERIVATIVES[kind](function)).lower(at).as_text())
    assert lines
    assert not loose(lines)


@pytest.mark.usefixtures("_traced_anew")
def test_second_derivatives_state_it_too():
    function, values = IN_SINGLE["log_likelihood"]
    at = tuple(jnp.asarray(a, jnp.float32) for a in values)
    gradient = jax.jit(derivative(jax.jit(function)))
    second = jax.jit(lambda at, along: jax.jvp(gradient, (at,), (along,))[1])
    lines = single_products(second.lower(at, at).as_text())
    assert lines
    assert not loose(lines)


@pytest.fixture
def _tensor_floats(monkeypatch):
    """Products as NVIDIA's cards have them: operands of 10 bits where no precision is stated."""
    exact = lax.dot_general_p.bind

    def product(left, right, **parameters):
        stated = parameters["precision"] not in (None, (lax.Precision.DEFAULT,) * 2)
        if left.dtype == right.dtype == jnp.float32 and not stated:
            left, right = (lax.reduce_precision(side, 8, 10) for side in (left, right))
        return exact(left, right, **parameters)

    jax.clear_caches()
    monkeypatch.setattr(lax.dot_general_p, "bind", product)
    yield
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.usefixtures("_tensor_floats")
def test_cards_that_round_operands_change_no_result(called):
    of_caller = jnp.full((2, 2), 1 + 2**-12, jnp.float32)
    assert np.all(of_caller @ of_caller == 2), "a caller's own products are rounded"
    for name in WITH_SINGLE:
        again = jax.tree.map(np.asarray, CALLS[name]())
        for one, other in zip(*map(jax.tree.leaves, (called[0][name], again)), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_double_precision_has_one_door():
    """Where 64-bit types are enabled the precision of float32 among them is stated, too."""
    root = Path(lmm.__file__).parent
    settings = {"enable_x64", "default_matmul_precision"}
    setting = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in settings
    }
    assert setting == {"model/precision.py"}
