"""How far an answer is from what is right: from the inputs, the answer, and what was asked.

Each takes whether a model with the kinship was asked for, and names its measures.
"""

from __future__ import annotations

import numpy as np

from peers import reference
from peers.inputs import Arrays

CHECKED = 50
"""Rows of an answer that are checked at the most."""

GENES = 8
"""The same, where a row's reference takes a decomposition or more."""


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


def pattern_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """The same where each trait has individuals of its own."""
    each = []
    for y, hsq in zip(inputs["Y"].T, found["hsq"][:CHECKED], strict=False):
        seen = np.isfinite(y)
        K = inputs["K"][np.ix_(seen, seen)]
        one = {"K": K, "X": inputs["X"][seen], "Y": y[seen, None]}
        each.append(fit_errors(one, {"hsq": np.array([hsq])}, kinship))
    return {name: max(errors[name] for errors in each) for name in each[0]}


def component_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """How much log likelihood is lost at the shares of variance found."""
    R = reference.rotation(None, inputs["X"]).R
    parts, lost = R @ inputs["parts"] @ R.T, []
    for y, shares in zip(inputs["Y"].T, found["hsq"], strict=False):
        best = reference.best_of_shares(parts, R @ y)
        lost.append(best - reference.log_likelihood_of_shares(shares, parts, R @ y))
    return {"log likelihood lost": float(max(0, *lost))}


def null_scan_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of each trait's best marker, h² estimated without markers."""
    turned = reference.rotation(inputs["K"] if kinship else None, inputs["X"])
    count = min(CHECKED, len(found["log10p"]))
    Z, G = turned.R @ inputs["Y"][:, :count], turned.R @ inputs["G"].astype(float)
    hsq = reference.best_hsq(turned.values, Z) if kinship else np.zeros(count)
    right = [reference.log10p(h, turned.values, G, z).max() for h, z in zip(hsq, Z.T, strict=True)]
    return {"-log10 p": float(np.max(np.abs(right - found["log10p"][:count])))}


def refit_scan_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of Wald's test of the first markers, h² estimated again with each of them."""
    X, y = inputs["X"], inputs["Y"][:, :1]
    null = reference.rotation(inputs["K"], X)
    right = []
    for g in inputs["G"][:, : min(GENES, len(found["log10p"]))].T.astype(float):
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


def cis_nominal_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """-log10 p of every marker near the first genes."""
    differences = []
    for gene in range(min(GENES, len(found["log10p"]))):
        _, y, G = whitened(inputs, gene, kinship)
        right = reference.log10p(np.zeros(1), np.zeros(len(y)), G, y)
        differences.append(np.abs(right - found["log10p"][gene]).max())
    return {"-log10 p": float(np.max(differences))}


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


def founders_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """LOD scores of some markers and traits, each chromosome beside the kinship of the others."""
    K, Y, X, P = (inputs[name] for name in ("K", "Y", "X", "G"))
    differences = []
    for j in np.linspace(0, P.shape[1] - 1, GENES // 2).astype(int):
        for t in range(0, Y.shape[1], 4):
            seen = np.isfinite(Y[:, t])
            turned = reference.rotation(K[inputs["chromosome"][j]][np.ix_(seen, seen)], X[seen])
            hsq = reference.best_hsq(turned.values, turned.R @ Y[seen, t : t + 1])
            R = turned.R / np.sqrt(reference.variances(hsq, turned.values))
            lod = reference.lod(R @ P[seen, j].astype(float), R @ Y[seen, t], seen.sum())
            differences.append(abs(lod - found["lod"][j, t]))
    return {"LOD": float(np.max(differences))}


def gradient_errors(inputs: Arrays, found: Arrays, kinship: bool) -> dict[str, float]:
    """Derivatives in the weights of the first kinships, over the largest of them."""
    turned = reference.rotation(inputs["K"], inputs["X"])
    Z = turned.R @ inputs["Y"]
    hsq = reference.best_hsq(turned.values, Z)
    right = reference.gradient(hsq, turned, Z, inputs["parts"][: len(found["gradient"])])
    return {
        "gradient, relative": float(np.abs(right - found["gradient"]).max() / np.abs(right).max())
    }
