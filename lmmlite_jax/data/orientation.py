"""Which way round a table is, told by the ids of samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["has_samples_in_rows", "turned"]


def has_samples_in_rows(table: pd.DataFrame, samples: Collection[str]) -> bool | None:
    """Tell whether rows are samples (True) or columns (False); None where as many of both are.

    >>> import pandas as pd
    >>> table = pd.DataFrame([[1.0, 2.0]], index=["mouse1"], columns=["weight", "length"])
    >>> has_samples_in_rows(table, ["mouse1", "mouse2"])
    True
    """
    known = set(samples)
    in_rows, in_columns = (
        sum(name in known for name in side) for side in (table.index, table.columns)
    )
    return None if in_rows == in_columns else in_rows > in_columns


def turned(table: pd.DataFrame) -> pd.DataFrame:
    """Exchange rows and columns, whose axes then have no name."""
    return table.T.rename_axis(index=None, columns=None)
