"""What a run of the mode cis has found, for the modes that go on from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few
from lmmlite_jax.data._text import check_readable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_cis_output", "significant_features", "significant_pairs"]

_THRESHOLDS = ("pval_nominal_threshold", "pval_nominal", "pval_beta")


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
            table = pd.read_csv(path, sep="\t", dtype={"phenotype_id": str})
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
    table: pd.DataFrame, features: tuple[str, ...], fdr: float
) -> Bool[np.ndarray, " m"]:
    """Which features are significant at a false discovery rate; of which there must be some."""
    kept = table[table["qval"] <= fdr] if "qval" in table else table
    found = np.isin(np.asarray(features, dtype=object), kept["phenotype_id"].to_numpy(dtype=object))
    if not found.any():
        raise ValueError(
            f"None of the {len(features)} features is significant in the cis output, which has "
            f"{len(kept)} at a false discovery rate of {fdr:g}: see that ids are the same."
        )
    return found


def significant_pairs(pairs: pd.DataFrame, table: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """Pairs below the nominal threshold of a feature that is significant, as tensorQTL has them.

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    absent = [name for name in ("qval", *_THRESHOLDS) if name not in table]
    if absent:
        raise ValueError(
            f"The cis output has no column {' and no '.join(absent)}, which nominal thresholds "
            "need: give the cis_qtl.txt.gz of a run of the mode cis with its beta approximation."
        )
    kept = table.loc[table["qval"] <= fdr, ["phenotype_id", *_THRESHOLDS]]
    kept = kept.rename(columns={"pval_nominal": "min_pval_nominal"})
    both = pairs.merge(kept, on="phenotype_id")
    below = both["pval_nominal"] < both["pval_nominal_threshold"]
    return both[below].reset_index(drop=True)
