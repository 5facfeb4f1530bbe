"""What a run maps: files read, samples matched, places found."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data import (
    FileDosages,
    GenotypeFile,
    MatchReport,
    Phenotypes,
    match_chromosomes,
    match_ids,
    read_interaction,
    read_loci,
    read_samples_map,
)
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.data.covariates import noted_covariates
from lmmlite_jax.data.orientation import has_samples_in_rows, turned
from lmmlite_jax.data.phenotypes import is_oriented, placed, read_features
from lmmlite_jax.data.qtl2_files import Qtl2Cross, is_qtl2
from lmmlite_jax.mapping.cis.windows import cis_windows
from lmmlite_jax.pipeline.cis_output import groups_of, read_cis_output
from lmmlite_jax.pipeline.kinship import genotype_kinship, read_kinships
from lmmlite_jax.pipeline.settings import Files

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Inputs",
    "Kinship",
    "note_unused_covariates",
    "opened_genotypes",
    "read_inputs",
    "with_intercept",
]

Kinship = np.ndarray | dict[str, np.ndarray] | None
"""One matrix (n, n), one for each chromosome, or none."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Inputs:
    """Matched data of n samples, m features and M variants.

    Attributes
    ----------
    samples : tuple of n str
        Their ids in the genotypes.
    genotypes : GenotypeFile
        The open file.
    dosages : FileDosages
        Those of the samples, (n, M), variants by chromosome and position.
    variants : (M × 4) pandas.DataFrame
        As in `GenotypeFile`, in the order of `dosages`.
    values : (n, m) array
        Phenotypes, NaN where missing.
    features : tuple of m str
        Their ids.
    positions : (m × 3) pandas.DataFrame or None
        ``chrom``, ``start`` and ``end`` of the features, chromosomes named as the variants' are; a
        feature whose place is not known has an empty ``chrom``.
    covariates : (n × p) pandas.DataFrame
        With an intercept.
    interaction : (n × terms) pandas.DataFrame or None
        Interaction terms.
    cis_output : pandas.DataFrame or None
        As from `read_cis_output`.
    loci : (loci × 4) pandas.DataFrame or None
        As from `read_loci`.
    groups : tuple of m str or None
        Group of each feature.
    paired : (n, m) array or None
        A covariate of each feature's own, NaN where it has none.
    kinship : (n, n) array, dict of them by chromosome, or None
        None for ordinary regression, and where it is to be computed from the genotypes.
    report : MatchReport
        Which samples are kept, and which are not and why.
    files : tuple of pathlib.Path
        All that were read.
    """

    samples: tuple[str, ...]
    genotypes: GenotypeFile
    dosages: FileDosages
    variants: pd.DataFrame
    values: np.ndarray
    features: tuple[str, ...]
    positions: pd.DataFrame | None
    covariates: pd.DataFrame
    interaction: pd.DataFrame | None
    cis_output: pd.DataFrame | None
    loci: pd.DataFrame | None
    groups: tuple[str, ...] | None
    paired: np.ndarray | None
    kinship: Kinship
    report: MatchReport
    files: tuple[Path, ...]

    def chromosome(self) -> np.ndarray:
        """Chromosome of each variant."""
        return self.variants["chrom"].to_numpy(dtype=object)

    def windows(self, distance: int) -> np.ndarray:
        """First variant of each feature and the one after its last, equal where there is none."""
        assert self.positions is not None
        return cis_windows(
            self.chromosome(),
            self.variants["pos"].to_numpy(),
            self.positions["chrom"].to_numpy(dtype=object),
            self.positions["start"].to_numpy(),
            self.positions["end"].to_numpy(),
            distance=distance,
        )

    def computed_kinship(
        self, *, loco: bool, progress: Callable[[int], object], most: int | None = None
    ) -> Kinship:
        """Kinship of the samples, standardised; one a chromosome for ``loco``.

        From all variants of the file, or from the first of each chromosome, ``most`` in all.
        """
        which: slice | np.ndarray = slice(None)
        if most is not None:
            chrom = self.genotypes.variants["chrom"]
            which = np.flatnonzero(chrom.groupby(chrom).cumcount() < -(-most // chrom.nunique()))
        found = genotype_kinship(
            self.genotypes, loco=loco, samples=self.dosages.samples, which=which, progress=progress
        )
        if isinstance(found, dict):
            return {name: matrix.to_numpy() for name, matrix in found.items()}
        return found.to_numpy()


def read_inputs(
    genotypes: GenotypeFile,
    files: Files,
    *,
    near: bool = True,
    log: Log = lambda line: None,
) -> Inputs:
    """Read what goes with genotypes, and match samples and chromosomes.

    Parameters
    ----------
    genotypes : GenotypeFile
        As from `open_genotypes`.
    files : Files
        The others.
    near : bool
        Whether places of features are needed, so that those without are left out.
    log : function
        Told what was read, matched and left out, a line at a time.

    Returns
    -------
    Inputs

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file cannot be used, or samples or places do not match.
    """
    for line in opened_genotypes(genotypes):
        log(line)
    links = None if files.samples_map is None else read_samples_map(files.samples_map)
    values, positions = _read_features(
        files.phenotypes, files.annotation, genotypes.samples, links, log
    )
    features, columns = counted(len(values), "feature"), counted(len(values.columns), "sample")
    log(f"{files.phenotypes}: {features}, {columns}")
    if files.covariates is None:
        for path in dict.fromkeys((Path(files.phenotypes), genotypes.path)):
            note_unused_covariates(path, log)
    ids: dict[str, list[str]] = {
        "genotypes": list(genotypes.samples),
        "phenotypes": list(values.columns),
    }
    known = {*ids["genotypes"], *ids["phenotypes"]}
    incomplete: dict[str, list[str]] = {}
    covar = term = None
    if files.covariates is not None:
        covar = _read_named(
            "covariates", noted_covariates, files.covariates, known, ids, incomplete, log
        )
    if files.interaction is not None:
        term = _read_named(
            "interaction", _without_notes, files.interaction, known, ids, incomplete, log
        )
    paired = None
    if files.paired_covariate is not None:
        paired = _read_features(files.paired_covariate, None, genotypes.samples, links, log).values
    matrices = None
    if files.kinship_file is not None:
        matrices = read_kinships(files.kinship_file, genotypes, log)
        ids["kinship"] = list(next(iter(matrices.values())).index)
    matched = match_ids(ids, links, incomplete)
    for line in str(matched.report).splitlines():
        log(line.strip() if line.startswith("  ") is False else line)
    rows = matched.rows
    values, positions = _placed(values, positions, genotypes, near=near, log=log)
    order = _sorted(genotypes, log)
    pd = require("pandas", "io")
    samples = pd.Index(matched.samples)
    table = pd.DataFrame(index=samples)
    if covar is not None:
        table = covar.iloc[rows["covariates"]].set_axis(samples)
    matrix: Kinship = None
    if matrices is not None:
        here = np.ix_(rows["kinship"], rows["kinship"])
        chosen = {name: one.to_numpy()[here] for name, one in matrices.items()}
        matrix = chosen.get("", chosen)
    names, groups = tuple(values.index), files.phenotype_groups
    of_features = None if groups is None else groups_of(names, groups, log)
    numbers = values.to_numpy()[:, rows["phenotypes"]].T
    own = None
    if paired is not None:
        own_samples = values.columns[rows["phenotypes"]]
        if not paired.columns.isin(own_samples).any():
            raise ValueError(
                f"{files.paired_covariate} has none of the samples of {files.phenotypes} "
                f"({few(own_samples)}; its own: {few(paired.columns)})."
            )
        numbers, own = _paired(paired.reindex(columns=own_samples), names, numbers, files, log)
    return Inputs(
        matched.samples,
        genotypes,
        FileDosages(genotypes, rows["genotypes"], order),
        genotypes.variants.iloc[order],
        numbers,
        names,
        positions,
        with_intercept(table),
        None if term is None else term.iloc[rows["interaction"]].set_axis(samples),
        None if files.cis_output is None else read_cis_output(files.cis_output),
        None if files.susie_loci is None else read_loci(files.susie_loci),
        of_features,
        own,
        matrix,
        matched.report,
        (*genotypes.files, *files.tables),
    )


def opened_genotypes(genotypes: GenotypeFile) -> list[str]:
    """Lines of the log about a genotype file."""
    samples = counted(len(genotypes.samples), "sample")
    variants = counted(len(genotypes.variants), "variant")
    return [
        f"{genotypes.path}: {samples}, {variants}",
        f"  dosages are copies of {genotypes.counts}",
        *(f"  {note}" for note in genotypes.notes),
    ]


def with_intercept(covariates: pd.DataFrame) -> pd.DataFrame:
    """Covariates with an intercept before them, unless one is constant."""
    first = covariates.iloc[0]
    if len(first) and ((covariates == first).all() & (first != 0)).any():
        return covariates
    if "intercept" in covariates.columns:
        raise ValueError("The covariate 'intercept' is not constant: give it another name.")
    with_it = covariates.copy()
    with_it.insert(0, "intercept", 1.0)
    return with_it


def _read_named(
    name: str,
    read: Callable[[Any, Collection[str]], tuple[pd.DataFrame, list[str]]],
    path: str | os.PathLike[str],
    known: Collection[str],
    ids: dict[str, list[str]],
    incomplete: dict[str, list[str]],
    log: Log,
) -> pd.DataFrame:
    """Read a table of samples, and note whose they are and who lacks a value."""
    table, notes = read(path, known)
    ids[name] = list(table.index)
    incomplete[name] = list(table.index[table.isna().any(axis=1)])
    log(f"{path}: {name} {few(table.columns, 20)}")
    for note in notes:
        log(f"  {note}")
    return table


def _without_notes(
    path: str | os.PathLike[str], samples: Collection[str]
) -> tuple[pd.DataFrame, list[str]]:
    return read_interaction(path, samples), []


def _read_features(
    path: str | os.PathLike[str],
    annotation: str | os.PathLike[str] | None,
    samples: Collection[str],
    links: Mapping[str, str] | None,
    log: Log,
) -> Phenotypes:
    """Phenotypes, turned where their rows are samples, and their places."""
    found = read_features(path)
    known = {*samples, *(links or ())}
    if not is_oriented(path) and has_samples_in_rows(found.values, known):
        log(f"{path}: its rows are samples, and are taken as columns")
        found = found._replace(values=turned(found.values))
    return found if annotation is None else placed(found, annotation, path)


def _paired(
    paired: pd.DataFrame, features: tuple[str, ...], values: np.ndarray, files: Files, log: Log
) -> tuple[np.ndarray, np.ndarray]:
    """Phenotypes, missing where their own covariates are, and these, in the order of features."""
    having = paired.index.isin(features)
    if not having.any():
        raise ValueError(
            f"{files.paired_covariate} has none of the {counted(len(features), 'feature')} of "
            f"{files.phenotypes} ({few(features)}; its own: {few(paired.index)})."
        )
    log(f"{counted(int(having.sum()), 'feature')} of {len(features)} with a paired covariate")
    own = paired[having].reindex(features).to_numpy().T
    lacking = np.isnan(own) & ~np.isnan(values) & np.isin(features, paired.index)
    if lacking.any():
        some = counted(int(lacking.sum()), "phenotype is", "phenotypes are")
        log(f"  {some} left out, where a paired covariate is missing")
    return np.where(lacking, np.nan, values), own


def note_unused_covariates(path: Path, log: Log) -> None:
    """Say which covariates an R/qtl2 file has, where none are used."""
    if not is_qtl2(path) or not Qtl2Cross(path).has_covariates:
        return
    names = Qtl2Cross(path).covariates()[0].columns
    log(
        f"{path}: its covariates ({few(names)}) are not used: to use them, give this file as "
        "covariates too"
    )


def _placed(
    values: pd.DataFrame,
    positions: pd.DataFrame | None,
    genotypes: GenotypeFile,
    *,
    near: bool,
    log: Log,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Features and their places; without a place they stay only if none is needed."""
    if positions is None:
        if near:
            raise ValueError(
                "The phenotypes have no positions on the genome, which cis mapping needs: give "
                "them as a BED file, or give an annotation."
            )
        return values, None
    nowhere = genotypes.variants["pos"] <= 0
    placed = genotypes.variants["chrom"].isin(positions["chrom"])
    if near and (nowhere & placed).any():
        names = genotypes.variants.index[nowhere & placed]
        raise ValueError(
            f"{genotypes.path}: {counted(len(names), 'variant has', 'variants have')} no position "
            f"in base pairs ({few(names)}), which cis mapping needs: give a physical map."
        )
    positions, notes = match_chromosomes(genotypes.variants["chrom"].unique(), positions)
    for note in notes:
        log(note)
    without = values.index[~values.index.isin(positions.index)]
    if len(without):
        fate = "left out" if near else "tested against all variants"
        some = counted(
            len(without), "feature without a position is", "features without a position are"
        )
        log(f"{some} {fate} ({few(without)})")
    if near:
        return values.loc[positions.index], positions
    whole = positions.reindex(values.index)
    whole["chrom"] = whole["chrom"].astype(object).fillna("")
    return values, whole.fillna({"start": 0, "end": 0}).astype({"start": int, "end": int})


def _sorted(genotypes: GenotypeFile, log: Log) -> np.ndarray:
    """Order of variants by chromosome, as they first appear, and position."""
    pd = require("pandas", "io")
    code = pd.factorize(genotypes.variants["chrom"])[0]
    order = np.lexsort((genotypes.variants["pos"].to_numpy(), code))
    if np.any(np.diff(order) < 0):
        log("the variants are not in order of position, and are sorted")
    return order
