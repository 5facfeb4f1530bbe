"""Tasks: what is asked, of how much, what is right, and how far a program is from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cohorts
import numpy as np
from bed_reader import to_bed

from peers import reference

Arrays = Mapping[str, np.ndarray]

CHECKED = 50
"""Rows of an answer that are checked at the most."""

GENES = 8
"""The same, where a gene's reference takes seconds."""


@dataclass(frozen=True)
class Task:
    """One question to every program.

    A program's answer is a few columns with one row for each trait, marker or gene that it did: a
    slow one does the first of them only, and its time is stretched to all.
    """

    name: str
    what: str
    cohort: str
    quick: dict[str, int]
    full: dict[str, int]
    rows: str
    """The size that an answer has rows for: m or M."""
    measures: dict[str, float]
    """Each measure of an error, and how large it is in an answer that is right."""
    errors: Callable[[Arrays, Arrays, bool], dict[str, float]]
    """From the inputs, an answer, and whether the kinship was asked for."""
    kinship: bool = True
    """Whether programs are asked for a model with kinship."""


def inputs_of(task: Task, cohort: str, size: dict[str, int], data: Path | None) -> dict[str, Any]:
    """Arrays of a task: whole dosages, a kinship of mean diagonal 1, windows of genes."""
    own = {"n": size["n"]} if cohort in cohorts.OF_ANY_SIZE else {}
    K, Y, G, X = cohorts.COHORTS[cohort](size["M"], size["m"], data, **own)
    G = np.rint(np.clip(G, 0, 2)).astype(np.int8)
    found = {"K": K / np.mean(np.diagonal(K)), "Y": Y, "G": G, "X": X}
    if "window" in size:
        first = np.linspace(0, size["M"] - size["window"], size["m"]).astype(int)
        rng = np.random.default_rng(7)
        for gene in range(0, size["m"], 2):
            causal = first[gene] + rng.choice(size["window"], 1 + gene % 3, replace=False)
            Y[:, gene] += G[:, causal] @ rng.choice([-0.6, 0.6], causal.size)
        found["windows"] = np.column_stack([first, first + size["window"]])
    return found | {name: np.array(size[name]) for name in ("permutations",) if name in size}


def write_inputs(folder: Path, arrays: Arrays) -> None:
    """Files that all programs read: NumPy's, PLINK 1 with the first trait, and text."""
    np.savez(folder / "inputs.npz", **arrays)
    n, M = arrays["G"].shape
    samples = [f"s{i}" for i in range(n)]
    properties = {
        "fid": samples,
        "iid": samples,
        "sid": [f"v{j}" for j in range(M)],
        "chromosome": ["1"] * M,
        "bp_position": 1000 * np.arange(M) + 1,
        "pheno": [repr(float(y)) for y in arrays["Y"][:, 0]],
    }
    to_bed(folder / "genotypes.bed", arrays["G"], properties=properties)
    for name in ("K", "X"):
        np.savetxt(folder / f"{name}.txt", arrays[name], fmt="%.17g")
    np.savetxt(folder / "Y.txt", arrays["Y"], fmt="%.17g")
    if "windows" in arrays:
        np.savetxt(folder / "G.txt", arrays["G"], fmt="%d")
        np.savetxt(folder / "windows.txt", arrays["windows"], fmt="%d")


def fit_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """How much log likelihood is lost at the heritabilities found, and how far they are."""
    turned, given = reference.rotation(inputs["K"], inputs["X"]), found["hsq"][:CHECKED]
    Z = turned.R @ inputs["Y"][:, : len(given)]
    best = reference.best_hsq(turned.values, Z)
    at_best, at_found = (reference.log_likelihood(hsq, turned.values, Z) for hsq in (best, given))
    return {
        "log likelihood lost": float(np.max(np.maximum(at_best - at_found, 0))),
        "h²": float(np.max(np.abs(best - given))),
    }


def null_scan_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of each trait's best marker, h² estimated without markers."""
    turned = reference.rotation(inputs["K"], inputs["X"])
    count = min(CHECKED, len(found["log10p"]))
    Z, G = turned.R @ inputs["Y"][:, :count], turned.R @ inputs["G"].astype(float)
    hsq = reference.best_hsq(turned.values, Z)
    right = [reference.log10p(h, turned.values, G, z).max() for h, z in zip(hsq, Z.T, strict=True)]
    return {"-log10 p": float(np.max(np.abs(right - found["log10p"][:count])))}


def refit_scan_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of Wald's test of the first markers, h² estimated again with each of them."""
    X, y = inputs["X"], inputs["Y"][:, :1]
    null = reference.rotation(inputs["K"], X)
    right = []
    for g in inputs["G"][:, : min(CHECKED, len(found["log10p"]))].T.astype(float):
        beside = reference.rotation(inputs["K"], np.column_stack([X, g]))
        hsq = reference.best_hsq(beside.values, beside.R @ y)
        right.append(reference.log10p(hsq, null.values, null.R @ g[:, None], (null.R @ y)[:, 0])[0])
    return {"-log10 p": float(np.max(np.abs(right - found["log10p"][: len(right)])))}


