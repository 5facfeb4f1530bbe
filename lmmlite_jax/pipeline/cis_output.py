"""Groups of features, and what a run of the mode cis has found, for modes that go on from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from lmmlite_jax._optional import require
from lmmlite_jax.data import read_phenotype_groups
from lmmlite_jax.data._names import counted, few
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.mapping.cis.significant import identified_by

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["groups_of", "read_cis_output", "significant_features"]

Groups = tuple[str, ...] | None
"""Group of each feature."""


def read_cis_output(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what the mode cis has written, here or in tensorQTL, or pairs found from it.

    Parameters
    ----------
    path : path
        ``.parquet``, or text with tabs; a column ``phenotype_id``, and ``qval`` unless all of its
        features are significant.

    Returns
    -------
    pandas.DataFrame
        The table as it is, ids as str.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such table.
    """
    path = Path(path)
    check_readable(path)
    pd, arrow = require("pandas", "io"), require("pyarrow", "io")
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path).reset_index()
        else:
            table = pd.read_csv(path, sep="\t", dtype={"phenotype_id": str, "group_id": str})
    except (
        arrow.ArrowInvalid,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"{path} is no table of the mode cis: {error}") from error
    if "phenotype_id" not in table:
        raise ValueError(
            f"{path} has no column phenotype_id ({few(map(str, table.columns), 6)}): give the "
            "cis_qtl.txt.gz of a run of the mode cis."
        )
    return table.astype({"phenotype_id": str})


def significant_features(
    table: pd.DataFrame, features: tuple[str, ...], groups: Groups, fdr: float
) -> Bool[np.ndarray, " m"]:
    """Which features, or their groups, are significant; of which there must be some."""
    kept = table[table["qval"] <= fdr] if "qval" in table else table
    by = identified_by(table, groups)
    found = np.isin(
        np.asarray(features if groups is None else groups, dtype=object),
        kept[by].to_numpy(dtype=object),
    )
    if not found.any():
        raise ValueError(
            f"None of the {len(features)} features is significant in the cis output, which has "
            f"{len(kept)} at a false discovery rate of {fdr:g}: see that ids are the same."
        )
    return found


def groups_of(
    features: tuple[str, ...], path: str | os.PathLike[str], log: Callable[[str], None]
) -> tuple[str, ...]:
    """Group of each feature, of which each must have one."""
    known = read_phenotype_groups(path)
    without = [name for name in features if name not in known]
    if without:
        some = counted(len(without), "feature has", "features have")
        raise ValueError(
            f"{path}: {some} no group ({few(without)}): give each its line; one that is mapped on "
            "its own may have a group of its own."
        )
    groups = tuple(known[name] for name in features)
    log(f"{path}: {counted(len(features), 'feature')} in {counted(len(set(groups)), 'group')}")
    return groups
