"""What every driver does: read the inputs, ask a program twice, write what it found and took.

Usage of a driver: ``DRIVER TASK FOLDER OUT SECONDS``. A program that takes one trait after the
other stops after so many seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

Prepared = Callable[[], dict[str, object]]


def traits(inputs: SimpleNamespace) -> Iterator[np.ndarray]:
    """One trait after the other, until the time is over."""
    started = time.perf_counter()
    for y in inputs.Y.T:
        yield np.ascontiguousarray(y)
        if time.perf_counter() - started > inputs.seconds:
            return


def observed(inputs: SimpleNamespace) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same among the individuals that have each trait, with their kinship and covariates."""
    for y in traits(inputs):
        seen = np.isfinite(y)
        yield y[seen], inputs.K[np.ix_(seen, seen)], inputs.X[seen]


def command(inputs: SimpleNamespace, words: str) -> None:
    """Run a program of the command line in the folder of what is found."""
    done = subprocess.run(words.split(), cwd=inputs.out, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words}\n{done.stdout[-500:]}\n{done.stderr[-500:]}")


def clocks() -> np.ndarray:
    """Seconds by the wall, and of all processors, this process's and its children's."""
    return np.array([time.perf_counter(), sum(os.times()[:4])])


def main(tasks: dict[str, Callable[[SimpleNamespace], Prepared]]) -> None:
    """Ask twice: the first time compiles, where a program does."""
    task, folder, out, seconds = sys.argv[1:]
    arrays = dict(np.load(Path(folder) / "inputs.npz"))
    inputs = SimpleNamespace(**arrays, folder=Path(folder), out=Path(out), seconds=float(seconds))
    run = tasks[task](inputs)
    times = {}
    for which in ("first", "warm"):
        before = clocks()
        found = {name: np.asarray(values) for name, values in run().items()}
        wall, cpu = clocks() - before
        times |= {which: wall, f"{which}_cpu": cpu}
    np.savez(inputs.out / "answer.npz", **found)
    (inputs.out / "times.json").write_text(json.dumps(times))
