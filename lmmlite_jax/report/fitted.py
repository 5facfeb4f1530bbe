"""The section of a report on what ``lmmlite-jax herit`` has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmmlite_jax.data._names import counted
from lmmlite_jax.data.tables import read_rows
from lmmlite_jax.mapping.multiple_testing import q_values
from lmmlite_jax.plot.heritability import plot_hsq_histogram
from lmmlite_jax.report.section import Section, as_picture, as_rows, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["section_of_fits"]

_NEEDED = ("n", "hsq", "lrt", "lrt_pvalue", "reason")
_FDR = 0.05


def section_of_fits(path: Path, rows: int) -> Section:
    """Summarise a table of fits, with the histogram of their heritabilities.

    Raises
    ------
    ValueError
        If it is no such table.
    """
    fits = read_rows(path, "trait", text=True)
    lacking = [name for name in _NEEDED if name not in fits]
    if lacking:
        raise ValueError(
            f"{path} has no column {' and no '.join(lacking)}: give the table that lmmlite-jax "
            "herit has written, or the prefix of what lmmlite-jax map has."
        )
    reasons = fits["reason"].astype(object).fillna("").astype(str)
    hsq = fits["hsq"].astype(float)
    numbers = {
        "traits": as_text(len(fits)),
        "with a regular fit": as_text(int((reasons == "").sum())),
    }
    numbers["samples"] = _range(fits["n"])
    simulated = "lrt_pvalue_simulated" in fits
    pvalue = fits["lrt_pvalue_simulated" if simulated else "lrt_pvalue"].astype(float)
    title = f"{path.stem}: heritabilities of {counted(int(hsq.notna().sum()), 'trait')}"
    pictures = []
    if hsq.notna().any():
        heritable = int((q_values(pvalue, 1.0).qvalue <= _FDR).sum())
        numbers["median h²"] = f"{hsq.median():.2f}"
        numbers[f"h² above 0 at FDR {_FDR:.0%}"] = as_text(heritable)
        axes = plot_hsq_histogram(hsq)
        axes.set_title(title, loc="left", fontsize="medium")
        pictures.append(as_picture(axes))
    notes = [
        f"{counted(int(n), 'trait')}: {why}" for why, n in reasons.value_counts().items() if why
    ]
    best = fits.sort_values("lrt", ascending=False, kind="stable")
    shown = best[:rows].rename_axis(index="trait").reset_index()
    caption = counted(len(fits), "trait")
    if len(shown) < len(fits):
        caption = f"the {len(shown):,} traits of the largest likelihood ratios, of {caption}"
    return Section(
        "herit", "heritabilities of traits", numbers, notes, as_rows(shown, caption), pictures
    )


def _range(counts: pd.Series) -> str:
    least, most = (as_text(int(one)) for one in (counts.min(), counts.max()))
    return least if least == most else f"{least} to {most}"
