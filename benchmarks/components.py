"""What several variance components cost: many traits in one call, and many kinships.

Rivals of one call for all traits: a loop over them in Python. Rivals of the average-information
steps with C kinships: L-BFGS by optax on the logarithms of the variances, which have no zero, with
the same starts and the same likelihood; each stops when a step promises less than 1e-8 of a log
likelihood. ``short`` is how far the rival's log likelihood is below. Times are of the processor,
but for the traits, where threads count.
Usage: ``python benchmarks/components.py``; writes ``results/components.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from cohorts import marker_groups
from common import median_ratio, side_by_side, write_result
from jax import lax

import lmmlite_jax as lmm
from lmmlite_jax.model.average_information import TraitData, best_start, evaluate, maximise
from lmmlite_jax.model.threads import few_blas_threads

N, TRAITS = 200, 20


def in_bulk(m: int, rounds: int) -> dict[str, Any]:
    matrices, Y = marker_groups(2, m, N)
    K = list(matrices)
    rivals: dict[str, Callable[[], Any]] = {
        "bulk": lambda: lmm.fit_components(K, Y).loglik,
        "loop": lambda: [lmm.fit_components(K, Y[:, j]).loglik for j in range(m)],
    }
    _, seconds = side_by_side(rivals, rounds)
    return {
        "traits": m,
        "median": {name: statistics.median(times) for name, times in seconds.items()},
        "loop_over_bulk": median_ratio(seconds["loop"], seconds["bulk"]),
    }


def by_lbfgs(data: TraitData, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log likelihood at the end, and steps."""
    optimizer = optax.lbfgs()

    @jax.custom_vjp
    def loss(logs: jax.Array) -> jax.Array:
        return -evaluate(data, jnp.exp(logs), True).value

    def forward(logs: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = evaluate(data, jnp.exp(logs), True, rescaled=True)
        return -point.value, -point.score * point.variances

    loss.defvjp(forward, lambda gradient, cotangent: (cotangent * gradient,))

    def advance(search: tuple) -> tuple:
        logs, memory, step, _ = search
        value, gradient = optax.value_and_grad_from_state(loss)(logs, state=memory)
        change, memory = optimizer.update(
            gradient, memory, logs, value=value, grad=gradient, value_fn=loss
        )
        done = jnp.abs(change @ gradient) < 1e-8
        return optax.apply_updates(logs, change), memory, step + 1, done

    logs = jnp.log(start)
    first = (logs, optimizer.init(logs), jnp.zeros((), int), jnp.zeros((), bool))
    logs, _, steps, _ = lax.while_loop(lambda s: ~s[3] & (s[2] < 500), advance, first)
    return -loss(logs), steps


def many_kinships(C: int, rounds: int) -> dict[str, Any]:
    K, Y = marker_groups(C, TRAITS, N)
    K, X = jnp.concatenate([K, jnp.eye(N)[None]]), jnp.ones((N, 1))

    def data(y: jax.Array) -> TraitData:
        return TraitData(K, y - y.mean(), X, jnp.zeros(N), jnp.asarray(N - 1.0))

    def information(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = data(y)
        everything = jnp.ones(C + 1, bool)
        tol, most = jnp.asarray(1e-8), jnp.asarray(500)
        found, steps, _ = maximise(own, best_start(own, True), everything, tol, most, True)
        return found.value, steps

    def lbfgs(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = data(y)
        return by_lbfgs(own, best_start(own, True))

    programs = {
        name: jax.jit(lambda Y, of=of: lax.map(of, Y.T))
        for name, of in (("information", information), ("lbfgs", lbfgs))
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    found = {}
    with few_blas_threads(N):
        for round_ in range(rounds + 1):
            for name, program in programs.items():
                started = time.process_time()
                found[name] = jax.block_until_ready(program(Y))
                if round_:  # the first call compiles
                    seconds[name].append(time.process_time() - started)
    short = found["information"][0] - found["lbfgs"][0]
    return {
        "kinships": C,
        "median": {name: statistics.median(times) for name, times in seconds.items()},
        "steps": {name: float(jnp.mean(steps)) for name, (_, steps) in found.items()},
        "lbfgs_over_information": median_ratio(seconds["lbfgs"], seconds["information"]),
        "largest_short": float(jnp.max(short)),
        "least_short": float(jnp.min(short)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)
    bulk = in_bulk(40, rounds)
    print(bulk, flush=True)
    rows = []
    for C in (2, 8):
        rows.append(many_kinships(C, rounds))
        print(rows[-1], flush=True)
    write_result("components", {"n": N, "bulk": bulk, "traits": TRAITS, "rows": rows})


if __name__ == "__main__":
    main()
