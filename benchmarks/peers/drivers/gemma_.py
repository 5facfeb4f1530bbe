"""GEMMA and JAMMA, which takes the same options: whole processes, from files to files."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
from driver import command, main

JAMMA = Path(sys.executable).parent / "jamma"
PROGRAM = f"{JAMMA} --no-telemetry -outdir ." if JAMMA.exists() else "gemma -outdir ."


def association(d):
    """Wald's tests of all markers."""
    files = f"-bfile {d.folder}/genotypes -k {d.folder}/K.txt -c {d.folder}/X.txt"
    command(d, f"{PROGRAM} {files} -lmm 1 -maf 0 -miss 1 -o found")


def fit(d):
    def run():
        association(d)
        log = (d.out / "found.log.txt").read_text()
        genetic, rest = (
            float(re.search(rf"## {name} estimate in the null model = (\S+)", log)[1])
            for name in ("vg", "ve")
        )
        return {"hsq": [genetic / (genetic + rest)]}

    return run


def refit_scan(d):
    def run():
        association(d)
        with (d.out / "found.assoc.txt").open() as file:
            p = [float(row["p_wald"]) for row in csv.DictReader(file, delimiter="\t")]
        return {"log10p": -np.log10(p)}

    return run


def kinship(d):
    def run():
        command(d, f"{PROGRAM} -bfile {d.folder}/genotypes -gk 1 -maf 0 -miss 1 -o found")
        text, binary = d.out / "found.cXX.txt", d.out / "found.cXX.npy"
        return {"K": np.load(binary) if binary.exists() else np.loadtxt(text)}

    return run


main({"fit-one": fit, "refit-scan": refit_scan, "kinship": kinship})
