"""Run programs in turn on the same inputs, and judge what they find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cohorts
import common
import numpy as np
from threadpoolctl import threadpool_limits

from peers.inputs import inputs_of, write_inputs
from peers.programs import Program
from peers.tasks import Task

ROOT = Path(__file__).parents[2]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
NOT_PASSED_ON = ("JAX_", "XLA_", "PYTHON")
"""What tests and shells set, that changes what a program compiles or imports."""

TOO_SLOW = 1000.0
"""Seconds for a task beyond which a program is not run on other sizes and cohorts."""


@dataclass(frozen=True)
class Settings:
    """How programs are run."""

    cache: Path
    quick: bool = False
    rounds: int = 3
    seconds: float = 20.0
    """After so many a program that takes one trait after the other stops."""
    limit: float = 900.0
    """After so many a process is ended."""
    data: Path | None = None
    """Folder of the real cohorts."""
    cores: tuple[int, ...] = tuple(sorted(os.sched_getaffinity(0)))
    """Those that a program runs on."""


def environment(program: Program, threads: int) -> dict[str, str]:
    """Of a program's process: as many threads for each, nothing that tests set."""
    kept = {name: x for name, x in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    if not program.pip:
        kept["PYTHONPATH"] = str(ROOT)
    return kept | dict.fromkeys(THREADS, str(threads))


def finished(command: Sequence[str], env: Mapping[str, str], limit: float) -> str | None:
    """None once a command has done its work; otherwise why not, with all that it started ended."""
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            command, env=env, stdout=said, stderr=said, stdin=subprocess.DEVNULL, process_group=0
        )
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            return f"not ready after {limit:.0f} s"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        said.seek(0)
        lines = [line for line in said.read().splitlines() if line.strip()]
    if not status:
        return None
    errors = [line for line in lines if "Error" in line] or lines or [f"exit status {status}"]
    return errors[-1].strip()[:200]


def once(
    program: Program, task: Task, folder: Path, settings: Settings
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Seconds of one process and what it has found; RuntimeError where it failed."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        measured = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measure.py"))]
        words = [task.name, str(folder), str(out), str(settings.seconds)]
        cores = ",".join(map(str, settings.cores))
        command = [*measured, str(out / "whole.json"), cores, *program.command(settings.cache)]
        environ = environment(program, len(settings.cores))
        said = finished([*command, *words], environ, settings.limit)
        if said is not None:
            raise RuntimeError(said)
        times = json.loads((out / "whole.json").read_text())
        times |= json.loads((out / "times.json").read_text())
        if (out / "answer.csv").exists():
            table = np.loadtxt(out / "answer.csv", delimiter=",", skiprows=1, ndmin=2)
            column = "pip" if table.shape[1] > 1 else "hsq"
            return times, {column: table if column == "pip" else table[:, 0]}
        with np.load(out / "answer.npz") as answer:
            return times, dict(answer)


def case(
    task: Task,
    cohort: str,
    size: dict[str, int],
    programs: Sequence[Program],
    settings: Settings,
) -> dict[str, Any]:
    """One task on one cohort by several programs, in turn, and again."""
    where = f"{task.name} on {cohort}"
    print(f"{where}: {size}", flush=True)
    arrays = inputs_of(cohort, size, settings.data)
    found: dict[str, Any] = {"task": task.name, "cohort": cohort}
    found["sizes"] = size | {"n": len(arrays["Y"]), "p": arrays["X"].shape[1]}
    found["programs"] = {program.name: {"rounds": []} for program in programs}
    rows = found["sizes"][task.rows]
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name), arrays)
        for number in range(settings.rounds):
            for program in programs:
                result = found["programs"][program.name]
                if "failed" in result:
                    continue
                try:
                    times, answer = once(program, task, Path(name), settings)
                except RuntimeError as error:
                    result["failed"] = str(error)
                    print(f"{where}, {program.name}: {error}", flush=True)
                    continue
                done = len(next(iter(answer.values())))
                for kind in ("first", "warm"):
                    times[kind] *= rows / done
                    times[f"{kind}_cpu"] *= rows / done
                result["rounds"].append(times | {"rows": done})
                if number == 0:
                    relatives = task.kinship or program.kinship
                    result["errors"] = task.errors(arrays, answer, relatives)
                    took = f"{times['warm']:.3g} s"
                    print(f"{where}, {program.name}: {took}", result["errors"], flush=True)
    return found


def variations(
    task: Task, base: dict[str, Any], programs: Sequence[Program], settings: Settings
) -> Iterator[dict[str, Any]]:
    """The task on other cohorts and of other sizes, once, by programs that are fast enough."""
    once = replace(settings, rounds=1, seconds=settings.seconds / 5)
    fast = []
    for program in programs:
        rounds = base["programs"][program.name]["rounds"]
        if rounds and rounds[-1]["warm"] <= TOO_SLOW:
            fast.append(program)
    for cohort in task.cohorts:
        if settings.data or cohort not in cohorts.REAL:
            yield case(task, cohort, task.full, fast, once) | {"varies": "cohort"}
    for name, values in task.grown.items():
        for value in values:
            size = task.full | {name: value}
            yield case(task, task.cohort, size, fast, once) | {"varies": name}


def each_on_one_core(
    cases: Sequence[tuple[Task, str, Sequence[Program]]], settings: Settings
) -> list[dict[str, Any]]:
    """As many small cases at a time as there are cores: programs mostly start and compile there."""
    free: SimpleQueue[int] = SimpleQueue()
    for core in settings.cores:
        free.put(core)

    def one(task: Task, cohort: str, programs: Sequence[Program]) -> dict[str, Any]:
        core = free.get()
        try:
            return case(task, cohort, task.quick, programs, replace(settings, cores=(core,)))
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(settings.cores)) as pool:
        return [*pool.map(lambda of: one(*of), cases)]


# Other threads of BLAS would go on spinning beside the program that is timed next.
@threadpool_limits.wrap(limits=1, user_api="blas")
def run(
    tasks: Sequence[Task],
    programs: Sequence[Program],
    on: Sequence[str],
    settings: Settings,
    vary: bool = False,
) -> dict[str, Any]:
    """All of them; what `render` writes.

    Each task is done on its own cohort, or on those that are named; to `vary` is to do it on other
    cohorts and of other sizes as well. Quickly, each program has one core.
    """
    common.compile_bytecode()
    versions = {program.name: program.version(settings.cache) for program in programs}
    load = [os.getloadavg()[0]]
    able = {
        task.name: [one for one in programs if task.name in one.tasks and versions[one.name]]
        for task in tasks
    }
    asked = [(task, cohort) for task in tasks for cohort in on or (task.cohort,)]
    if settings.quick:
        cases = each_on_one_core([(*each, able[each[0].name]) for each in asked], settings)
    else:
        cases = [case(task, cohort, task.full, able[task.name], settings) for task, cohort in asked]
    if vary:
        own = {found["task"]: found for found in cases}
        for task in tasks:
            cases += variations(task, own[task.name], able[task.name], settings)
    used = {"cores_used": 1 if settings.quick else len(settings.cores)}
    return {
        "machine": common.machine() | used,
        "load": [*load, os.getloadavg()[0]],
        "quick": settings.quick,
        "seconds_for_one_at_a_time": settings.seconds,
        "too_slow": TOO_SLOW,
        "versions": versions,
        "missing": {one.name: one.install() for one in programs if versions[one.name] is None},
        "cases": cases,
    }
