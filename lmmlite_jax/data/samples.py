"""The samples that phenotypes, kinship and covariates have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._optional import require

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dropped", "MatchReport", "Matched", "match_samples"]


@dataclass(frozen=True)
class Dropped:
    """Samples of one table that are left out for one reason.

    Attributes
    ----------
    table : str
        "phenotypes", "kinship" or "covariates".
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
        lines = [f"{self.kept} samples matched"]
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

    shared = _shared(tables)
    incomplete = pheno.index[:0] if covar is None else covar.index[covar.isna().any(axis=1)]
    kept = shared[~shared.isin(incomplete)]
    if kept.empty:
        raise ValueError(
            f"All {len(shared)} samples in common have a missing covariate ({few(shared)}): leave "
            "out the covariate that is missing."
        )
    report = MatchReport(len(kept), tuple(_dropped(tables, incomplete)), order_assumed)
    return Matched(
        pheno.loc[kept],
        kinship.loc[kept, kept],
        None if covar is None else covar.loc[kept],
        report,
    )


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


def _shared(tables: dict[str, pd.DataFrame]) -> pd.Index:
    first, *others = tables.values()
    shared = first.index
    for table in others:
        shared = shared[shared.isin(table.index)]
    if shared.empty:
        raise ValueError(_nothing_in_common(tables))
    return shared


def _nothing_in_common(tables: dict[str, pd.DataFrame]) -> str:
    ids = "; ".join(f"{name}: {few(table.index)}" for name, table in tables.items())
    pheno, kinship = tables["phenotypes"], tables["kinship"]
    if pheno.columns.isin(kinship.index).any():
        advice = "the phenotypes have samples in columns, transpose them"
    else:
        advice = "use the same ids in all tables"
    return f"No sample is in all tables ({ids}): {advice}."


def _dropped(tables: dict[str, pd.DataFrame], incomplete: pd.Index) -> Iterator[Dropped]:
    """Group the samples that are left out by table and by what they lack."""
    for name, table in tables.items():
        reasons: dict[str, list[str]] = {}
        others = {other: set(t.index) for other, t in tables.items() if other != name}
        no_covariate = set(incomplete)
        for sample in table.index:
            absent = [other for other, ids in others.items() if sample not in ids]
            if absent:
                reasons.setdefault(f"not in the {' or the '.join(absent)}", []).append(sample)
            elif sample in no_covariate:
                reasons.setdefault("with a missing covariate", []).append(sample)
        for reason, samples in reasons.items():
            yield Dropped(name, reason, len(samples), tuple(str(sample) for sample in samples[:3]))
