"""Association near a gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsFloat

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import BLUE, LOG10P, axes_or_panel, draw_dots
from lmmlite_jax.plot._checks import as_log10p, as_numbers, drawable
from lmmlite_jax.plot._locus import draw_gene, draw_in_sets

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["plot_locus"]


def plot_locus(
    log10p: ArrayOrFrame,
    position: ArrayOrFrame,
    start: SupportsFloat,
    end: SupportsFloat,
    name: str = "",
    ax: Axes | None = None,
    *,
    credible_set: ArrayOrFrame | None = None,
) -> Axes:
    """Draw -log10 p of the variants near a gene, and the gene.

    Parameters
    ----------
    log10p : (M,) array_like
        Minus the decimal logarithms of p-values. NaN is left out.
    position : (M,) array_like
        Positions of the variants in base pairs.
    start, end : float
        Of the gene, in base pairs. It is drawn as a bar below p = 1, and not where they are NaN.
    name : str
        Title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    credible_set : (M,) array_like of int, optional
        Number of the credible set that each variant is in, 0 for none: as for
        `plot_credible_sets`.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If lengths do not agree, or there is nothing to draw, or a value is infinite or log10p
        negative, or the gene ends before it starts.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_locus
    >>> axes = plot_locus([0.2, 6.1, 0.9], [1_010_000, 1_060_000, 1_300_000], 1_050_000, 1_090_000)
    >>> axes.get_xlabel()
    'position (Mb)'
    """
    heights = as_log10p("log10p", log10p)
    place = as_numbers("position", position, heights.size, "log10p")
    drawn = drawable("log10p and position", heights, place)
    axes, _ = axes_or_panel(ax, 7.0, 3.8)
    handles: list[Artist] = []
    if credible_set is None:
        draw_dots(axes, place[drawn] / 1e6, heights[drawn], BLUE)
    else:
        number = as_numbers("credible_set", credible_set, heights.size, "log10p")
        handles += draw_in_sets(axes, place[drawn], heights[drawn], number[drawn])
    top = max(1.0, 1.05 * heights[drawn].max())
    handles += draw_gene(axes, start, end, top)
    if handles:
        axes.legend(handles=handles, loc="best", frameon=False, handlelength=1)
    axes.set_ylim(-0.08 * top, top)
    axes.set(xlabel="position (Mb)", ylabel=LOG10P)
    axes.set_title(name, loc="left")
    return axes