def whitened(inputs: Arrays, gene: int, kinship: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (q, n), a gene's trait (q,) and the markers of its window (q, w), independent errors."""
    turned = reference.rotation(inputs["K"] if kinship else None, inputs["X"])
    y = turned.R @ inputs["Y"][:, gene]
    hsq = reference.best_hsq(turned.values, y[:, None]) if kinship else np.zeros(1)
    R = turned.R / np.sqrt(reference.variances(hsq, turned.values))
    low, high = inputs["windows"][gene]
    return R, R @ inputs["Y"][:, gene], R @ inputs["G"][:, low:high].astype(float)


def cis_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of the best markers, and p-values by permutation in their Monte-Carlo errors."""
    count, permutations = min(GENES, len(found["log10p"])), int(inputs["permutations"])
    nominal, scores = [], []
    for gene in range(count):
        R, y, G = whitened(inputs, gene, kinship)
        right = reference.log10p(np.zeros(1), np.zeros(len(y)), G, y).max()
        nominal.append(abs(right - found["log10p"][gene]))
        if not kinship:
            p = reference.permutation_pvalue(G, R, inputs["Y"][:, gene], 10 * permutations)
            # Where no permutation does as well, the least p-value is no error.
            error = np.sqrt(max(p * (1 - p), 1 / permutations) * 1.1 / permutations)
            scores.append((found["pval_beta"][gene] - p) / error)
    errors = {"-log10 p": float(np.max(nominal))}
    if scores:
        errors["permutation p, Monte-Carlo errors"] = float(np.sqrt(np.mean(np.square(scores))))
    return errors


def susie_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """Largest difference of a posterior inclusion probability in a gene: the median over genes."""
    largest = []
    for gene in range(min(GENES, len(found["pip"]))):
        _, y, G = whitened(inputs, gene, kinship)
        if np.isfinite(found["pip"][gene]).all():
            largest.append(np.abs(reference.inclusion(G, y) - found["pip"][gene]).max())
    return {"PIP": float(np.median(largest)) if largest else np.inf}


def kinship_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """Largest difference of the centred kinship, relative to its mean diagonal."""
    G = inputs["G"] - inputs["G"].mean(0)
    K = G @ G.T / G.shape[1]
    return {"K, relative": float(np.abs(K - found["K"]).max() / np.mean(np.diagonal(K)))}


TASKS = {
    task.name: task
    for task in (
        Task(
            "fit-one",
            "h² of one trait by REML",
            "pedigree",
            {"n": 300, "M": 10, "m": 1},
            {"n": 500, "M": 10, "m": 1},
            "m",
            {"log likelihood lost": 1e-2, "h²": np.inf},
            fit_errors,
        ),
        Task(
            "fit-many",
            "h² of each trait by REML",
            "pedigree",
            {"n": 300, "M": 10, "m": 500},
            {"n": 500, "M": 10, "m": 5000},
            "m",
            {"log likelihood lost": 1e-2, "h²": np.inf},
            fit_errors,
        ),
        Task(
            "null-scan",
            "the best marker of each trait, h² estimated without markers",
            "pedigree",
            {"n": 300, "M": 2000, "m": 200},
            {"n": 500, "M": 10_000, "m": 2000},
            "m",
            {"-log10 p": 1e-3},
            null_scan_errors,
        ),
        Task(
            "refit-scan",
            "every marker against one trait, h² estimated with each of them, Wald's test",
            "pedigree",
            {"n": 300, "M": 1000, "m": 1},
            {"n": 500, "M": 10_000, "m": 1},
            "M",
            {"-log10 p": 1e-3},
            refit_scan_errors,
        ),
        Task(
            "cis",
            "the best marker near each gene, p-values by permutation, no kinship",
            "mosaic",
            {"n": 200, "M": 1000, "m": 20, "window": 300, "permutations": 200},
            {"n": 500, "M": 20_000, "m": 100, "window": 2000, "permutations": 1000},
            "m",
            {"-log10 p": 1e-3, "permutation p, Monte-Carlo errors": 2.0},
            cis_errors,
            kinship=False,
        ),
        Task(
            "susie",
            "inclusion probabilities near each gene by the sum of single effects, no kinship",
            "mosaic",
            {"n": 200, "M": 1000, "m": 10, "window": 300},
            {"n": 500, "M": 20_000, "m": 40, "window": 2000},
            "m",
            {"PIP": 0.05},
            susie_errors,
            kinship=False,
        ),
        Task(
            "kinship",
            "centred kinship of all markers",
            "pedigree",
            {"n": 300, "M": 5000, "m": 1},
            {"n": 500, "M": 50_000, "m": 1},
            "n",
            {"K, relative": 1e-5},
            kinship_errors,
        ),
    )
}
