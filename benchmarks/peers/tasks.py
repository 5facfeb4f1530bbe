"""Tasks: what is asked, of how much, and how far from what is right an answer may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from peers import errors
from peers.inputs import Arrays


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question to every program.

    A program's answer is a few columns with one row for each trait, marker or gene that it did: a
    slow one does the first of them only, and its time is stretched to all.
    """

    name: str
    what: str
    cohort: str = "pedigree"
    quick: dict[str, int]
    full: dict[str, int]
    rows: str = "m"
    """The size that an answer has rows for."""
    allowed: dict[str, float]
    """Each measure of an error, and how large it is in an answer that is right."""
    errors: Callable[[Arrays, Arrays, bool], dict[str, float]]
    """From the inputs, an answer, and whether the kinship was asked for."""
    kinship: bool = True
    """Whether programs are asked for a model with kinship."""
    cohorts: tuple[str, ...] = ()
    """Other cohorts that it is done on, once."""
    grown: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes that are changed, one at a time, and to what."""
    why_slower: str = ""
    """Why another program is faster than ours where one is, once compiled."""


_FIT = {"log likelihood lost": 1e-2, "h²": np.inf}
_fit_task = partial(Task, allowed=_FIT, errors=errors.fit_errors)
_gene_task = partial(Task, cohort="mosaic", kinship=False)
_P = {"-log10 p": 1e-3}
_STARTS = (
    "Starting Python, importing JAX and SciPy, and reading and writing are most of a process of"
    " ours. The work itself takes what lmmlite-jax does, on arrays."
)

_ALL = (
    _fit_task(
        name="fit-one",
        what="h² of one trait by REML",
        quick={"n": 300, "M": 10, "m": 1},
        full={"n": 500, "M": 10, "m": 1},
        why_slower="One trait is the decomposition of one matrix and little else. Ours takes one"
        " core for it and theirs take both: ours needs the fewest seconds of processors.",
    ),
    _fit_task(
        name="fit-many",
        what="h² of each trait by REML",
        quick={"n": 300, "M": 2000, "m": 500},
        full={"n": 500, "M": 2000, "m": 5000},
        cohorts=("relatives", "synth500", "bxd", "mice", "geuvadis"),
    ),
    Task(
        name="fit-patterns",
        what="h² of each trait by REML, each observed in strains of its own",
        cohort="patterns",
        quick={"M": 10, "m": 4},
        full={"M": 10, "m": 2000},
        allowed=_FIT,
        errors=errors.pattern_errors,
    ),
    _fit_task(
        name="repeated-donors",
        what="share of variance between donors of each trait by REML, several samples of a donor",
        cohort="repeats",
        quick={"n": 200, "M": 10, "m": 200},
        full={"n": 500, "M": 10, "m": 2000},
    ),
    Task(
        name="components",
        what="shares of variance of several kinships of each trait by REML",
        cohort="strangers",
        quick={"n": 100, "M": 200, "m": 2, "parts": 2},
        full={"n": 500, "M": 1500, "m": 4, "parts": 3},
        allowed={"log likelihood lost": 1e-2},
        errors=errors.component_errors,
    ),
    Task(
        name="gradient",
        what="derivatives of the REML log likelihood of all traits in the weights of kinships",
        cohort="strangers",
        quick={"n": 100, "M": 200, "m": 2, "parts": 3},
        full={"n": 500, "M": 2000, "m": 20, "parts": 20},
        rows="parts",
        allowed={"gradient, relative": 1e-3},
        errors=errors.gradient_errors,
    ),
    Task(
        name="null-scan",
        what="the best marker of each trait, h² estimated without markers",
        quick={"n": 300, "M": 2000, "m": 200},
        full={"n": 500, "M": 10_000, "m": 2000},
        allowed=_P,
        errors=errors.null_scan_errors,
        grown={"n": (250, 1000), "p": (2, 40), "m": (500, 4000), "M": (2500, 20_000)},
    ),
    Task(
        name="refit-scan",
        what="every marker against one trait, h² estimated with each of them, Wald's test",
        quick={"n": 300, "M": 1000, "m": 1},
        full={"n": 500, "M": 5000, "m": 1},
        rows="M",
        allowed=_P,
        errors=errors.refit_scan_errors,
        why_slower=_STARTS,
    ),
    Task(
        name="founders",
        what="LOD scores of 8 founders' alleles, each chromosome's kinship, missing values",
        cohort="founders",
        quick={"M": 100, "m": 14},
        full={"M": 6025, "m": 26},
        rows="M",
        allowed={"LOD": 1e-3},
        errors=errors.founders_errors,
    ),
    Task(
        name="trans",
        what="pairs of p < 1e-3 from files to files, the best of each gene, no kinship",
        quick={"n": 200, "M": 10_000, "m": 50},
        full={"n": 500, "M": 50_000, "m": 2000},
        allowed=_P,
        errors=errors.null_scan_errors,
        why_slower=_STARTS,
        kinship=False,
    ),
    _gene_task(
        name="cis",
        what="the best marker near each gene, p-values by permutation, no kinship",
        quick={"n": 200, "M": 1000, "m": 20, "window": 300, "permutations": 200},
        full={"n": 500, "M": 20_000, "m": 100, "window": 2000, "permutations": 1000},
        allowed=_P | {"permutation p, Monte-Carlo errors": 2.0},
        errors=errors.cis_errors,
    ),
    _gene_task(
        name="cis-nominal",
        what="every marker near each gene, no kinship",
        quick={"n": 200, "M": 1000, "m": 20, "window": 300},
        full={"n": 500, "M": 20_000, "m": 100, "window": 2000},
        allowed=_P,
        errors=errors.cis_nominal_errors,
    ),
    _gene_task(
        name="susie",
        what="inclusion probabilities near each gene by the sum of single effects, no kinship",
        quick={"n": 200, "M": 1000, "m": 5, "window": 300},
        full={"n": 500, "M": 20_000, "m": 100, "window": 2000},
        allowed={"PIP": 0.05},
        errors=errors.susie_errors,
    ),
    Task(
        name="kinship",
        what="centred kinship of all markers",
        quick={"n": 300, "M": 5000, "m": 1},
        full={"n": 500, "M": 50_000, "m": 1},
        rows="n",
        allowed={"K, relative": 1e-5},
        errors=errors.kinship_errors,
        why_slower=_STARTS,
    ),
)

TASKS = {task.name: task for task in _ALL}
