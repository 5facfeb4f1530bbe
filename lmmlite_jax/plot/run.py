"""Pictures of what ``lmmlite-jax map`` has written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax.data._names import counted
from lmmlite_jax.plot.eqtl_map import plot_eqtl_map
from lmmlite_jax.plot.heritability import plot_hsq_histogram
from lmmlite_jax.plot.manhattan import plot_manhattan
from lmmlite_jax.plot.qq import plot_qq
from lmmlite_jax.plot.results import RunResults, read_results
from lmmlite_jax.plot.run_locus import OF_A_FEATURE, draw_fine_mapped, draw_locus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_results", "plot_run"]


def plot_run(
    prefix: str | os.PathLike[str], mode: str, feature: str | None = None
) -> dict[str, Axes]:
    """Draw the results of a run.

    =================  =============================================================================
    mode               pictures
    =================  =============================================================================
    "cis"              ``manhattan`` of the features' best variants and ``qq``, both with p-values
                       by permutation (``pval_beta``); ``hsq``
    "cis_nominal"      ``locus`` of a feature, ``qq`` of all pairs, ``hsq``; of the best pairs alone
                       ``manhattan`` and ``hsq``
    "cis_independent"  ``manhattan`` of the signals, ``hsq``
    "cis_susie"        ``locus`` of a feature: probabilities of its variants and credible sets,
                       above them p-values if "cis_nominal" has the same prefix; ``hsq``
    "trans"            ``manhattan`` of the pairs, ``eqtl_map`` of variants against features where
                       these have places, ``hsq``
    "trans_susie"      as of "cis_susie"
    =================  =============================================================================

    Titles name the run, the mode and what is shown. A Manhattan plot of "cis" has a line at the
    false discovery rate, one of "trans" at its threshold. Variants and features are where the run's
    own genotypes and phenotypes have them: these files must still be there.

    Parameters
    ----------
    prefix : path
        As given to `lmmlite_jax.pipeline.map_files`.
    mode : {"cis", "cis_nominal", "cis_independent", "cis_susie", "trans", "trans_susie"}
        As given to it.
    feature : str, optional
        Whose ``locus`` is drawn; by default that of the smallest p-value, or of the credible set
        with the largest Bayes factor.

    Returns
    -------
    dict of str to matplotlib.axes.Axes

    Raises
    ------
    FileNotFoundError
        If there is no such run, or its genotypes or phenotypes are gone.
    ValueError
        If the run found nothing, or has no such feature, or a file is not as the run has left it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> import lmmlite_jax as lmm
    >>> from lmmlite_jax.plot import plot_run
    >>> from lmmlite_jax.pipeline import Files, Settings, map_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 30)).astype(float)
    >>> variants = pd.DataFrame({"chrom": "1", "pos": np.arange(30) * 1000 + 1},
    ...                         index=[f"rs{j}" for j in range(30)])
    >>> pd.concat([variants, pd.DataFrame(G.T, variants.index, cohort.individuals)],
    ...           axis=1).to_parquet(folder / "dosages.parquet")
    >>> Y = pd.DataFrame((cohort.pheno + 20 * G[:, [7, 20]]).T, ["g1", "g2"], cohort.individuals)
    >>> Y.to_csv(folder / "expression.csv")
    >>> files = Files(genotypes=folder / "dosages.parquet", phenotypes=folder / "expression.csv",
    ...               kinship="none")
    >>> summary = map_files(files, folder / "run", Settings(mode="trans", pval_threshold=1e-8))
    >>> sorted(plot_run(folder / "run", "trans"))
    ['manhattan']
    """
    if feature is not None and mode not in OF_A_FEATURE:
        raise ValueError(f"A feature is for the modes {', '.join(OF_A_FEATURE)}, not for {mode}.")
    return draw_results(read_results(Path(prefix), mode), feature)


def draw_results(run: RunResults, feature: str | None = None) -> dict[str, Axes]:
    """Draw results that were read: see `plot_run`."""
    if run.pairs.empty:
        raise ValueError(f"The run {run.prefix} has found nothing: there is nothing to draw.")
    best_only = run.command["best_only"]
    if best_only and feature is not None:
        raise ValueError(
            f"The run {run.prefix} has only the best pair of each feature: run cis_nominal without "
            "--best-only to draw a locus."
        )
    if run.mode == "cis_nominal" and not best_only:
        pictures = {
            "locus": lambda: draw_locus(run, feature),
            "qq": lambda: plot_qq(run.log10p),
        }
    elif run.mode in ("cis_susie", "trans_susie"):
        pictures = {"locus": lambda: draw_fine_mapped(run, feature)}
    elif run.mode == "trans":
        pictures = {"manhattan": lambda: _manhattan(run)}
        if run.features is not None:
            pictures["eqtl_map"] = lambda: _eqtl_map(run)
    else:
        pictures = {"manhattan": lambda: _manhattan(run)}
        if run.mode == "cis":
            pictures["qq"] = lambda: plot_qq(_by_permutation(run))
    hsq = _heritabilities(run)
    if hsq.size:
        pictures["hsq"] = lambda: _draw_heritabilities(hsq)
    drawn = {name: draw() for name, draw in pictures.items()}
    for name, axes in drawn.items():
        what = axes.get_title(loc="left") or _of_what(run, name, hsq.size)
        axes.set_title(f"{run.name}, {run.mode}: {what}", loc="left", fontsize="medium")
    return drawn


def _by_permutation(run: RunResults) -> np.ndarray:
    """-log10 of the p-value by permutation of each feature of the mode cis."""
    return -np.log10(run.pairs[run.of_permutations].clip(lower=1e-300).to_numpy())


def _manhattan(run: RunResults) -> Axes:
    at = run.place(run.pairs["variant_id"])
    # In the order of the genotypes, of which a run may have found few, and as long as they are.
    order = np.argsort(run.variants.index.get_indexer(at.index), kind="stable")
    of_all = run.variants.groupby("chrom", sort=False)["pos"].agg(["min", "max"])
    ends = of_all if run.mode == "trans" else of_all.loc[at["chrom"].unique()]
    height, threshold = run.log10p.to_numpy(), None
    if run.mode == "trans":
        threshold = -np.log10(run.command["pval_threshold"])
    elif run.mode == "cis":
        height = _by_permutation(run)
        significant = run.pairs["qval"].to_numpy() <= run.command["fdr"]
        threshold = height[significant].min() if significant.any() else None
    # Ends of chromosomes are places without a height.
    position = np.concatenate([ends.to_numpy().ravel(), at["pos"].to_numpy()[order]])
    chromosome = np.concatenate([ends.index.repeat(2), at["chrom"].to_numpy()[order]])
    height = np.concatenate([np.full(2 * len(ends), np.nan), height[order]])
    return plot_manhattan(height, position, chromosome, threshold)


def _heritabilities(run: RunResults) -> np.ndarray:
    """h² of each feature that has one; of a feature's pairs, the median."""
    susie = run.mode in ("cis_susie", "trans_susie")
    table = run.table("SuSiE_features.txt.gz") if susie else run.pairs
    if "hsq" not in table:
        return np.empty(0)
    hsq: np.ndarray = table.groupby("phenotype_id")["hsq"].median().dropna().to_numpy()
    return hsq


