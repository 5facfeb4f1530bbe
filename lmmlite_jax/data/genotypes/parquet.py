"""Dosages in a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.genotypes.base import GenotypeFile, check_dosages, variant_table

__all__ = ["ParquetFile"]

_IDS = ("variant_id", "id", "snp", "__index_level_0__")
_ALLELES = {"a1": ("a1", "alt"), "a0": ("a0", "ref")}


class ParquetFile(GenotypeFile):
    """Parquet; one row a variant, one column a sample, and columns that place the variants.

    ``variant_id`` (or the data frame's index), ``chrom`` and ``pos`` are needed; ``a1`` or ``alt``
    names the allele that is counted and ``a0`` or ``ref`` the other. All other columns are samples.
    One row group is in memory at a time.
    """

    counts = "the allele of the file's dosages"

    def __init__(self, path: Path) -> None:
        check_readable(path)
        parquet = require("pyarrow.parquet", "genotypes")
        arrow = require("pyarrow", "genotypes")
        try:
            file = parquet.ParquetFile(path)
        except arrow.ArrowInvalid as error:
            raise ValueError(
                f"{path} is named .parquet and is not a whole Parquet file."
            ) from error
        names = file.schema_arrow.names
        id_column = _id_column(file.schema_arrow)
        absent = [name for name in ("chrom", "pos") if name not in names]
        if id_column is None or absent:
            wanting = absent if id_column is not None else ["variant_id", *absent]
            raise ValueError(
                f"{path} has no column {' and '.join(wanting)} ({few(names)}): give each variant "
                "its id, chromosome and position, beside one column a sample."
            )
        alleles = {
            role: next((name for name in known if name in names), None)
            for role, known in _ALLELES.items()
        }
        about = [id_column, "chrom", "pos", *filter(None, alleles.values())]
        table = file.read(columns=about)
        empty = [""] * table.num_rows
        a1, a0 = (empty if name is None else _texts(table[name]) for name in alleles.values())
        variants, notes = variant_table(
            path,
            _texts(table[id_column]),
            _texts(table["chrom"]),
            table["pos"].to_pylist(),
            a1,
            a0,
        )
        super().__init__(path, [name for name in names if name not in about], variants, notes)
        self._file = file
        self._arrow = arrow
        ends = np.cumsum([file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)])
        self._starts = np.concatenate([[0], ends])
        self._group: tuple[int, Any] = (-1, None)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _load(self, variants: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        n = len(self.samples) if samples is None else samples.size
        dosages = np.empty((n, variants.size), dtype=np.float32, order="F")
        groups = np.searchsorted(self._starts, variants, side="right") - 1
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            values = self._row_group(int(group))[:, variants[here] - self._starts[group]]
            dosages[:, here] = values if samples is None else values[samples]
        return check_dosages(dosages, self.variants.index[variants], self.path)

    def _row_group(self, group: int) -> np.ndarray:
        """All samples' dosages in a row group, kept until another one is asked for."""
        if self._group[0] != group:
            self._group = (-1, None)
            table = self._file.read_row_group(group, columns=list(self.samples))
            values = np.empty((len(self.samples), table.num_rows), dtype=np.float32)
            for i, sample in enumerate(self.samples):
                try:
                    values[i] = table[sample].cast(self._arrow.float32(), safe=False).to_numpy()
                except (self._arrow.ArrowInvalid, self._arrow.ArrowNotImplementedError) as error:
                    raise ValueError(
                        f"{self.path}: column {sample!r} holds {table[sample].type}, and dosages "
                        "are expected in every column that is not about the variants."
                    ) from error
            self._group = (group, values)
        kept: np.ndarray = self._group[1]
        return kept


def _id_column(schema: Any) -> str | None:
    index = [
        name
        for name in (schema.pandas_metadata or {}).get("index_columns", [])
        if isinstance(name, str)
    ]
    return next((name for name in [*index, *_IDS] if name in schema.names), None)


def _texts(column: Any) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]
