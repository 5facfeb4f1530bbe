"""Mapping beside tensorQTL: the same numbers without kinship.

Usage: ``python benchmarks/against_tensorqtl.py``; prints tables and writes
``results/against_tensorqtl.json``. Needs ``pip install tensorqtl``, beside this package. What both
take is a task of ``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import write_result

import lmmlite_jax as lmm
from lmmlite_jax.pipeline import Files, Settings, map_files

NOMINAL = ["pval_nominal", "slope", "slope_se", "af", "ma_samples", "ma_count"]
TRANS = ["pval", "b", "b_se", "af"]
"""Columns of both programs."""


class Problem(NamedTuple):
    """Genes of relatives on one chromosome, markers a thousand base pairs apart."""

    K: np.ndarray
    Y: np.ndarray
    G: np.ndarray
    X: np.ndarray
    position: np.ndarray
    start: np.ndarray
    window: np.ndarray


def problem(n: int, M: int, m: int, p: int = 10) -> Problem:
    """N individuals in families, M markers, m genes of which every second has a signal."""
    rng = np.random.default_rng(1)
    K = lmm.simulate_cohort(n, 1, seed=1).kinship
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (n, M)).astype(np.float64)
    position = 1000 * np.arange(M)
    start = np.sort(rng.integers(0, position[-1], m))
    root = np.linalg.cholesky(K + 1e-9 * np.eye(n))
    h = rng.uniform(0, 0.9, m)
    Y = np.sqrt(h) * (root @ rng.standard_normal((n, m)))
    Y += np.sqrt(1 - h) * rng.standard_normal((n, m))
    Y[:, ::2] += 0.35 * G[:, np.searchsorted(position, start[::2])]
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    one = np.ones(M, dtype=int)
    window = lmm.cis_windows(one, position, one[:m], start)
    return Problem(K, Y, G, X, position, start, window)


def frames(data: Problem) -> dict[str, Any]:
    """Return what tensorQTL takes."""
    import pandas as pd

    samples = [f"s{i}" for i in range(len(data.Y))]
    markers = [f"v{j}" for j in range(data.G.shape[1])]
    genes = [f"g{t}" for t in range(data.Y.shape[1])]
    return {
        "genotype_df": pd.DataFrame(data.G.T, markers, samples),
        "variant_df": pd.DataFrame({"chrom": "1", "pos": data.position}, markers),
        "phenotype_df": pd.DataFrame(data.Y.T, genes, samples),
        "phenotype_pos_df": pd.DataFrame(
            {"chr": "1", "start": data.start, "end": data.start}, genes
        ),
        "covariates_df": pd.DataFrame(data.X[:, 1:], samples),
    }


def quietly(run: Any, *args: Any, **options: Any) -> Any:
    """Run without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run(*args, **options)


def differences(ours: Any, theirs: Any) -> dict[str, float]:
    """Largest relative difference of each column; of effects, relative to at least their se."""
    found = {}
    for name in theirs:
        a, b = np.asarray(ours[name], float), np.asarray(theirs[name], float)
        scale = np.abs(b)
        if f"{name}_se" in theirs:
            scale = np.maximum(scale, np.asarray(theirs[f"{name}_se"], float))
        found[name] = float(np.max(np.abs(a - b) / np.where(scale > 0, scale, 1.0)))
    return found


def spread(a: Any, b: Any) -> float:
    """Root mean square of log10 ratios of p-values."""
    return float(np.sqrt(np.mean(np.log10(np.asarray(a) / np.asarray(b)) ** 2)))


def compare(data: Problem, permutations: int) -> dict[str, Any]:
    """Agreement without kinship."""
    from tensorqtl import cis

    tables, null = frames(data), lmm.NullModel(None, data.Y, data.X)
    result: dict[str, Any] = {}
    mapped = lmm.map_cis(null, data.G, data.window, permutations=permutations)
    best = mapped.to_pandas(position=data.position, start=data.start, end=data.start)
    first, second = (
        quietly(cis.map_cis, **tables, nperm=permutations, seed=seed, verbose=False)
        for seed in (1, 2)
    )
    result["cis_released"] = differences(best, first[["num_var", *NOMINAL]])
    variants = first["variant_id"].str[1:].astype(int).to_numpy()
    result["cis_same_variant"] = float(np.mean(best["variant_id"].to_numpy() == variants))
    for name in ("pval_perm", "pval_beta", "beta_shape2", "true_df"):
        result[f"{name}_log10_spread"] = {
            "ours_tensorqtl": spread(best[name], first[name]),
            "tensorqtl_other_seed": spread(second[name], first[name]),
        }
    side = best[list(first.columns)].head(5).T
    result["side_by_side"] = {
        name: {"ours": [str(x) for x in side.loc[name]], "tensorqtl": [str(x) for x in row]}
        for name, row in first.head(5).T.iterrows()
    }
    return result