def _draw_heritabilities(hsq: np.ndarray) -> Axes:
    axes = plot_hsq_histogram(hsq)
    axes.set_ylabel("number of features")
    return axes


def _of_what(run: RunResults, picture: str, heritable: int) -> str:
    """Say what a picture shows, for its title."""
    rows = len(run.pairs)
    limit = f"p of at most {run.command['pval_threshold']:g}"
    if picture == "hsq":
        whose = {"trans": f" with a pair of {limit}", "cis_independent": " with a signal"}
        return counted(heritable, "feature") + whose.get(run.mode, " tested")
    if run.mode == "trans":
        return f"{counted(rows, 'pair')} with {limit}"
    if run.mode == "cis_nominal":
        best = run.command["best_only"]
        return f"best pairs of {counted(rows, 'feature')}" if best else counted(rows, "pair")
    if run.mode == "cis_independent":
        return counted(rows, "independent signal")
    if picture == "qq":
        return f"{counted(rows, 'feature')}, p by permutation"
    significant = int((run.pairs["qval"] <= run.command["fdr"]).sum())
    rate = f"{significant} at a false discovery rate of {run.command['fdr']:g}"
    return f"{counted(rows, 'feature')}, {rate}, p by permutation"


def _eqtl_map(run: RunResults) -> Axes:
    assert run.features is not None
    variants = run.place(run.pairs["variant_id"])
    features = run.features.reindex(run.pairs["phenotype_id"])
    chrom = features["chrom"].astype(object)
    return plot_eqtl_map(
        variants["chrom"].to_numpy(),
        variants["pos"].to_numpy(),
        chrom.where(chrom.notna(), "").to_numpy(),
        ((features["start"] + features["end"]) / 2).to_numpy(),
        run.log10p.to_numpy(),
    )
