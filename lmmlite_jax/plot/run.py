"""Pictures of what ``lmmlite-jax map`` has written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data import match_chromosomes, open_genotypes, read_annotation
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.data.phenotypes import read_features
from lmmlite_jax.plot.eqtl_map import plot_eqtl_map
from lmmlite_jax.plot.heritability import plot_hsq_histogram
from lmmlite_jax.plot.locus import plot_locus
from lmmlite_jax.plot.manhattan import plot_manhattan
from lmmlite_jax.plot.qq import plot_qq

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_run"]


def plot_run(
    prefix: str | os.PathLike[str], mode: str, feature: str | None = None
) -> dict[str, Axes]:
    """Draw the results of a run.

    =================  =============================================================================
    mode               pictures
    =================  =============================================================================
    "cis"              ``qq`` of the features' p-values (``pval_beta``), ``manhattan`` of their best
                       variants, ``hsq``
    "cis_nominal"      ``qq`` of all pairs, ``locus`` of a feature, ``hsq``
    "cis_independent"  ``manhattan`` of the signals, ``hsq``
    "trans"            ``manhattan`` of the pairs, ``eqtl_map`` of variants against features where
                       these have places, ``hsq``
    =================  =============================================================================

    Titles name the run, the mode and what is shown; a Manhattan plot of "trans" has a line at its
    threshold. Variants and features are where the run's own genotypes and phenotypes have them:
    these files must still be there.

    Parameters
    ----------
    prefix : path
        As given to `lmmlite_jax.pipeline.map_files`.
    mode : {"cis", "cis_nominal", "cis_independent", "trans"}
        As given to it.
    feature : str, optional
        Whose ``locus`` is drawn; that of the smallest p-value by default.

    Returns
    -------
    dict of str to matplotlib.axes.Axes

    Raises
    ------
    FileNotFoundError
        If there is no such run, or its genotypes or phenotypes are gone.
    ValueError
        If the run found nothing, or has no such feature.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> import lmmlite_jax as lmm
    >>> from lmmlite_jax.plot import plot_run
    >>> from lmmlite_jax.pipeline import map_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 30)).astype(float)
    >>> variants = pd.DataFrame({"chrom": "1", "pos": np.arange(30) * 1000 + 1},
    ...                         index=[f"rs{j}" for j in range(30)])
    >>> pd.concat([variants, pd.DataFrame(G.T, variants.index, cohort.individuals)],
    ...           axis=1).to_parquet(folder / "dosages.parquet")
    >>> Y = pd.DataFrame((cohort.pheno + 20 * G[:, [7, 20]]).T, ["g1", "g2"], cohort.individuals)
    >>> Y.to_csv(folder / "expression.csv")
    >>> summary = map_files(folder / "dosages.parquet", folder / "expression.csv", folder / "run",
    ...                     mode="trans", kinship="none", pval_threshold=1e-8)
    >>> sorted(plot_run(folder / "run", "trans"))
    ['manhattan']
    """
    run = _read_run(Path(prefix), mode)
    if feature is not None and mode != "cis_nominal":
        raise ValueError(f"A feature is for the pictures of cis_nominal, not of {mode}.")
    if mode == "cis_nominal":
        pictures = {"locus": lambda: _locus(run, feature), "qq": lambda: plot_qq(_log10p(run))}
    elif mode == "trans":
        pictures = {"manhattan": lambda: _manhattan(run)}
        if run.features is not None:
            pictures["eqtl_map"] = lambda: _eqtl_map(run)
    else:
        pictures = {"manhattan": lambda: _manhattan(run)}
        if mode == "cis":
            pictures["qq"] = lambda: plot_qq(-np.log10(run.pairs["pval_beta"].clip(lower=1e-300)))
    hsq = run.pairs.get("hsq")
    if hsq is not None and hsq.notna().any():
        pictures["hsq"] = lambda: _heritabilities(run)
    drawn = {name: draw() for name, draw in pictures.items()}
    for name, axes in drawn.items():
        what = axes.get_title(loc="left") or _of_what(run, name)
        axes.set_title(f"{run.name}, {mode}: {what}", loc="left", fontsize="medium")
    return drawn


@dataclass(frozen=True)
class _Run:
    """Pairs of a run, and where their variants and features are."""

    name: str
    mode: str
    pval_threshold: float
    pairs: pd.DataFrame
    variants: pd.DataFrame
    features: pd.DataFrame | None

    def place(self, what: str, ids: pd.Series) -> pd.DataFrame:
        """Rows of a table of places, whose lack would be another file's than the run's."""
        table = self.variants if what == "variants" else self.features
        assert table is not None
        lacking = ids[~ids.isin(table.index)].unique()
        if len(lacking) and what == "variants":
            raise ValueError(
                f"The genotypes have no variant {few(lacking)}: they have changed since the run."
            )
        return table.reindex(ids)


_FILES = {
    "cis": "cis_qtl.txt.gz",
    "cis_nominal": "cis_qtl_pairs.*.parquet",
    "cis_independent": "cis_independent_qtl.txt.gz",
    "trans": "trans_qtl_pairs.*",
}


def _read_run(prefix: Path, mode: str) -> _Run:
    if mode not in _FILES:
        raise ValueError(f"mode must be one of {', '.join(_FILES)}, got {mode!r}.")
    described = prefix.with_name(f"{prefix.name}.{mode}.summary.json")
    if not described.is_file():
        raise FileNotFoundError(
            f"{described}: there is no finished run of the mode {mode} with this prefix."
        )
    command = json.loads(described.read_text())["command"]
    pandas = require("pandas", "io")
    paths = sorted(prefix.parent.glob(f"{prefix.name}.{_FILES[mode]}"))
    if not paths:
        raise FileNotFoundError(f"{prefix}.{_FILES[mode]}: the results of the run are gone.")
    read: dict[bool, Callable[[Path], pd.DataFrame]] = {
        True: pandas.read_parquet,
        False: lambda path: pandas.read_csv(path, sep="\t", dtype={"phenotype_id": str}),
    }
    pairs = pandas.concat([read[path.suffix == ".parquet"](path) for path in paths])
    if pairs.empty:
        raise ValueError(f"{paths[0]} has no rows: there is nothing to draw.")
    with open_genotypes(command["genotypes"]) as file:
        variants = file.variants
    if command["annotation"] is None:
        features = read_features(command["phenotypes"]).positions
    else:
        features = read_annotation(command["annotation"])
    if features is not None:
        features, _ = match_chromosomes(variants["chrom"], features)
    return _Run(prefix.name, mode, command["pval_threshold"], pairs, variants, features)


def _log10p(run: _Run) -> pd.Series:
    return run.pairs["log10p" if "log10p" in run.pairs else "log10p_gi"]


def _manhattan(run: _Run) -> Axes:
    at = run.place("variants", run.pairs["variant_id"])
    # In the order of the genotypes, of which a run may have found few.
    order = np.argsort(run.variants.index.get_indexer(at.index), kind="stable")
    height = _log10p(run).to_numpy()[order]
    threshold = -np.log10(run.pval_threshold) if run.mode == "trans" else None
    position, chromosome = at["pos"].to_numpy()[order], at["chrom"].to_numpy()[order]
    return plot_manhattan(height, position, chromosome, threshold)


def _heritabilities(run: _Run) -> Axes:
    axes = plot_hsq_histogram(run.pairs.groupby("phenotype_id")["hsq"].median())
    axes.set_ylabel("number of features")
    return axes


def _of_what(run: _Run, picture: str) -> str:
    """Say what a picture shows, for its title."""
    features, rows = run.pairs["phenotype_id"].nunique(), len(run.pairs)
    limit = f"p of at most {run.pval_threshold:g}"
    if picture == "hsq" and run.mode == "trans":
        return f"{counted(features, 'feature')} with a pair of {limit}"
    if picture == "hsq" and run.mode == "cis_independent":
        return f"{counted(features, 'feature')} with a signal"
    if picture == "hsq":
        return f"{counted(features, 'feature')} tested"
    if run.mode == "trans":
        return f"{counted(rows, 'pair')} with {limit}"
    if run.mode == "cis_nominal":
        return counted(rows, "pair")
    if run.mode == "cis_independent":
        return counted(rows, "independent signal")
    if picture == "qq":
        return f"{counted(rows, 'feature')}, p by permutation"
    return f"best variants of {counted(rows, 'feature')}"


def _eqtl_map(run: _Run) -> Axes:
    variants = run.place("variants", run.pairs["variant_id"])
    features = run.place("features", run.pairs["phenotype_id"])
    chrom = features["chrom"].astype(object)
    return plot_eqtl_map(
        variants["chrom"].to_numpy(),
        variants["pos"].to_numpy(),
        chrom.where(chrom.notna(), "").to_numpy(),
        ((features["start"] + features["end"]) / 2).to_numpy(),
        _log10p(run).to_numpy(),
    )


def _locus(run: _Run, feature: str | None) -> Axes:
    log10p = _log10p(run).to_numpy()
    names = run.pairs["phenotype_id"].astype(str).to_numpy()
    if feature is None:
        feature = names[np.nanargmax(log10p)]
    chosen = names == feature
    if not chosen.any():
        raise ValueError(f"The run has no pair of the feature {feature!r}.")
    assert run.features is not None
    variants = run.place("variants", run.pairs["variant_id"][chosen])
    own = run.features.loc[feature].to_dict()
    return plot_locus(
        log10p[chosen],
        variants["pos"].to_numpy(),
        own["start"],
        own["end"],
        name=f"{feature}, chromosome {own['chrom']}",
    )