def write_files(folder: Path, data: Problem) -> None:
    """What both programs read: PLINK 1, BED, covariates × samples."""
    from bed_reader import to_bed

    tables = frames(data)
    samples, position = list(tables["genotype_df"].columns), data.position + 1
    sites = {"chromosome": ["1"] * len(position), "bp_position": position}
    names = {"iid": samples, "sid": list(tables["genotype_df"].index)}
    # tensorQTL counts the .bim's second allele, the PLINK 1 file's and we the first.
    calls = 2 - data.G
    to_bed(folder / "genotypes.bed", calls.astype(np.int8), properties={**sites, **names})
    bed = tables["phenotype_df"].reset_index(names="gene_id")
    for column, values in (("end", data.start + 1), ("start", data.start), ("#chr", "1")):
        bed.insert(0, column, values)
    bed.to_csv(folder / "expression.bed", sep="\t", index=False)
    tables["covariates_df"].T.to_csv(folder / "covariates.txt", sep="\t")


def compare_runs(data: Problem) -> dict[str, Any]:
    """Both programs as released, from the same files to files, in the modes without random numbers.

    tensorQTL computes in single precision; ``double`` is its own program with torch's single
    precision replaced by double.
    """
    import pandas as pd

    # Thirty million base pairs: trans leaves out five on either side of a gene.
    data = data._replace(position=10 * data.position, start=10 * data.start)
    program = "import runpy; runpy.run_module('tensorqtl', run_name='__main__')"
    double = f"import torch; torch.float32 = torch.float = torch.float64; {program}"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, data)
        files = [folder / "genotypes", folder / "expression.bed"]
        covariates = folder / "covariates.txt"
        for mode, ending, window, columns in (
            ("cis_nominal", "cis_qtl_pairs.1.parquet", 1_000_000, NOMINAL),
            ("trans", "trans_qtl_pairs.parquet", 5_000_000, TRANS),
        ):
            options: dict[str, Any] = {"pval_threshold": 0.01} if mode == "trans" else {}
            of_run = Files(
                genotypes=files[0], phenotypes=files[1], kinship="none", covariates=covariates
            )
            map_files(of_run, folder / "ours", Settings(mode=mode, window=window, **options))
            ours = _in_order(pd.read_parquet(folder / f"ours.{ending}"))
            for precision, code in (("released", program), ("double", double)):
                command = [sys.executable, "-c", code, *files, precision, "--mode", mode]
                command += ["--covariates", covariates, "-o", folder, "--window", window]
                command += [f"--{key}={value}" for key, value in options.items()]
                subprocess.run([str(x) for x in command], check=True, stdout=subprocess.DEVNULL)
                theirs = _in_order(pd.read_parquet(folder / f"{precision}.{ending}"))
                same = ours[["phenotype_id", "variant_id"]].equals(
                    theirs[["phenotype_id", "variant_id"]]
                )
                both = ours.merge(theirs, on=["phenotype_id", "variant_id"], suffixes=("", "_"))
                theirs = both[[f"{column}_" for column in columns]].set_axis(columns, axis=1)
                found[f"{mode}_{precision}"] = {
                    "pairs": len(both),
                    "same_pairs": same,
                    "differences": differences(both, theirs),
                    "side_by_side": {
                        column: {
                            "ours": [f"{x:.7g}" for x in both[column].head(4)],
                            "tensorqtl": [f"{x:.7g}" for x in theirs[column].head(4)],
                        }
                        for column in columns
                    },
                }
    return found


def _in_order(table: Any) -> Any:
    return table.sort_values(["phenotype_id", "variant_id"], ignore_index=True)


def show_columns(columns: dict[str, dict[str, list[str]]]) -> None:
    """Print both programs' first rows, a column a line."""
    for name, row in columns.items():
        for who, values in row.items():
            print(f"  {name:16}{who:10}" + "".join(f"{value[:14]:>16}" for value in values))


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    agreement = result["agreement"]
    print("largest relative differences of cis, no kinship")
    for name, value in agreement["cis_released"].items():
        print(f"    {name:14}{value:10.1e}")
    print("  same best variant", agreement["cis_same_variant"])
    for part, found in result["files"].items():
        print(f"from files, {part}: {found['pairs']} pairs, all the same: {found['same_pairs']}")
        for name, value in found["differences"].items():
            print(f"    {name:14}{value:10.1e}")
        show_columns(found["side_by_side"])
    print("spread of log10 over genes    ours to tensorQTL   tensorQTL to itself, other seed")
    for name, values in agreement.items():
        if name.endswith("_spread"):
            print(
                f"  {name:28}{values['ours_tensorqtl']:12.4f}{values['tensorqtl_other_seed']:22.4f}"
            )
    print("side by side, the first genes")
    show_columns(agreement["side_by_side"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--permutations", type=int, default=1000)
    options = parser.parse_args()
    if importlib.util.find_spec("tensorqtl") is None:
        sys.exit("tensorQTL is not installed: pip install tensorqtl")
    result = {
        "agreement": compare(problem(500, 4000, 40), options.permutations),
        "files": compare_runs(problem(200, 3000, 60)),
    }
    show(result)
    write_result("against_tensorqtl", result)


if __name__ == "__main__":
    main()
