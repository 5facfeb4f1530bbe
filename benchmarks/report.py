"""Tables of the pages, written from the committed results.

A table stands between ``<!-- table NAME -->`` and ``<!-- end of table -->``; what is between them
is replaced. Only tables whose results are committed are known.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import compare, render
from peers.programs import OURS_FROM_FILES
from peers.render import table

__all__ = ["PAGES", "TABLES", "filled", "write"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "speed.md")

COHORTS = {
    "pedigree": "simulated pedigree",
    "synth500": "synth500, GEMMA's centred kinship",
    "relatives": "500 relatives, standardised genotypes",
    "bxd": "BXD strains",
    "mice": "recla mice, real traits",
    "geuvadis": "geuvadis, clipped",
}

SEARCHES = {
    "best": "best marker of each trait",
    "hits": "pairs of p < 1e-6",
    "all": "everything",
    "refit best": "h² again for every pair: best marker",
    "refit hits": "h² again for every pair: pairs of p < 1e-6",
    "refit all": "h² again for every pair: everything",
}

OTHER_SHAPES = {
    "n 2000, p 30": "n = 2,000, 30 covariates, 5,000 markers × 2,000 traits",
    "one trait, 100,000 markers": "n = 500, 100,000 markers × one trait",
}

OF_FOUNDERS = {
    "null": "8 founders, 6,025 markers × 26 traits, 19 kinships, missing values: all pairs",
    "refit": "the same, h² estimated for every pair",
}

ON_GPU = {
    "null scan, best": "1,000,000 markers (`int8`) × 20,000 traits, best marker of each trait",
    "null scan, p < 1e-6": "the same, pairs of p < 1e-6",
    "null scan, all": "10,000 × 2,000, all statistics of all pairs (640 MB come back)",
    "refit, best": "10,000 × 256, h² estimated for every pair, best",
    "8 founders, best": "2,000 markers of 8 founders × 2,000 traits, best",
    "fits, n = 1,000": "`fit_traits`, 100,000 traits of 1,000 individuals, decomposition included",
    "fits, a pattern each": "`fit_traits`, 100 traits of 1,000 individuals, each with missing"
    " values of its own",
}


def result(name: str) -> dict[str, Any]:
    """What a benchmark has found."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def number(value: float) -> str:
    """Two digits that count, three from 100 on."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def scan_of_cohorts() -> str:
    """Whole scans over the bare product, for each kinship."""
    kinds = (*SEARCHES, "fits")
    head = [
        "kinship",
        "best",
        "hits",
        "all",
        "refit, best",
        "refit, hits",
        "refit, all",
        "fits alone",
    ]
    rows = []
    for name, row in result("scan")["cohorts"].items():
        cells = [number(row[kind]["over_product"]) for kind in kinds]
        rows.append([f"{COHORTS[name]}, n = {row['n']}", *cells])
    return table(head, rows)


def first_calls() -> str:
    """Seconds of the first call, which compiles, and of those after it."""
    kinds = ("best", "all", "refit best", "refit all")
    rows = []
    for name, row in result("scan")["cohorts"].items():
        cells = [f"{row[k]['first_seconds']:.1f}, {row[k]['seconds']:.2f}" for k in kinds]
        rows.append([f"{COHORTS[name]}, n = {row['n']}", *cells])
    return table(["kinship", "best", "all", "refit, best", "refit, all"], rows)


def scan_range() -> str:
    """The least and the most over all kinships, and which is slowest."""
    cohorts = result("scan")["cohorts"]
    rows = []
    for kind, what in SEARCHES.items():
        over = {name: row[kind]["over_product"] for name, row in cohorts.items()}
        worst = max(over, key=lambda name: over[name])
        least, most = number(min(over.values())), number(over[worst])
        seconds, first = (cohorts[worst][kind][name] for name in ("seconds", "first_seconds"))
        rows.append([what, least, most, COHORTS[worst], f"{seconds:.2g}", f"{first:.1f}"])
    return table(["", "least", "most", "slowest kinship", "its seconds", "first call"], rows)


def scan_other_shapes() -> str:
    """Whole scans far from the shape of the other tables."""
    found = result("scan")
    strains = {name: found["strains"][name]["strains"] for name in ("first", "warm")}
    rows = [
        [
            what,
            number(found["shapes"][name]["over_product"]),
            f"{found['shapes'][name]['seconds']:.2f}",
            f"{found['shapes'][name]['first_seconds']:.1f}",
        ]
        for name, what in OTHER_SHAPES.items()
    ]
    warm = statistics.median(strains["warm"])
    what = "79 strains, 7,321 markers × 35,554 traits"
    rows.append([what, "", f"{warm:.2f}", f"{strains['first']:.1f}"])
    alleles = found["founders"]
    for variance, what in OF_FOUNDERS.items():
        warm = statistics.median(alleles["warm"][variance])
        rows.append([what, "", f"{warm:.2f}", f"{alleles['first'][variance]:.1f}"])
    return table(["best marker of each trait", "times the product", "seconds", "first"], rows)


def missing_values() -> str:
    """Fits in many patterns of missing values, over the decompositions that they need."""
    found = result("missing_bxd")
    rows = [
        [kind, number(found["ratio_to_eigh"][kind]), f"{found['first'][kind]:.0f}"]
        for kind in ("REML", "ML")
    ]
    of = f"times {found['patterns']:,} decompositions"
    return table([f"{found['traits']:,} traits", of, "first call, s"], rows)


def peak_memory() -> str:
    """Seconds and memory of searches whose pairs would fill many gigabytes."""
    rows = []
    for name, what in (("memory", "hits of a scan"), ("memory_interactions", "interactions")):
        found = result(name)
        size = "{markers:,} markers × {traits:,} traits, n = {individuals}".format(**found)
        rows.append([f"{what}, {size}", f"{found['seconds']:.0f}", f"{found['peak_gb']:.2f}"])
    return table(["", "seconds", "GB at most"], rows)


def several_components() -> str:
    """Average-information steps beside L-BFGS, for two numbers of kinships."""
    rows = [
        [
            f"{row['kinships']}",
            number(row["lbfgs_over_information"]),
            f"{row['steps']['lbfgs']:.0f}",
            f"{row['steps']['information']:.0f}",
        ]
        for row in result("components")["rows"]
    ]
    return table(["kinships", "L-BFGS, times ours", "its steps a trait", "ours"], rows)


def on_gpu() -> str:
    """Whole calls on an accelerator."""
    times = result("gpu_NVIDIA_H100_80GB_HBM3")["times"]
    rows = [
        [what, f"{times[name]['warm']:.2f}", f"{times[name]['first']:.0f}"]
        for name, what in ON_GPU.items()
    ]
    return table(["", "seconds", "first call"], rows)


def fits_by_shape() -> str:
    """What fits cost, by n, p and m."""
    rows = []
    for row in result("fit")["shapes"]:
        after, rotated = row["after_over_product"], row["fit_lmm_over_product"]
        cells = (f"{row['n']:,}", f"{row['p']}", f"{row['m']:,}", f"{row['us_per_trait']:.0f}")
        # Of one trait there is nothing beyond that of one.
        rows.append([*cells, number(after) if row["m"] > 1 else "", number(rotated)])
    return table(["n", "p", "m", "µs a trait", "after the rotation", "`fit_lmm`"], rows)


def fits_of_cohorts() -> str:
    """Fits over the product and over a decomposition, for each kinship."""
    rows = []
    for name, row in result("fit")["cohorts"].items():
        after, whole = row["after_over_product"], row["over_eigh"]
        cells = [number(numbers[kind]) for numbers in (after, whole) for kind in ("REML", "ML")]
        rows.append([f"{COHORTS[name]}, n = {row['n']}", *cells])
    head = ["kinship", "after the rotation, REML", "ML", "whole call over one eigh, REML", "ML"]
    return table(head, rows)


def first_result() -> str:
    """Seconds of whole processes."""
    seconds = {name: statistics.median(s) for name, s in result("first_result")["seconds"].items()}
    case = next(one for one in result("peers")["cases"] if one["task"] == "refit-scan")
    (ours,) = (row for row in compare.rows(case) if row.program == OURS_FROM_FILES)
    size = "{M:,} markers, n = {n}".format(**case["sizes"])
    one = f"`map --mode trans --variance refit --pval-threshold 1`, one trait × {size}"
    rows = [
        [one, f"{ours.first:.1f}", f"{ours.seconds:.1f}"],
        [
            "`map --mode cis`, 20 genes × 70,000 variants, n = 100",
            f"{seconds['cis, first']:.1f}",
            f"{seconds['cis, warm']:.1f}",
        ],
        ["importing JAX and SciPy (CPU seconds)", f"{seconds['import, JAX and SciPy']:.2f}", ""],
        [
            "importing all names of the package too",
            f"{seconds['import, all of its names']:.2f}",
            "",
        ],
    ]
    return table(["", "first time", "after"], rows)


def beside_others() -> str:
    """Each task: our seconds, and those of the fastest other program that is right."""
    rows, found = [], result("peers")
    for case in (case for case in found["cases"] if "varies" not in case):
        wrong = [one.program for one in compare.rows(case) if not one.right]
        wrong += [name for name, one in case["programs"].items() if "failed" in one]
        several = [*compare.rivals(case)]
        for where, mine, others in several:
            if not others and len(several) > 1:
                continue
            files = ", from files" if where.endswith("files") else ""
            row = [f"{case['task']}{files}, {render.sizes(case)}"]
            row += [compare.number(mine.seconds), compare.number(mine.first)]
            if others:
                fastest = others[0]
                row += [fastest.program, compare.number(fastest.seconds)]
                row += [render.times_ours(fastest)]
            else:
                row += ["none is right" if wrong else "none", "", ""]
            rows.append([*row, ", ".join(wrong)])
    head = ["task", "ours, s", "first", "fastest other", "its s", "times ours", "wrong or failed"]
    busy = " and ".join(f"{load:.1f}" for load in found["load"])
    which = "Small sizes (`--quick`)" if found["quick"] else "Full sizes"
    said = (
        f"{which} on {render.cores(found)}; load average before and after: {busy}."
        " † rounds differ by more than 25%."
    )
    return f"{said}\n\n{table(head, rows)}"


TABLES: dict[str, Callable[[], str]] = {
    "scan": scan_of_cohorts,
    "scan, first calls": first_calls,
    "scan, range": scan_range,
    "scan, other shapes": scan_other_shapes,
    "fits": fits_of_cohorts,
    "fits by shape": fits_by_shape,
    "first result": first_result,
    "missing values": missing_values,
    "memory": peak_memory,
    "components": several_components,
    "GPU": on_gpu,
    "peers": beside_others,
}
"""By the name that pages give."""


def filled(page: str) -> str:
    """A page with its tables written anew."""

    def write_one(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- table {name} -->\n{TABLES[name]()}\n<!-- end of table -->"

    pattern = r"<!-- table ([^>]*?) -->\n.*?<!-- end of table -->"
    return re.sub(pattern, write_one, page, flags=re.DOTALL)


def peers_page() -> str:
    """The report on other programs, which is committed beside its result."""
    return render.markdown(result("peers"), "peers")


def write() -> list[str]:
    """Write the tables of all pages, and the report on other programs; names of what changed."""
    pages = [*PAGES, RESULTS / "peers.md"]
    before = [page.read_text() for page in pages]
    render.write(RESULTS / "peers.json")
    for path in PAGES:
        path.write_text(filled(path.read_text()))
    return [path.name for path, was in zip(pages, before, strict=True) if path.read_text() != was]
