"""Fine-mapping of a locus: which variants have an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import axes_or_panel
from lmmlite_jax.plot._checks import as_numbers, drawable
from lmmlite_jax.plot._locus import draw_gene, draw_in_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_credible_sets"]


def plot_credible_sets(
    pip: ArrayOrFrame,
    position: ArrayOrFrame,
    credible_set: ArrayOrFrame,
    start: SupportsFloat = np.nan,
    end: SupportsFloat = np.nan,
    name: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the probability of an effect of each variant near a gene, and the credible sets.

    Parameters
    ----------
    pip : (M,) array_like
        Posterior inclusion probabilities, as from `lmmlite_jax.map_cis_susie`. NaN is left out.
    position : (M,) array_like
        Positions of the variants in base pairs.
    credible_set : (M,) array_like of int
        Number of the credible set that each variant is in, 0 for none.
    start, end : float
        Of the gene, in base pairs: it is drawn as a bar below 0, and not where they are NaN.
    name : str
        Title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If lengths do not agree, or there is nothing to draw, or a probability is not from 0 to 1,
        or the gene ends before it starts.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_credible_sets
    >>> position = [1_010_000, 1_060_000, 1_061_000, 1_300_000]
    >>> axes = plot_credible_sets([0.01, 0.6, 0.38, 0.02], position, [0, 1, 1, 0])
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['set 1 (2 variants)']
    """
    heights = as_numbers("pip", pip)
    outside = heights[(heights < -1e-6) | (heights > 1 + 1e-6)]
    if outside.size:
        raise ValueError(
            f"pip has values outside 0 to 1 ({outside.size}), such as {outside[0]:g}: give "
            "probabilities."
        )
    place = as_numbers("position", position, heights.size, "pip")
    number = as_numbers("credible_set", credible_set, heights.size, "pip")
    drawn = drawable("pip, position and credible_set", heights, place, number)
    axes, _ = axes_or_panel(ax, 7.0, 3.8)
    handles = draw_in_sets(axes, place[drawn], heights[drawn], number[drawn])
    handles += draw_gene(axes, start, end, 1.0)
    if handles:
        axes.legend(handles=handles, loc="best", frameon=False, handlelength=1)
    axes.set_ylim(-0.08, 1.05)
    axes.set(xlabel="position (Mb)", ylabel="probability of an effect (PIP)")
    axes.set_title(name, loc="left")
    return axes
