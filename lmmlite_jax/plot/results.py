"""What ``lmmlite-jax map`` has written, read again to be drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data import match_chromosomes, open_genotypes, read_annotation
from lmmlite_jax.data._names import few
from lmmlite_jax.data.phenotypes import read_features

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODES", "RunResults", "modes_of", "read_results"]

_PAIRS = {
    "cis": "cis_qtl.txt.gz",
    "cis_nominal": "cis_qtl_pairs.*.parquet",
    "cis_independent": "cis_independent_qtl.txt.gz",
    "cis_susie": "SuSiE_lbf.*.parquet",
    "trans": "trans_qtl_pairs.*",
    "trans_susie": "SuSiE_lbf.*.parquet",
}
_BEST_PAIRS = "cis_qtl_top_assoc.txt.gz"
"""All that an interaction with ``--best-only`` has."""

MODES = tuple(_PAIRS)


@dataclass(frozen=True)
class RunResults:
    """Results of a run in one mode, and where its variants and features are.

    Attributes
    ----------
    prefix, mode
        As given to `lmmlite_jax.pipeline.map_files`.
    summary : dict
        What it has returned.
    pairs : pandas.DataFrame
        Rows of features and variants: the best, the signals, or all that were written.
    variants : pandas.DataFrame
        Chromosome and position of each variant of the genotypes, by id.
    features : pandas.DataFrame or None
        Chromosome, start and end of each feature, by id, where they have places.
    """

    prefix: Path
    mode: str
    summary: dict[str, Any]
    pairs: pd.DataFrame
    variants: pd.DataFrame
    features: pd.DataFrame | None

    @property
    def name(self) -> str:
        """Name of the run: its prefix without the folder."""
        return self.prefix.name

    @property
    def command(self) -> dict[str, Any]:
        """Files and options of the run."""
        options: dict[str, Any] = self.summary["command"]
        return options

    @property
    def of_permutations(self) -> str:
        """Name of the column of p-values by permutation that the mode cis goes by."""
        return "pval_perm" if self.command["disable_beta_approx"] else "pval_beta"

    @property
    def log10p(self) -> pd.Series:
        """Minus the decimal logarithm of each pair's p-value.

        Of several interactions that of the smallest, corrected for their number (Šidák 1967) but in
        trans, whose threshold is of the smallest as it is.
        """
        if "log10p" in self.pairs:
            return self.pairs["log10p"]
        products = self.pairs.filter(regex="^log10p_g")
        best, number = products.max(axis=1), products.shape[1]
        if number == 1 or self.mode == "trans":
            return best
        usual = -np.log10(-np.expm1(number * np.log1p(-(10**-best))))
        return usual.where(best < 9, best - np.log10(number))

    def place(self, ids: pd.Series) -> pd.DataFrame:
        """Rows of the variants of these ids, which must be those of the run."""
        lacking = ids[~ids.isin(self.variants.index)].unique()
        if len(lacking):
            raise ValueError(
                f"The genotypes have no variant {few(lacking)}: they have changed since the run."
            )
        return self.variants.loc[ids]

    def table(self, pattern: str) -> pd.DataFrame:
        """Rows of all files that the run has written under names of a pattern.

        Raises
        ------
        FileNotFoundError
            If there is none, or it is gone.
        ValueError
            If it is not as the run has left it.
        """
        return _read_all(self.prefix, self.summary, pattern)


def modes_of(prefix: Path) -> list[str]:
    """List the modes in which a run of this prefix has finished."""
    return [mode for mode in MODES if _described(prefix, mode).is_file()]


def read_results(prefix: Path, mode: str) -> RunResults:
    """Read what a run has written in one mode, and the places of its variants and features.

    Raises
    ------
    FileNotFoundError
        If there is no such run, or its genotypes or phenotypes are gone.
    ValueError
        If there is no such mode, or a file is not as the run has left it.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    described = _described(prefix, mode)
    if not described.is_file():
        others = ", ".join(modes_of(prefix))
        raise FileNotFoundError(
            f"{described}: there is no finished run of the mode {mode} with this prefix"
            f"{f', but of {others}' if others else ''}."
        )
    summary = json.loads(described.read_text())
    command = summary["command"]
    pattern = _BEST_PAIRS if command["best_only"] else _PAIRS[mode]
    pairs = _read_all(prefix, summary, pattern)
    with open_genotypes(command["genotypes"]) as file:
        variants = file.variants
    if command["annotation"] is None:
        features = read_features(command["phenotypes"]).positions
    else:
        features = read_annotation(command["annotation"])
    if features is not None:
        features, _ = match_chromosomes(variants["chrom"].unique(), features)
    return RunResults(prefix, mode, summary, pairs, variants, features)


def _described(prefix: Path, mode: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{mode}.summary.json")


def _read_all(prefix: Path, summary: dict[str, Any], pattern: str) -> pd.DataFrame:
    pandas = require("pandas", "io")
    frames = []
    for one in summary["results"]["files"]:
        # The folder may have moved since.
        path = prefix.parent / Path(one["path"]).name
        if not fnmatch(path.name.removeprefix(f"{prefix.name}."), pattern):
            continue
        if not path.is_file():
            raise FileNotFoundError(f"{path}: this file of the run is gone.")
        with open(path, "rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != one["sha256"]:
                raise ValueError(
                    f"{path} is not as this run has left it: another has written it since. Run "
                    f"the mode {summary['command']['mode']} again."
                )
        if path.suffix == ".parquet":
            frames.append(pandas.read_parquet(path))
        else:
            frames.append(pandas.read_csv(path, sep="\t", dtype={"phenotype_id": str}))
    if frames:
        table: pd.DataFrame = pandas.concat(frames, ignore_index=True)
        return table
    if pattern.startswith("SuSiE_lbf"):  # nothing was found
        return pandas.DataFrame({"phenotype_id": [], "variant_id": [], "cs_id": [], "pip": []})
    raise FileNotFoundError(f"{prefix}.{pattern}: the run has written no such file.")
