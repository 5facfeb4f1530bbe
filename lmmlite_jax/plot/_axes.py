"""What the pictures share: the panel, its colours, dots and dashed lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from lmmlite_jax._optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "LOG10P",
    "MOST_NAMED",
    "MOST_VECTOR",
    "ORANGE",
    "axes_or_panel",
    "colours",
    "count_axis",
    "dot_size",
    "draw_dots",
    "draw_levels",
    "panel",
    "panels",
    "set_heights",
]

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#8C8C8C"

# Okabe and Ito's colours less the yellow, which is lost on white.
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

LOG10P = r"$-\log_{10}\,p$"
"""How axes name minus the decimal logarithm of a p-value."""

MOST_NAMED = 10
"""Curves or series: more than this have no legend."""

MOST_VECTOR = 10_000
"""Dots: more than this are drawn as pixels in a vector file."""


def panel(width: float = 6.4, height: float = 4.4) -> tuple[Figure, Axes]:
    """Make a figure of this size in inches, with one panel."""
    # A Figure of its own, not pyplot's: no global state, no window, nothing to close.
    figure, (axes,) = panels(1, width, height)
    return figure, axes


def panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of this size in inches, with panels above each other of the same x axis."""
    figure = require("matplotlib.figure", "plot").Figure((width, height), layout="constrained")
    stacked = figure.subplots(count, sharex=True, squeeze=False)[:, 0].tolist()
    for axes in stacked:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, stacked


def axes_or_panel(ax: Axes | None, width: float, height: float) -> tuple[Axes, bool]:
    """Take the axes given or those of a new figure, and say whether they are new."""
    if ax is not None:
        return ax, False
    _, axes = panel(width, height)
    return axes, True


def colours(m: int) -> Sequence[str]:
    """List a colour for each of ``m`` curves."""
    if m <= len(_COLOURS):
        return _COLOURS[:m]
    shades = require("matplotlib", "plot").colormaps["viridis"](np.linspace(0, 0.9, m))
    to_hex = require("matplotlib.colors", "plot").to_hex
    return [to_hex(shade) for shade in shades]


def dot_size(n: int) -> float:
    """Area of each of ``n`` dots, in points squared."""
    return float(np.clip(20 - 3 * np.log10(n), 2, 14))


def draw_dots(
    axes: Axes,
    x: Float[np.ndarray, " drawn"],
    y: Float[np.ndarray, " drawn"],
    colour: str,
    *,
    of: int | None = None,
    label: str | None = None,
    zorder: int = 2,
) -> None:
    """Draw dots of one colour, as small as ``of`` dots are in all, these by default."""
    n = x.size if of is None else of
    axes.scatter(
        x,
        y,
        s=dot_size(n),
        color=colour,
        linewidths=0,
        label=label,
        rasterized=n > MOST_VECTOR,
        zorder=zorder,
    )


def count_axis(axes: Axes) -> None:
    """Let the ticks of the y axis, which counts, be whole numbers."""
    axes.yaxis.set_major_locator(
        require("matplotlib.ticker", "plot").MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True)
    )


def draw_levels(axes: Axes, levels: Float[np.ndarray, " levels"]) -> None:
    """Draw a dashed line at each level."""
    for level in levels:
        axes.axhline(level, color="0.25", linewidth=1, linestyle="--", zorder=1)


def set_heights(axes: Axes, heights: Float[np.ndarray, " drawn"]) -> None:
    """Let the y axis reach from 0 or below to above all of ``heights``."""
    axes.set_ylim(min(0.0, 1.05 * heights.min()), max(1.0, 1.05 * heights.max()))
