"""Association along the genome, a dot a marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import (
    BLUE,
    GREY,
    LOG10P,
    axes_or_panel,
    draw_dots,
    draw_levels,
    set_heights,
)
from lmmlite_jax.plot._checks import as_levels, as_log10p, as_names, as_numbers, drawable
from lmmlite_jax.plot._genome import lay_out, name_chromosomes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_manhattan"]


def plot_manhattan(
    log10p: ArrayOrFrame,
    position: ArrayOrFrame,
    chromosome: ArrayOrFrame,
    threshold: ArrayOrFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw -log10 p along the genome, a dot a marker.

    The chromosomes come in the order in which they appear and take as much room as their markers
    span. Markers whose -log10 p, position or chromosome is missing are left out. More than 10 000
    dots are drawn as pixels, also in a PDF: save it with ``dpi=300`` or more.

    Parameters
    ----------
    log10p : (M,) array_like
        Minus the decimal logarithms of p-values.
    position : (M,) array_like
        Positions of the markers on their chromosomes, in any unit and order.
    chromosome : (M,) array_like of str or int
        Chromosomes of the markers. The prefix "chr" is not written on the axis.
    threshold : float or (t,) array_like, optional
        Values of -log10 p at which to draw a dashed line.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If lengths do not agree, or there is nothing to draw, or a value is infinite or log10p
        negative.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_manhattan
    >>> axes = plot_manhattan([0.2, 6.1, 0.9], [10, 60, 30], ["1", "1", "X"], threshold=5)
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['1', 'X']
    """
    heights = as_log10p("log10p", log10p)
    place = as_numbers("position", position, heights.size, "log10p")
    entries = as_names("chromosome", chromosome, heights.size, "log10p")
    levels = as_levels(threshold)
    genome, x, code = lay_out(place, entries, "chromosome")
    drawn = drawable("log10p, position and chromosome", heights, x)

    axes, _ = axes_or_panel(ax, 8.0, 3.6)
    n = int(drawn.sum())
    for parity, colour in enumerate((BLUE, GREY)):
        these = drawn & (code % 2 == parity)
        if these.any():
            draw_dots(axes, x[these], heights[these], colour, of=n)
    draw_levels(axes, levels)
    set_heights(axes, np.append(levels, heights[drawn]))
    axes.set_ylabel(LOG10P)
    name_chromosomes(axes, "x", genome, "")
    return axes
