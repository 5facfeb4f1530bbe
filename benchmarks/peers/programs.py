"""Programs: how each is found, how it is installed, and which tasks it does.

Each Python package lives in an environment of its own in a folder of the cache, made on request.
Not here, for want of a source that everyone can install from, or of a task in common: R/lmmlite and
R/qtl2 (neither Debian nor PyPI), BulkLMM.jl, airqtl (single cells), MatrixEQTL.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DRIVERS = Path(__file__).parent / "drivers"

OURS = "lmmlite-jax"


@dataclass(frozen=True)
class Program:
    """A program that is run beside others.

    `pip` is what its environment needs, its own distribution first; `debian` are Debian's packages.
    Where neither is given it is our own.
    """

    name: str
    driver: str
    tasks: tuple[str, ...]
    pip: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    asked: str = ""
    """Command that prints the version, of Debian's."""
    interpreter: str = sys.executable
    """Which Python its environment is made with."""
    note: str = ""
    """What it does otherwise than the task says."""
    kinship: bool = False
    """Whether it is asked for a kinship where the task has none."""

    def python(self, cache: Path) -> Path:
        """The interpreter that runs its driver."""
        return cache / self.name / "bin" / "python" if self.pip else Path(sys.executable)

    def command(self, cache: Path) -> list[str]:
        """What runs its driver."""
        driver = str(DRIVERS / self.driver)
        if driver.endswith(".R"):
            return ["Rscript", driver]
        return [str(self.python(cache)), driver]

    def install(self) -> str:
        """The command that installs it."""
        if self.debian:
            return f"apt-get install {' '.join(self.debian)}"
        return f"python -m benchmarks install {self.name}"

    def version(self, cache: Path) -> str | None:
        """Its version, None where it is not installed."""
        ask = shlex.split(self.asked)
        if not self.debian:
            distribution = self.pip[0] if self.pip else OURS
            print_it = f"from importlib.metadata import version; print(version({distribution!r}))"
            ask = [str(self.python(cache)), "-c", print_it]
        try:
            said = subprocess.run(ask, capture_output=True, text=True)
        except FileNotFoundError:
            return None
        found = re.search(r"\d+\.\d[\w.+-]*", said.stdout + said.stderr)
        return found[0] if found and not said.returncode else None


def install(program: Program, cache: Path) -> int:
    """Make a program's environment; of Debian's print the command. The exit status."""
    if not program.pip:
        print(program.install() if program.debian else "pip install -e .")
        return 0
    if shutil.which(program.interpreter) is None:
        print(f"{program.name} needs {program.interpreter}, which is not found: put it on the PATH")
        return 1
    made = [program.interpreter, "-m", "venv", "--clear", str(cache / program.name)]
    filled = [str(program.python(cache)), "-m", "pip", "install", "--quiet", *program.pip]
    return subprocess.run(made).returncode or subprocess.run(filled).returncode


def _r(package: str) -> str:
    return f"Rscript -e 'cat(as.character(packageVersion(\"{package}\")))'"


FITS = ("fit-one", "fit-many")
FILES = ("fit-one", "refit-scan", "kinship")

PROGRAMS = {
    program.name: program
    for program in (
        Program(
            OURS,
            "ours.py",
            (*FITS, "null-scan", "refit-scan", "cis", "susie", "kinship"),
        ),
        Program(
            f"{OURS}-relatives",
            "ours_relatives.py",
            ("cis", "susie"),
            note="with the kinship, which no other program here has",
            kinship=True,
        ),
        Program(
            f"{OURS}-map",
            "ours_map.py",
            ("refit-scan", "kinship"),
            note="our command line, from files to files",
        ),
        Program("gemma", "gemma_.py", FILES, debian=("gemma",), asked="gemma -h"),
        Program("jamma", "gemma_.py", ("refit-scan", "kinship"), pip=("jamma",)),
        Program("fastlmm", "fastlmm_.py", (*FITS, "null-scan"), pip=("fastlmm", "six")),
        Program("glimix-core", "glimix_core_.py", FITS, pip=("glimix-core",)),
        Program("statsmodels", "statsmodels_.py", ("fit-one",), pip=("statsmodels",)),
        Program(
            "torch-openreml",
            "torch_openreml_.py",
            ("fit-one",),
            pip=("torch-openreml",),
            interpreter="python3.12",
        ),
        Program(
            "lme4",
            "lme4.R",
            ("fit-one",),
            debian=("r-base-core", "r-cran-lme4"),
            asked=_r("lme4"),
        ),
        Program(
            "tensorqtl",
            "tensorqtl_.py",
            ("null-scan", "cis", "susie"),
            pip=("tensorqtl", "pandas<3", "pandas-plink"),
        ),
        Program("jaxqtl", "jaxqtl_.py", ("cis",), pip=("jaxqtl",)),
        Program(
            "susier",
            "susier.R",
            ("susie",),
            debian=("r-base-core", "r-cran-susier"),
            asked=_r("susieR"),
        ),
        Program("plink2", "plink2_.py", ("kinship",), debian=("plink2",), asked="plink2 --version"),
    )
}
