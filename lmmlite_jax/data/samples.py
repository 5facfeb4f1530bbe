"""The samples that tables and files have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import counted, few, repeated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dropped", "MatchReport", "Matched", "MatchedIds", "match_ids", "match_samples"]


@dataclass(frozen=True)
class Dropped:
    """Samples of one table that are left out for one reason.

    Attributes
    ----------
    table : str
        Its name, such as "phenotypes" or "kinship".
    reason : str
        Why, for example "not in the kinship".
    count : int
        How many.
    examples : tuple of str
        The first few ids.
    """

    table: str
    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        ellipsis = ", …" if self.count > len(self.examples) else ""
        return f"{self.table}: {self.count} {self.reason} ({', '.join(self.examples)}{ellipsis})"


@dataclass(frozen=True)
class MatchReport:
    """Which samples are kept, and which are not and why.

    Attributes
    ----------
    kept : int
        Number of samples in the matched tables.
    dropped : tuple of Dropped
        The others, by table and reason.
    order_assumed : bool
        True if the kinship has no ids and was taken in the phenotypes' order.
    """

    kept: int
    dropped: tuple[Dropped, ...]
    order_assumed: bool

    def __str__(self) -> str:
        lines = [f"{counted(self.kept, 'sample')} matched"]
        if self.order_assumed:
            lines.append("kinship: no ids, its rows are taken in the phenotypes' order")
        return "\n  ".join([*lines, *map(str, self.dropped)])


class Matched(NamedTuple):
    """Tables with the same samples in the same order, and the report of the match."""

    pheno: pd.DataFrame
    kinship: pd.DataFrame
    covar: pd.DataFrame | None
    report: MatchReport


def match_samples(
    pheno: pd.DataFrame, kinship: pd.DataFrame, covar: pd.DataFrame | None = None
) -> Matched:
    """Keep the samples that all tables have, in the phenotypes' order.

    Parameters
    ----------
    pheno : (n, m) pandas.DataFrame
        Phenotypes, sample ids in the index.
    kinship : (k, k) pandas.DataFrame
        Kinship, sample ids in index and columns. One without ids (its index a `pandas.RangeIndex`,
        as from `read_kinship`) is taken in the phenotypes' order, and only if k is n.
    covar : (c, p) pandas.DataFrame, optional
        Covariates, sample ids in the index. Samples with a missing covariate are left out.

    Returns
    -------
    Matched
        ``(pheno, kinship, covar, report)``.

    Raises
    ------
    ValueError
        If an id is repeated, a kinship without ids has another number of rows than `pheno`, or no
        sample is in all tables with its covariates complete.

    Examples
    --------
    >>> import pandas as pd
    >>> from lmmlite_jax.data import match_samples
    >>> pheno = pd.DataFrame({"weight": [21.5, 19.0, 23.0]}, index=["a", "b", "c"])
    >>> kinship = pd.DataFrame([[1, 0.5], [0.5, 1]], index=["c", "a"], columns=["c", "a"])
    >>> matched = match_samples(pheno, kinship)
    >>> print(matched.report)
    2 samples matched
      phenotypes: 1 not in the kinship (b)
    >>> matched.kinship
         a    c
    a  1.0  0.5
    c  0.5  1.0
    """
    order_assumed = _is_unlabelled(kinship)
    if order_assumed:
        kinship = _in_order_of(pheno, kinship)
    tables = {"phenotypes": pheno, "kinship": kinship}
    if covar is not None:
        tables["covariates"] = covar
    for name, table in tables.items():
        _check_unique(name, table.index)

    indexes = {name: table.index for name, table in tables.items()}
    shared = _shared(indexes, indexes, _advice_on_tables(pheno, kinship))
    incomplete = pheno.index[:0] if covar is None else covar.index[covar.isna().any(axis=1)]
    kept = shared[~shared.isin(incomplete)]
    if kept.empty:
        raise ValueError(
            f"Each of the {counted(len(shared), 'sample')} in common has a missing covariate "
            f"({few(shared)}): leave out the covariate that is missing."
        )
    reasons = {"with a missing covariate": set(incomplete)}
    report = MatchReport(len(kept), tuple(_dropped(indexes, reasons)), order_assumed)
    return Matched(
        pheno.loc[kept],
        kinship.loc[kept, kept],
        None if covar is None else covar.loc[kept],
        report,
    )


class MatchedIds(NamedTuple):
    """The samples that all files have, and where each file has them.

    Attributes
    ----------
    samples : tuple of n str
        Ids, in the first file's order.
    rows : dict of str to (n,) int array
        Where each file has them, by the file's name.
    report : MatchReport
        Which samples are kept, and which are not and why.
    """

    samples: tuple[str, ...]
    rows: dict[str, np.ndarray]
    report: MatchReport


def match_ids(
    ids: Mapping[str, Sequence[str]],
    samples_map: Mapping[str, str] | None = None,
    incomplete: Mapping[str, Collection[str]] | None = None,
) -> MatchedIds:
    """Keep the samples that all files have, in the first one's order.

    Parameters
    ----------
    ids : dict of str to sequence of str
        Ids of the samples in each file, by a name for the report: the genotypes first, then the
        phenotypes, then others.
    samples_map : dict of str to str, optional
        Ids in the genotypes by ids in the phenotypes, as from `read_samples_map`. The phenotypes'
        ids are translated by it, and those of each other file that uses the phenotypes' ids; a
        sample that it does not name is left out.
    incomplete : dict of str to collection of str, optional
        Ids of samples left out because a file has a missing value for them, by the file's name.

    Returns
    -------
    MatchedIds
        ``(samples, rows, report)``.

    Raises
    ------
    ValueError
        If a file repeats an id, it cannot be told whether a file has the ids of the genotypes or of
        the phenotypes, or no sample is in all files with all values needed.

    Examples
    --------
    >>> from lmmlite_jax.data import match_ids
    >>> matched = match_ids(
    ...     {"genotypes": ["NA1", "NA2", "NA3"], "phenotypes": ["ERR3", "ERR1", "ERR9"]},
    ...     samples_map={"ERR1": "NA1", "ERR3": "NA3"},
    ... )
    >>> print(matched.samples, matched.rows["phenotypes"])
    ('NA1', 'NA3') [1 0]
    >>> print(matched.report)
    2 samples matched
      phenotypes: 1 not in the map of samples (ERR9)
      genotypes: 1 not in the phenotypes (NA2)
    """
    pd = require("pandas", "io")
    tables = {name: pd.Index(own, dtype="str") for name, own in ids.items()}
    for name, own in tables.items():
        _check_unique(name, own)
    positions = {name: np.arange(len(own)) for name, own in tables.items()}
    lacking = {name: set(own) for name, own in (incomplete or {}).items()}
    dropped = []
    for number, (name, own) in enumerate(tables.items()):
        if samples_map is None or not _has_phenotype_ids(number, name, own, samples_map):
            continue
        mapped = own.isin(list(samples_map))
        positions[name] = np.flatnonzero(mapped)
        tables[name] = pd.Index([samples_map[sample] for sample in own[mapped]], dtype="str")
        lacking[name] = {samples_map.get(sample, sample) for sample in lacking.get(name, ())}
        if not mapped.all():
            left = tuple(own[~mapped])
            dropped.append(Dropped(name, "not in the map of samples", len(left), left[:3]))
    shared = _shared(tables, ids, _advice_on_ids(samples_map))
    kept = shared[~shared.isin(list(set().union(*lacking.values())))]
    if kept.empty:
        raise ValueError(
            f"Each of the {counted(len(shared), 'sample')} in common has a missing value in the "
            f"{' or the '.join(lacking)} ({few(shared)}): leave out the column that is missing."
        )
    reasons = {f"with a missing value in the {name}": own for name, own in lacking.items()}
    dropped += _dropped(tables, reasons)
    rows = {name: positions[name][table.get_indexer(kept)] for name, table in tables.items()}
    report = MatchReport(len(kept), tuple(dropped), order_assumed=False)
    return MatchedIds(tuple(kept), rows, report)


def _has_phenotype_ids(
    number: int, name: str, own: pd.Index, samples_map: Mapping[str, str]
) -> bool:
    """Tell whose ids a file has, where it is neither the genotypes' (0) nor the phenotypes' (1)."""
    if number < 2:
        return number == 1
    as_phenotypes = int(own.isin(list(samples_map)).sum())
    as_genotypes = int(own.isin(list(samples_map.values())).sum())
    if as_phenotypes == as_genotypes > 0:
        raise ValueError(
            f"The {name} have as many ids of the genotypes as of the phenotypes, by the map of "
            f"samples ({few(own)}), so that it cannot be told which they are: use ids that differ."
        )
    return as_phenotypes > as_genotypes


def _is_unlabelled(kinship: pd.DataFrame) -> bool:
    return isinstance(kinship.index, require("pandas", "io").RangeIndex)


def _in_order_of(pheno: pd.DataFrame, kinship: pd.DataFrame) -> pd.DataFrame:
    if len(kinship) != len(pheno):
        raise ValueError(
            f"The kinship has no sample ids and {len(kinship)} rows, the phenotypes have "
            f"{len(pheno)}: use a kinship that names its samples."
        )
    return kinship.set_axis(pheno.index, axis=0).set_axis(pheno.index, axis=1)


def _check_unique(name: str, ids: pd.Index) -> None:
    if not ids.is_unique:
        twice = few(repeated(ids))
        raise ValueError(f"The {name} repeat sample ids ({twice}): keep one row for each.")


def _shared(
    tables: Mapping[str, pd.Index], given: Mapping[str, Iterable[str]], advice: str
) -> pd.Index:
    shared, *others = tables.values()
    for table in others:
        shared = shared[shared.isin(table)]
    if shared.empty:
        ids = "; ".join(f"{name}: {few(own)}" for name, own in given.items())
        raise ValueError(f"No sample is in all tables ({ids}): {advice}.")
    return shared


def _advice_on_tables(pheno: pd.DataFrame, kinship: pd.DataFrame) -> str:
    if pheno.columns.isin(kinship.index).any():
        return "the phenotypes have samples in columns, transpose them"
    return "use the same ids in all tables"


def _advice_on_ids(samples_map: Mapping[str, str] | None) -> str:
    if samples_map is None:
        return "use the same ids in all, or give a map of samples"
    return (
        "the map of samples has in its first column ids of the genotypes "
        f"({few(samples_map.values())}) and in its second ids of the phenotypes "
        f"({few(samples_map)}), see that they are those of the files"
    )


def _dropped(
    tables: Mapping[str, pd.Index], incomplete: Mapping[str, Collection[str]]
) -> Iterator[Dropped]:
    """Group the samples that are left out by table and by what they lack."""
    for name, table in tables.items():
        reasons: dict[str, list[str]] = {}
        others = {other: set(index) for other, index in tables.items() if other != name}
        for sample in table:
            absent = [other for other, ids in others.items() if sample not in ids]
            lacks = [reason for reason, samples in incomplete.items() if sample in samples]
            if absent:
                reasons.setdefault(f"not in the {' or the '.join(absent)}", []).append(sample)
            elif lacks:
                reasons.setdefault(lacks[0], []).append(sample)
        for reason, samples in reasons.items():
            yield Dropped(name, reason, len(samples), tuple(str(sample) for sample in samples[:3]))
