"""Files that a run writes, and their folder."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmmlite_jax.data.tables import whole_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["beside", "described", "folder_of", "write_frame"]


def beside(prefix: Path, ending: str) -> Path:
    """Name a file of a run.

    >>> beside(Path("out/run"), "cis_qtl.txt.gz").as_posix()
    'out/run.cis_qtl.txt.gz'
    """
    return prefix.with_name(f"{prefix.name}.{ending}")


@contextmanager
def folder_of(prefix: Path) -> Iterator[None]:
    """Make the folder of a run's files, with those around it, where there is none.

    Where the run fails, folders that were made and hold nothing are removed.

    Raises
    ------
    ValueError
        If it cannot be made.
    """
    made = [one for one in (prefix.parent, *prefix.parent.parents) if not one.exists()]
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"The folder {prefix.parent} cannot be made ({error.strerror}): give a folder that can "
            "be written to."
        ) from error
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # it is not empty: another process's files are in it
                folder.rmdir()
        raise


def write_frame(frame: pd.DataFrame, path: Path, *, indexed: bool) -> None:
    """Write a table as tensorQTL does."""
    with whole_file(path) as stream:
        if path.suffix == ".parquet":
            frame.to_parquet(stream, index=indexed)
            return
        # Level 6 is gzip's own: Python's 9 takes four times as long for a fiftieth of the size.
        with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
            frame.to_csv(packed, sep="\t", index=indexed, float_format="%.6g", lineterminator="\n")


def described(path: Path) -> dict[str, Any]:
    """Say where a file is, and what tells its contents from others."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": str(path.resolve()), "bytes": path.stat().st_size, "sha256": digest}
