"""All benchmarks by name: ``python -m benchmarks list | run NAME… | report``.

``run`` calls the script of each name with the folder of the real data, one after the other, and
keeps going when one ends in an error; ``report`` writes the tables of README.md and docs/speed.md
from the results that are committed.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NO_BENCHMARKS = {"__main__", "cohorts", "common", "report"}
WITHOUT_DATA = {"gradients", "kernel_gradients", "memory", "map_files", "against_tensorqtl", "gpu"}
"""Scripts that simulate all that they measure."""

PEERS = {
    "gemma": "apt install gemma",
    "jamma": "pip install jamma, in an environment of its own",
    "tensorqtl": "pip install tensorqtl",
    "fastlmm": "pip install fastlmm",
}
"""Programs that run beside ours where they are installed, and how to install them."""


def names() -> list[str]:
    """Of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_BENCHMARKS)


def summary(name: str) -> str:
    """First line of what a script says of itself."""
    said = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    return said.split("\n", 1)[0]


def is_installed(peer: str) -> bool:
    """Whether a program or a module of this name is there."""
    return shutil.which(peer) is not None or importlib.util.find_spec(peer) is not None


def show() -> None:
    """List benchmarks, and the peers that are missing."""
    width = max(map(len, names()))
    for name in names():
        print(f"{name:{width}}  {summary(name)}")
    print()
    for peer, how in PEERS.items():
        print(f"{peer:{width}}  {'installed' if is_installed(peer) else how}")


def run(chosen: list[str], folder: Path | None) -> int:
    """Run some, and return how many ended in an error."""
    failed = []
    for name in chosen:
        given = [str(folder)] if folder is not None and name not in WITHOUT_DATA else []
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *given]).returncode:
            failed.append(name)
    if failed:
        print(f"ended in an error: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all benchmarks, and the peers")
    runs = commands.add_parser("run", help="run some of them")
    runs.add_argument("name", nargs="*", choices=[*names(), []], help="which; all with --all")
    runs.add_argument("--all", action="store_true", help="all of them")
    runs.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("LMMLITE_JAX_DATA"),
        help="folder of the real data; LMMLITE_JAX_DATA names it too",
    )
    commands.add_parser("report", help="write the tables of the pages from the results")
    options = parser.parse_args(arguments)
    if options.command == "list":
        show()
        return 0
    if options.command == "run":
        return min(run(names() if options.all else options.name, options.data), 1)
    sys.path.insert(0, str(HERE))
    import report

    print("written:", ", ".join(report.write()) or "nothing has changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
