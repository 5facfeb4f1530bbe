"""Programs: how each is found, how it is installed, and which tasks it does.

Each Python package lives in an environment of its own in a folder of the cache, made on request.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DRIVERS = Path(__file__).parent / "drivers"

OURS = "lmmlite-jax"
OURS_FROM_FILES = f"{OURS}-map"


@dataclass(frozen=True, kw_only=True)
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
    notes: Mapping[str, str] = field(default_factory=dict)
    """What it does otherwise than a task says; under ``""`` what holds for all of its tasks."""
    from_files: tuple[str, ...] = ()
    """Tasks that are whole processes of its, from files to files."""
    kinship: bool = False
    """Whether it is asked for a kinship where the task has none."""

    def python(self, cache: Path) -> Path:
        """The interpreter that runs its driver."""
        return cache / self.name / "bin" / "python" if self.pip else Path(sys.executable)

    def command(self, cache: Path) -> list[str]:
        """What runs its driver."""
        driver = str(DRIVERS / self.driver)
        if driver.endswith(".R"):
            return ["Rscript", str(DRIVERS / "driver.R"), driver]
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


FITS = ("fit-one", "fit-many", "fit-patterns")
NEARBY = ("cis", "cis-nominal", "susie")
FILES = ("refit-scan", "kinship")

_ALL = (
    Program(
        name=OURS,
        driver="ours.py",
        tasks=(
            *FITS,
            "repeated-donors",
            "components",
            "gradient",
            "null-scan",
            "refit-scan",
            "founders",
            "trans",
            *NEARBY,
            "kinship",
        ),
    ),
    Program(
        name=f"{OURS}-relatives",
        driver="ours_relatives.py",
        tasks=("trans", *NEARBY),
        notes={"": "with the kinship, which no other program here has; trans from files to files"},
        kinship=True,
    ),
    Program(
        name=OURS_FROM_FILES,
        driver="ours_map.py",
        tasks=("trans", *FILES),
        notes={"": "our command line, from files to files"},
    ),
    Program(
        name="gemma",
        driver="gemma_.py",
        tasks=("fit-one", *FILES),
        debian=("gemma",),
        asked="gemma -h",
        from_files=FILES,
    ),
    Program(name="jamma", driver="gemma_.py", tasks=FILES, pip=("jamma",), from_files=FILES),
    Program(
        name="fastlmm",
        driver="fastlmm_.py",
        tasks=(*FITS, "null-scan"),
        pip=("fastlmm", "six"),
    ),
    Program(
        name="glimix-core",
        driver="glimix_core_.py",
        tasks=(*FITS, "gradient"),
        pip=("glimix-core",),
        notes={"gradient": "by central differences, two fits of each trait a kinship"},
    ),
    Program(
        name="pylmm",
        driver="pylmm_.py",
        tasks=FITS,
        pip=("pylmm3",),
        notes={"": "its grid of h² ends at 0.99"},
    ),
    Program(
        name="statsmodels",
        driver="statsmodels_.py",
        tasks=("fit-one", "repeated-donors", "components"),
        pip=("statsmodels",),
        notes={
            "repeated-donors": "where donors hardly differ its search ends before the maximum, and"
            " says so"
        },
    ),
    Program(
        name="torch-openreml",
        driver="torch_openreml_.py",
        tasks=("fit-one", "components", "gradient"),
        pip=("torch-openreml",),
        interpreter="python3.12",
        notes={"gradient": "torch's, of its log likelihood at its estimates"},
    ),
    Program(
        name="lme4",
        driver="lme4.R",
        tasks=("fit-one", "repeated-donors"),
        debian=("r-base-core", "r-cran-lme4"),
        asked=_r("lme4"),
    ),
    Program(
        name="airqtl",
        driver="airqtl_.py",
        tasks=("repeated-donors", "null-scan"),
        pip=("airqtl",),
        notes={
            "": "its h² is by ML, not REML",
            "null-scan": "its h² is by ML, not REML, and of each donor it is given one cell",
        },
    ),
    Program(
        name="tensorqtl",
        driver="tensorqtl_.py",
        tasks=("null-scan", "trans", *NEARBY),
        pip=("tensorqtl", "pandas<3", "pandas-plink", "pyarrow<20"),
        from_files=("trans",),
        notes={"": "without kinship, in single precision"},
    ),
    Program(
        name="jaxqtl",
        driver="jaxqtl_.py",
        tasks=("cis", "cis-nominal"),
        pip=("jaxqtl",),
        notes={
            "cis": "it seeks t's degrees of freedom by Nelder and Mead from n - p on, whose steps"
            " grow until they are negative and the search ends in this error; by χ² in place of t,"
            " which its command never takes for this model, it was not ready after 9 minutes"
        },
    ),
    Program(
        name="susier",
        driver="susier.R",
        tasks=("susie",),
        debian=("r-base-core", "r-cran-susier"),
        asked=_r("susieR"),
    ),
    Program(
        name="plink2",
        driver="plink2_.py",
        tasks=("kinship",),
        debian=("plink2",),
        asked="plink2 --version",
        from_files=("kinship",),
    ),
)

PROGRAMS = {program.name: program for program in _ALL}

ELSEWHERE = {
    "R/lmmlite": (
        "Rscript -e 'remotes::install_github(\"kbroman/lmmlite\")'",
        "on GitHub alone; its tables are in tests/test_oracles.py",
    ),
    "R/qtl2": (
        "Rscript -e 'install.packages(\"qtl2\")'",
        "on CRAN alone; 12.0 s for founders, as measured elsewhere",
    ),
    "BulkLMM.jl": (
        "julia -e 'using Pkg; Pkg.add(\"BulkLMM\")'",
        "in Julia's registry alone; its published time is beside our strains in scan",
    ),
    "quasar": (
        "git clone https://github.com/jeffreypullin/quasar",
        "on GitHub alone, to be compiled",
    ),
}
"""Programs that are run nowhere here: the command that installs each, and why."""
