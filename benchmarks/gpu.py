"""On an accelerator: what it could do at best, whether its numbers are right, and how fast it is.

Usage: ``python benchmarks/gpu.py [--small]``. Writes ``results/gpu_DEVICE.json``. Numbers are
compared with those of the CPU of the same machine, in double precision. Without an accelerator it
runs small, on the CPU, and says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cohorts import strangers
from common import side_by_side, write_result
from jax import lax

import lmmlite_jax as lmm
from lmmlite_jax.mapping.leaving import group_maxima
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.screening import margin_of_product
from lmmlite_jax.model.threads import on_cpu

ROUNDS = 3

RULERS = {
    "float64": (jnp.float64, lax.Precision.HIGHEST),
    "float32": (jnp.float32, lax.Precision.HIGHEST),
    "tf32": (jnp.float32, lax.Precision.DEFAULT),
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
}
"""Products whose rates are the ceilings, accumulated in at least single precision."""


def seconds(run: Callable[[], Any], rounds: int = ROUNDS) -> dict[str, float]:
    """Of the first call, compilation included, and the median of later ones."""
    first, warm = side_by_side({"run": run}, rounds)
    return {"first": first["run"], "warm": statistics.median(warm["run"])}


def ceilings(size: int, n: int) -> dict[str, float]:
    """Rates of bare products of ``size`` markers and traits, and of copies."""
    rng = np.random.default_rng(1)
    g, w = rng.standard_normal((size, n)), rng.standard_normal((n, size))
    found = {}
    with jax.enable_x64(True):
        for name, (dtype, precision) in RULERS.items():
            a, b = jnp.asarray(g, dtype), jnp.asarray(w, dtype)
            wide = jnp.promote_types(dtype, jnp.float32)
            run = jax.jit(
                lambda a, b, p=precision, t=wide: jnp.matmul(
                    a, b, precision=p, preferred_element_type=t
                )
            )
            found[f"product {name}, pairs/s"] = size**2 / seconds(lambda: run(a, b), 7)["warm"]  # noqa: B023
        block = jnp.zeros(size**2, jnp.float32)
        copy = jax.jit(lambda x: x + 1)
        found["copy on the device, bytes/s"] = (
            2 * block.nbytes / seconds(lambda: copy(block))["warm"]
        )
        host = rng.integers(0, 3, size**2, dtype=np.int8)
        found["host to device, bytes/s"] = (
            host.nbytes / seconds(lambda: jax.device_put(host))["warm"]
        )
        times = []
        for _ in range(ROUNDS):
            fresh = jax.block_until_ready(copy(block))
            started = time.perf_counter()
            np.asarray(fresh)
            times.append(time.perf_counter() - started)
        found["device to host, bytes/s"] = block.nbytes / min(times)
    return found


def screens(size: int, n: int) -> dict[str, float]:
    """Pairs a second of a screen's largest part alone, its operands on the device."""
    K, Y, G, X, _ = strangers(size, size, n=n)
    null = lmm.NullModel(K, Y, X)
    (label,) = null.kinship_labels
    found = {}
    with jax.enable_x64(True):
        block = next(block for blocks in null.batches(label) for block in blocks)
        rows = jax.device_put(np.ascontiguousarray(G[None, :, : at_once().markers].swapaxes(1, 2)))
        markers = block.individuals.screen_markers(rows, double=False)
        B, T = len(markers.values), block.traits.size
        some = min(B, at_once().screened)
        exact = np.zeros(0)
        for product in ("single",) if on_cpu() else ("single", "coarse", "fused"):

            def run(product: Any = product) -> Any:
                traits = block.for_screen
                return [group_maxima(markers, traits, product=product, some=some) for _ in range(8)]

            correlations = np.sqrt(np.asarray(run()[0][0], float))
            found[f"screen {product}, pairs/s"] = 8 * B * T / seconds(run, 7)["warm"]
            exact = exact if exact.size else correlations
            margin = margin_of_product(product, n, np.asarray(block.for_screen.margin))
            largest = float(np.max(np.abs(correlations - exact) / margin))
            found[f"screen {product}, error over margin"] = largest
    return found


