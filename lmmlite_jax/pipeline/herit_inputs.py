"""What heritabilities are estimated from: phenotypes, kinship and covariates, samples matched."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmmlite_jax._optional import require
from lmmlite_jax.data import (
    Matched,
    MatchedIds,
    match_ids,
    match_samples,
    open_genotypes,
    read_kinship,
    read_samples_map,
    read_table,
)
from lmmlite_jax.data.covariates import noted_covariates
from lmmlite_jax.data.orientation import has_samples_in_rows, turned
from lmmlite_jax.data.phenotypes import is_oriented, read_features
from lmmlite_jax.pipeline.inputs import (
    note_unused_covariates,
    opened_genotypes,
)
from lmmlite_jax.pipeline.kinship import genotype_kinship
from lmmlite_jax.pipeline.run import Bar, Log

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_herit"]

_Path = str | os.PathLike[str]


def read_herit(
    pheno: _Path,
    kinship: _Path,
    covar: _Path | None = None,
    *,
    genotypes: _Path | None = None,
    samples_map: _Path | None = None,
    log: Log,
    bar: Bar,
) -> Matched:
    """Read phenotypes with their kinship and covariates, and match samples.

    Parameters
    ----------
    pheno : path
        Samples × phenotypes as for `read_table`, or turned; or as for `read_phenotypes`.
    kinship : path or "auto"
        As for `read_kinship`, or to be computed from the genotypes of the samples kept.
    covar : path, optional
        As for `read_covariates`.
    genotypes : path, optional
        As for `open_genotypes`, for "auto".
    samples_map : path, optional
        As for `read_samples_map`; a kinship has the ids of the genotypes.
    log, bar : function
        A function called with each line of the log; and one whose result is a context manager that
        gives a function called with progress.

    Returns
    -------
    Matched
        ``(pheno, kinship, covar, report)``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file cannot be used, samples do not match, or genotypes and "auto" are not together.
    """
    if (str(kinship) == "auto") != (genotypes is not None):
        raise ValueError(
            "The kinship auto is computed from genotypes: give --kinship auto and --genotypes "
            "together, or a file of the kinship alone."
        )
    links = None if samples_map is None else read_samples_map(samples_map)
    if genotypes is not None:
        return _of_genotypes(pheno, covar, genotypes, links, log, bar)
    matrix = read_kinship(kinship)
    unnamed = isinstance(matrix.index, require("pandas", "io").RangeIndex)
    ids: list[str] = [] if unnamed else list(matrix.index)
    values, covariates = _tables(pheno, covar, {*ids, *(links or ())}, log)
    if links is None:
        return match_samples(values, matrix, covariates)
    if unnamed:
        raise ValueError(
            f"{kinship} names no samples, which a map of samples needs: use a kinship that names "
            "its samples."
        )
    matched = _matched("kinship", ids, values, covariates, links)
    own = matched.rows["kinship"]
    return _in_order(matched, values, matrix.iloc[own, own], covariates)


def _of_genotypes(
    pheno: _Path,
    covar: _Path | None,
    genotypes: _Path,
    links: Mapping[str, str] | None,
    log: Log,
    bar: Bar,
) -> Matched:
    """Tables of the samples that have genotypes too, and the kinship of these."""
    with open_genotypes(genotypes) as file:
        for line in opened_genotypes(file):
            log(line)
        values, covariates = _tables(pheno, covar, {*file.samples, *(links or ())}, log)
        matched = _matched("genotypes", file.samples, values, covariates, links)
        with bar("variants read for the kinship", len(file.variants)) as advance:
            found = genotype_kinship(file, samples=matched.rows["genotypes"], progress=advance)
    assert not isinstance(found, dict)
    return _in_order(matched, values, found, covariates)


def _tables(
    pheno: _Path, covar: _Path | None, known: Collection[str], log: Log
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Phenotypes and covariates, samples in rows; ids of samples that are ``known`` tell them."""
    if is_oriented(pheno):
        values = turned(read_features(pheno).values)
    else:
        values = read_table(pheno)
        if has_samples_in_rows(values, known) is False:
            log(f"{pheno}: its columns are samples, and are taken as rows")
            values = turned(values)
    if covar is None:
        note_unused_covariates(Path(pheno), log)
        return values, None
    covariates, notes = noted_covariates(covar, {*known, *values.index})
    for note in notes:
        log(f"{covar}: {note}")
    return values, covariates


def _matched(
    first: str,
    ids: Sequence[str],
    values: pd.DataFrame,
    covariates: pd.DataFrame | None,
    links: Mapping[str, str] | None,
) -> MatchedIds:
    """Samples in all tables, of which ``first`` has the ids of the genotypes."""
    of_all, incomplete = {first: list(ids), "phenotypes": list(values.index)}, {}
    if covariates is not None:
        of_all["covariates"] = list(covariates.index)
        incomplete = {"covariates": list(covariates.index[covariates.isna().any(axis=1)])}
    return match_ids(of_all, links, incomplete)


def _in_order(
    matched: MatchedIds,
    values: pd.DataFrame,
    kinship: pd.DataFrame,
    covariates: pd.DataFrame | None,
) -> Matched:
    """Tables of the samples matched; the kinship is of these already."""
    samples, rows = list(matched.samples), matched.rows
    return Matched(
        values.iloc[rows["phenotypes"]].set_axis(samples),
        kinship.set_axis(samples).set_axis(samples, axis=1),
        None if covariates is None else covariates.iloc[rows["covariates"]].set_axis(samples),
        matched.report,
    )
