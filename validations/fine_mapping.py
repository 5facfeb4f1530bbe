"""Do credible sets hold the causal variants, among relatives? Simulated families.

Nuclear families with genotypes dropped from founders in linkage disequilibrium; a trait at each of
1,000 loci has one to three causal variants beside a polygenic part. The kinship comes from
genotypes. Coverage is the share of 95% credible sets that have a causal variant in them: with the
kinship, and as if nobody were related, which is what susieR and tensorQTL compute.

Usage: ``python -m validations.fine_mapping``; writes ``results/fine_mapping.json``, and fails where
coverage with the kinship is below its bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.random import Generator

import lmmlite_jax as lmm
from benchmarks.common import write_result

RESULTS = Path(__file__).parent / "results"

LOCI = 1000
MARKERS = 200
FAMILIES, CHILDREN = 100, 4
BACKGROUND = 4000
HSQ = 0.6
LEVEL = 0.95
BOUND = 0.94
EXPLAINED = (0.02, 0.08)
FEWEST_COPIES = 0.05
ANCESTORS, ALIKE, SWITCHES = 40, 0.98, 0.02


class Study(NamedTuple):
    """Genotypes of loci after one another, traits, a kinship, and each locus's causal variants."""

    G: np.ndarray
    Y: np.ndarray
    K: np.ndarray
    causal: list[np.ndarray]

    @property
    def windows(self) -> np.ndarray:
        """The variants of each locus."""
        first = np.arange(len(self.causal)) * MARKERS
        return np.column_stack([first, first + MARKERS])


def founders(rng: Generator, markers: int) -> np.ndarray:
    """Haplotypes (founders, 2, markers): mosaics of ancestors, alike at neighbouring markers."""
    count = 2 * FAMILIES
    latent = rng.standard_normal((ANCESTORS, markers))
    for k in range(1, markers):
        latent[:, k] = ALIKE * latent[:, k - 1] + np.sqrt(1 - ALIKE**2) * latent[:, k]
    ancestral = latent > scipy.stats.norm.isf(rng.uniform(FEWEST_COPIES, 0.5, markers))
    switches = rng.random((count, 2, markers)) < SWITCHES
    switches[..., 0] = True
    segment = np.cumsum(switches, axis=2) - 1
    source = rng.integers(0, ANCESTORS, (count, 2, segment.max() + 1))
    return ancestral[np.take_along_axis(source, segment, axis=2), np.arange(markers)]


def families(rng: Generator, markers: int, *, linked: bool) -> np.ndarray:
    """Genotypes of parents and children; a child's haplotype is one of a parent's, or unlinked."""
    parents = founders(rng, markers).reshape(FAMILIES, 2, 2, markers)
    people = [parents.sum(axis=2)]
    for _ in range(CHILDREN):
        which = rng.integers(0, 2, (FAMILIES, 2, 1, 1 if linked else markers))
        passed = np.take_along_axis(parents, np.broadcast_to(which, (*which.shape[:3], markers)), 2)
        people.append(passed.sum(axis=(1, 2))[:, None])
    return np.concatenate(people, axis=1).reshape(-1, markers).astype(np.int8)


def simulate(rng: Generator, loci: int) -> Study:
    """A trait a locus."""
    background = families(rng, BACKGROUND, linked=False)
    K = lmm.kinship(background.astype(float))
    blocks, traits, causal = [], [], []
    standard = (background - background.mean(axis=0)) / (background.std(axis=0) + 1e-9)
    for _ in range(loci):
        G = families(rng, MARKERS, linked=True)
        common = np.flatnonzero(G.std(axis=0) > 0.3)
        chosen = np.sort(rng.choice(common, rng.integers(1, 4), replace=False))
        share = rng.uniform(*EXPLAINED, chosen.size)
        columns = G[:, chosen] / G[:, chosen].std(axis=0)
        effects = columns @ (np.sqrt(share) * rng.choice([-1, 1], chosen.size))
        g = standard @ rng.standard_normal(BACKGROUND) / np.sqrt(BACKGROUND)
        e = rng.standard_normal(len(G))
        traits.append(effects + np.sqrt(HSQ) * g + np.sqrt(1 - HSQ) * e)
        blocks.append(G)
        causal.append(chosen)
    return Study(np.concatenate(blocks, axis=1), np.column_stack(traits), np.asarray(K), causal)


def check(study: Study, kinship: bool) -> dict[str, Any]:
    """Coverage, power and sizes of the credible sets."""
    null = lmm.NullModel(study.K if kinship else None, study.Y)
    found = lmm.map_cis_susie(null, study.G, study.windows, coverage=LEVEL)
    sets = found.sets
    holds = np.zeros(sets.gene.size, dtype=bool)
    seen = 0
    for gene, causal in enumerate(study.causal):
        numbers = causal + gene * MARKERS
        own = np.flatnonzero(sets.gene == gene)
        members = [sets.member[sets.member_set == one] for one in own]
        holds[own] = [np.isin(numbers, some).any() for some in members]
        seen += np.isin(numbers, np.concatenate([*members, np.zeros(0, int)])).sum()
    total = sum(one.size for one in study.causal)
    truth = np.zeros(study.G.shape[1], dtype=bool)
    truth[np.concatenate([one + gene * MARKERS for gene, one in enumerate(study.causal)])] = True
    high = found.pip >= 0.9
    return {
        "sets": int(holds.size),
        "coverage": float(holds.mean()),
        "standard_error": float(np.sqrt(holds.mean() * (1 - holds.mean()) / holds.size)),
        "power": float(seen / total),
        "median_size": float(np.median(sets.size)),
        "share_causal_of_pip_above_0.9": float(truth[found.marker[high]].mean()),
        "converged": float(found.converged.mean()),
        "mean_hsq": float(np.nanmean(found.hsq)) if kinship else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", type=int, default=LOCI)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    study = simulate(np.random.default_rng(arguments.seed), arguments.loci)
    results = {
        name: check(study, kinship) for name, kinship in (("kinship", True), ("unrelated", False))
    }
    for name, row in results.items():
        print(f"{name:10}", *(f"{key} {value}" for key, value in row.items()), sep="  ")
    individuals = FAMILIES * (2 + CHILDREN)
    facts = {"loci": arguments.loci, "individuals": individuals, "hsq": HSQ, "bound": BOUND}
    write_result("fine_mapping", {**facts, **results}, RESULTS)
    if results["kinship"]["coverage"] < BOUND:
        raise SystemExit(f"coverage with the kinship is below {BOUND}")


if __name__ == "__main__":
    main()