def checked() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What is compared between devices.

    Not thresholds of permutations: coordinates along eigenvectors are permuted, whose signs each
    library chooses for itself, so that the same seed draws other samples of the same law.
    """
    K, Y, G, X, _ = strangers(3000, 256, n=300)
    gaps = Y.copy()
    gaps[np.random.default_rng(3).random(Y.shape) < 0.002] = np.nan
    null, few = lmm.NullModel(K, Y, X), lmm.NullModel(K, Y[:, :32], X)

    def of(result: Any, *names: str) -> dict[str, np.ndarray]:
        return {name: np.asarray(getattr(result, name)) for name in names}

    fit = "hsq", "loglik", "beta", "sigmasq"
    yield "fits", of(null.fit, *fit)
    yield "fits, ML", of(lmm.fit_traits(K, Y, X, reml=False), *fit)
    yield "fits, missing values", of(lmm.fit_traits(K, gaps, X), *fit)
    yield "scan, best", of(lmm.scan(null, G, keep="best"), "marker", "log10p", "beta")
    yield "scan, hits", of(lmm.scan(null, G, keep=3.0), "marker", "trait", "log10p")
    yield "scan, all", of(lmm.scan(null, G[:, :500]), "log10p", "beta", "se")
    refit = {"variance": "refit"}
    yield "refit, best", of(lmm.scan(few, G, keep="best", **refit), "marker", "log10p", "hsq")
    yield "refit, all", of(lmm.scan(few, G[:, :300], **refit), "log10p", "hsq", "beta")
    P = np.random.default_rng(4).dirichlet(np.ones(8), (300, 50))
    yield "8 founders", of(lmm.scan(null, P), "log10p")


def compare(folder: Path) -> dict[str, dict[str, float]]:
    """Largest differences from the CPU, relative to the largest number of each kind."""
    path = folder / "reference.npz"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--reference", str(path)]
    with subprocess.Popen(command, env=environment) as child:
        here = dict(checked())
        if child.wait():
            raise SystemExit("the reference on the CPU failed, see above")
    found = {}
    with np.load(path) as reference:
        for name, numbers in here.items():
            found[name] = {}
            for field, values in numbers.items():
                other = reference[f"{name}/{field}"]
                if values.shape != other.shape or np.any(np.isnan(values) != np.isnan(other)):
                    found[name][field] = np.inf
                    continue
                found[name][field] = float(np.nanmax(np.abs(values - other)))
                if values.dtype.kind == "f":
                    found[name][field] /= float(np.nanmax(np.abs(other)))
    return found


def times(small: bool) -> Iterator[tuple[str, Callable[[], Any], float]]:
    """What is timed, and how many pairs or traits that are."""
    N, traits = (300, 2000) if small else (1000, 100_000)
    K, Y, _, X, _ = strangers(2000, traits, n=N)
    yield "fits, n = 1,000", lambda: lmm.fit_traits(K, Y, X), traits
    gaps = Y[:, : max(traits // 1000, 16)].copy()
    gaps[np.random.default_rng(3).random(gaps.shape) < 0.001] = np.nan
    yield "fits, a pattern each", lambda: lmm.fit_traits(K, gaps, X), gaps.shape[1]
    n, M, m = (200, 5000, 500) if small else (500, 1_000_000, 20_000)
    K, Y, G, X, _ = strangers(M, m, n=n)
    null = lmm.NullModel(K, Y, X)
    _ = null.fit
    yield "null scan, best", lambda: lmm.scan(null, G, keep="best"), M * m
    yield "null scan, p < 1e-6", lambda: lmm.scan(null, G, keep=6.0), M * m
    some = slice(0, M // 100), slice(0, m // 10)
    part = lmm.NullModel(K, Y[:, some[1]], X)
    yield "null scan, all", lambda: lmm.scan(part, G[:, some[0]]), M * m / 1000
    few = lmm.NullModel(K, Y[:, :256], X)
    yield (
        "refit, best",
        lambda: lmm.scan(few, G[:, some[0]], variance="refit", keep="best"),
        (256 * M / 100),
    )
    yield "refit, all", lambda: lmm.scan(few, G[:, : M // 1000], variance="refit"), 256 * M / 1000
    P = np.random.default_rng(4).dirichlet(np.ones(8), (n, M // 500)).astype(np.float64)
    yield "8 founders, best", lambda: lmm.scan(part, P, keep="best"), P.shape[1] * part.m
    eight = lmm.NullModel(K, Y[:, :8], X)
    yield (
        "permutations, 1,000 of 8 traits",
        lambda: lmm.permutation_threshold(eight, G[:, some[0]], permutations=1000),
        8000 * M / 100,
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small problems, as on a CPU")
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="time what has this in its name alone")
    parser.add_argument("--out", type=Path, help="folder of the result")
    options = parser.parse_args()
    if options.reference:
        numbers = {f"{name}/{key}": v for name, of in checked() for key, v in of.items()}
        np.savez(options.reference, **numbers)
        return
    device = jax.devices()[0].device_kind.replace(" ", "_")
    folder = {} if options.out is None else {"folder": options.out}
    small = options.small or jax.default_backend() == "cpu"
    if small and not options.small:
        print("No accelerator was found: small problems on the CPU.")
    result: dict[str, Any] = {"ceilings": ceilings(1024 if small else 16_384, 500)}
    for name, value in result["ceilings"].items():
        print(f"{name:44} {value:.3g}", flush=True)
    result["screens"] = screens(1024 if small else 8192, 500)
    for name, value in result["screens"].items():
        print(f"{name:44} {value:.3g}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        result["difference from the CPU"] = compare(Path(temporary))
    for name, of in result["difference from the CPU"].items():
        print(f"{name:44} " + "  ".join(f"{k} {v:.1e}" for k, v in of.items()), flush=True)
    result["times"] = {}
    for name, run, count in times(small):
        if options.only not in name:
            continue
        found = seconds(run, 2)
        result["times"][name] = found | {"a second": count / found["warm"]}
        write_result(f"gpu_{device}", result, **folder)  # lest a later one fails
        print(
            f"{name:44} first {found['first']:.2f} s, warm {found['warm']:.3f} s, "
            f"{count / found['warm']:.3g} a second",
            flush=True,
        )
    print(write_result(f"gpu_{device}", result, **folder))


if __name__ == "__main__":
    main()
