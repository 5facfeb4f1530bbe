"""What every benchmark needs: fair timing, a description of the machine, a result file."""

from __future__ import annotations

import compileall
import ctypes
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import lmmlite_jax as lmm

RESULTS = Path(__file__).parent / "results"

PAUSE = 0.1
"""Seconds before a warm call, for the threads of the call before to come to rest."""


def side_by_side(
    rivals: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Time rivals in turn, so that a slow moment of the machine hits all of them.

    With a pause before each: NumPy's threads go on spinning for a while, which would be the next's.

    Returns the seconds of each rival's first call, compilation included, and those of its
    ``rounds`` warm calls.
    """
    first = {name: _seconds(run) for name, run in rivals.items()}
    warm: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            time.sleep(PAUSE)
            warm[name].append(_seconds(run))
    return first, warm


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def keep_memory() -> None:
    """Let this process keep the memory that it frees, with glibc.

    A virtual machine may give it back to its host within seconds, and to fill 640 MB again then
    takes longer than the call that is measured, now and then.
    """
    if platform.libc_ver()[0] == "glibc":
        mmap_threshold, trim_threshold = -3, -1  # of malloc.h
        glibc = ctypes.CDLL(None)
        if not (glibc.mallopt(mmap_threshold, 2**30) and glibc.mallopt(trim_threshold, 2**31 - 1)):
            raise RuntimeError("glibc refuses to keep memory: timings would vary.")


def compile_bytecode() -> None:
    """Leave the package's modules compiled, as pip does when it installs one."""
    compileall.compile_dir(Path(lmm.__file__).parent, quiet=1)


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``<name>.json`` into a folder, with machine, versions and commit."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Processor, device, versions and commit."""
    return {
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "jaxlib", "numpy")},
        "lmmlite-jax": lmm.__version__,
        "commit": _commit(),
    }


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - started


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(__file__).parent
    return subprocess.run(command, cwd=here, capture_output=True, text=True).stdout.strip()
