"""Pictures of a result: seconds against error, and against sizes and cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from peers.compare import Case, Row, rows, varied
from peers.programs import OURS, PROGRAMS

LEAST = 1e-12
"""Errors are drawn at least so large."""

MARKERS = "*PXosD^vp<>hd8"
"""Ours are the first three, all of one colour."""


def look(program: str) -> dict[str, Any]:
    """A program's marker and colour, the same in all pictures."""
    place = list(PROGRAMS).index(program)
    colour = "C0" if program.startswith(OURS) else f"C{1 + place % 9}"
    size = 10 if program == OURS else 7
    style = {"marker": MARKERS[place % len(MARKERS)], "color": colour, "markersize": size}
    return style | {"label": program, "markeredgecolor": "white", "markeredgewidth": 0.5}


def panels(count: int, columns: int) -> tuple[Any, list[Any]]:
    """A figure with so many panels and room for a legend below them."""
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        *(lines, columns),
        figsize=(3.2 * columns, 2.8 * lines + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.ravel()[count:]:
        ax.set_axis_off()
    return figure, list(axes.ravel()[:count])


def wide(ax: Any, seconds: Sequence[float]) -> None:
    """A logarithmic axis of seconds with a decade at the least, and labels that do not meet."""
    low, high = min(seconds) / 2, max(seconds) * 2
    spare = max(1.0, (12 * low / high) ** 0.5)
    ax.set_xscale("log")
    ax.set_xlim(low / spare, high * spare)
    ax.xaxis.set_minor_formatter(NullFormatter())


def save(figure: Any, axes: Sequence[Any], path: Path) -> None:
    """With one legend of all panels."""
    shown = {}
    for ax in axes:
        for line, name in zip(*ax.get_legend_handles_labels(), strict=True):
            shown[name] = line
    names = [name for name in PROGRAMS if name in shown]
    handles = [shown[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def errors_and_seconds(cases: Sequence[Case], path: Path) -> None:
    """A panel for each task: seconds against error, both on logarithmic scales."""
    own = [case for case in cases if "varies" not in case]
    figure, axes = panels(len(own), 4)
    for ax, case in zip(axes, own, strict=True):
        found = rows(case)
        for row in found:
            ax.plot(row.seconds, max(row.error, LEAST), linestyle="none", **look(row.program))
        ax.set_yscale("log")
        ax.set_ylim(LEAST / 10, 10 * max(10, *(row.error for row in found)))
        ax.axhspan(1, ax.get_ylim()[1], color="C3", alpha=0.1, linewidth=0)
        wide(ax, [row.seconds for row in found])
        ax.set_title(f"{case['task']} on {case['cohort']}", fontsize=9)
    for place, ax in enumerate(axes):
        if place % 4 == 0:
            ax.set_ylabel("error; red is wrong")
        if place + 4 >= len(axes):
            ax.set_xlabel("seconds, warm")
    save(figure, axes, path)


def sizes_and_cohorts(cases: Sequence[Case], path: Path) -> None:
    """Seconds against each size, and the range of each program over cohorts."""
    of_all = varied(list(cases))
    figure, axes = panels(len(of_all), min(3, len(of_all)))
    for ax, (name, some) in zip(axes, of_all.items(), strict=True):
        what = name.split(", ")[1]
        found: dict[str, list[tuple[Case, Row]]] = {}
        for case in some:
            for row in rows(case):
                found.setdefault(row.program, []).append((case, row))
        if what == "cohort":
            over_cohorts(ax, found)
        else:
            for program, several in found.items():
                right = all(row.right for _, row in several)
                x = [case["sizes"][what] for case, _ in several]
                y = [row.seconds for _, row in several]
                ax.loglog(x, y, linestyle="-" if right else ":", **look(program))
            values = [case["sizes"][what] for case in some]
            ax.set_xticks(values, [f"{value:,}" for value in values])
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set(xlabel=what, ylabel="seconds, warm; dotted is wrong")
        ax.set_title(name, fontsize=9)
    save(figure, axes, path)


def over_cohorts(ax: Any, found: dict[str, list[tuple[Case, Row]]]) -> None:
    """A line a program from its fastest cohort to its slowest."""
    seconds = []
    for place, (program, several) in enumerate(found.items()):
        x = sorted(row.seconds for _, row in several)
        ax.plot(x, [place] * len(x), **look(program))
        seconds += x
    wide(ax, seconds)
    ax.set(xlabel="seconds, warm, a marker a cohort", yticks=[])
    ax.margins(y=0.3)
