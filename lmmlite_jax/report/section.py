"""What a report shows of one run, and how numbers and pictures are written in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmmlite_jax._optional import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Picture", "Rows", "Section", "as_picture", "as_rows", "as_text"]

_DPI = 150  # of dots that are too many to be drawn one by one


@dataclass(frozen=True)
class Rows:
    """A table of text; of each column its name, and whether it is of numbers."""

    caption: str
    columns: list[tuple[str, bool]]
    cells: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """A picture as the address of an image, which has it inside, its title and width in inches."""

    title: str
    source: str
    width: float


@dataclass(frozen=True)
class Section:
    """One run: its name, what it is, numbers that were found, remarks, and how it was made."""

    name: str
    what: str
    numbers: Mapping[str, str]
    notes: list[str]
    table: Rows
    pictures: list[Picture] = field(default_factory=list)
    made: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


def as_text(value: object) -> str:
    """Write a value for people: four digits of what is no whole number, and nothing for a NaN.

    >>> as_text(1234567), as_text(0.04999), as_text(1.23e-300), as_text(float("nan"))
    ('1,234,567', '0.04999', '1.23e-300', '')
    """
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def as_rows(table: pd.DataFrame, caption: str) -> Rows:
    """Write a table as text; numbers without commas, which a reader may want to copy."""
    pandas = require("pandas", "io")
    numeric = [pandas.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    texts = []
    for (_, values), number in zip(table.items(), numeric, strict=True):
        entries = values.tolist()
        missing = values.isna().tolist()
        write = as_text if number and values.dtype.kind == "f" else str
        texts.append(["" if not known else write(v) for v, known in _known(entries, missing)])
    columns = [(str(name), number) for name, number in zip(table, numeric, strict=True)]
    return Rows(caption, columns, [list(row) for row in zip(*texts, strict=True)])


def _known(entries: list[object], missing: list[bool]) -> list[tuple[object, bool]]:
    return [(entry, not gap) for entry, gap in zip(entries, missing, strict=True)]


def as_picture(axes: Axes) -> Picture:
    """Put a picture into the address of an image."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    stream = io.BytesIO()
    # The same results give the same file.
    with require("matplotlib", "plot").rc_context({"svg.hashsalt": "lmmlite-jax"}):
        figure.savefig(stream, format="svg", dpi=_DPI, metadata={"Date": None})
    coded = base64.b64encode(stream.getvalue()).decode()
    source = f"data:image/svg+xml;base64,{coded}"
    return Picture(axes.get_title(loc="left"), source, figure.get_figwidth())
