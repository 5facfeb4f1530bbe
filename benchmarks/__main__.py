"""All benchmarks by name: ``python -m benchmarks list | install | run NAME… | compare | report``.

A name is that of a *task*, which other programs do too, or that of a script, which measures us
against the bare product. ``run`` does the tasks with the programs that are installed and writes one
result and its report; the scripts, one after the other, each with the folder of the real data, and
keeps going when one ends in an error. ``compare`` prints in which ratios two results of tasks
differ, † where a report says that it is noisy. ``report`` writes the tables of README.md and
docs/speed.md from the results that are committed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # Scripts and the modules that they share import each other by name.

import cohorts  # noqa: E402
import common  # noqa: E402
import report  # noqa: E402
from peers import agreement, programs, render, tasks  # noqa: E402
from peers import run as peers_run  # noqa: E402
from platformdirs import user_cache_path  # noqa: E402

NO_BENCHMARKS = {"__main__", "cohorts", "common", "report"}
WITH_DATA = {"fit", "missing", "scan"}
"""Scripts that measure real cohorts."""


def scripts() -> list[str]:
    """Names of all scripts."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_BENCHMARKS)


def summary(name: str) -> str:
    """First line of what a script says of itself."""
    said = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    return said.split("\n", 1)[0]


def show(cache: Path) -> None:
    """List tasks, programs, cohorts and scripts."""
    print("tasks")
    for task in tasks.TASKS.values():
        print(f"  {task.name:22}{task.what}")
    print("programs")
    for one in programs.PROGRAMS.values():
        print(f"  {one.name:22}{one.version(cache) or one.install():44}{', '.join(one.tasks)}")
    print("programs that are not run")
    for name, (command, why) in programs.ELSEWHERE.items():
        print(f"  {name:22}{command}  ({why})")
    print("cohorts")
    for name, make in cohorts.COHORTS.items():
        print(f"  {name:22}{(make.__doc__ or '').splitlines()[0]}")
    print("scripts")
    for name in scripts():
        print(f"  {name:22}{summary(name)}")


def run_scripts(chosen: list[str], folder: Path | None) -> int:
    """Run some, and return how many ended in an error."""
    failed = []
    for name in chosen:
        given = [str(folder)] if folder is not None and name in WITH_DATA else []
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *given]).returncode:
            failed.append(name)
    if failed:
        print(f"ended in an error: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def run_tasks(chosen: list[str], options: argparse.Namespace) -> None:
    """Run programs on some tasks, write the result and its report beside it."""
    out = options.out
    if out is None:
        whole = options.all and not (options.quick or options.programs or options.cohorts)
        out = (common.RESULTS if whole else options.cache) / "peers.json"
    settings = peers_run.Settings(
        cache=options.cache,
        quick=options.quick,
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=1.0 if options.quick else 6.0,
        limit=120.0 if options.quick else 600.0,
        data=options.data,
    )
    some = options.programs or [
        name for name, one in programs.PROGRAMS.items() if not (options.quick and one.kinship)
    ]
    found = peers_run.run(
        [tasks.TASKS[name] for name in chosen],
        [programs.PROGRAMS[name] for name in some],
        options.cohorts,
        settings,
        vary=(options.all or options.vary) and not options.quick,
    )
    common.write_result(out.stem, found, out.parent)
    print("written:", ", ".join(map(str, render.write(out))))


def compare(one: Path, other: Path) -> int:
    """Print ratios that differ by more than a quarter; 1 where neither report says so of one."""
    unsaid = False
    for line, said in agreement.differing(*(json.loads(path.read_text()) for path in (one, other))):
        print(f"{line}{' †' if said else ''}")
        unsaid |= not said
    return int(unsaid)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("lmmlite-jax") / "benchmarks",
        help="folder of the other programs' environments [%(default)s]",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="tasks, programs, cohorts and scripts")
    installs = commands.add_parser("install", help="make environments of other programs")
    installs.add_argument("name", nargs="+", choices=list(programs.PROGRAMS))
    runs = commands.add_parser("run", help="run tasks or scripts")
    runs.add_argument("name", nargs="*", choices=[*tasks.TASKS, *scripts(), []])
    runs.add_argument("--all", action="store_true", help="all tasks, all that they vary")
    runs.add_argument(
        "--quick",
        action="store_true",
        help="all tasks or those named, small, once, on one core; no lmmlite-jax-relatives",
    )
    runs.add_argument("--vary", action="store_true", help="other sizes and cohorts; --all does so")
    runs.add_argument("--programs", nargs="+", choices=list(programs.PROGRAMS))
    runs.add_argument("--cohorts", nargs="+", choices=list(cohorts.COHORTS), default=())
    runs.add_argument("--rounds", type=int, help="how often each program runs [3; 1 with --quick]")
    runs.add_argument("--out", type=Path, help="the result, a .json; its report is beside it")
    data = os.environ.get("LMMLITE_JAX_DATA")
    runs.add_argument(
        "--data",
        type=Path,
        default=Path(data) if data else None,
        help="folder of the real data; LMMLITE_JAX_DATA names it too",
    )
    compares = commands.add_parser("compare", help="ratios in which two results of tasks differ")
    compares.add_argument("result", nargs=2, type=Path, help="a .json that run has written")
    commands.add_parser("report", help="write the tables of the pages from the results")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    options = parser().parse_args(arguments)
    if options.command == "list":
        show(options.cache)
        return 0
    if options.command == "install":
        chosen = [programs.PROGRAMS[name] for name in options.name]
        return max(programs.install(one, options.cache) for one in chosen)
    if options.command == "compare":
        return compare(*options.result)
    if options.command == "run":
        named = [name for name in options.name if name in tasks.TASKS]
        if options.all or (options.quick and not named):
            named = list(tasks.TASKS)
        if named:
            run_tasks(named, options)
        chosen = [name for name in options.name if name not in tasks.TASKS]
        return min(run_scripts(chosen, options.data), 1)
    print("written:", ", ".join(report.write()) or "nothing has changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
