"""What pictures of a locus share: the gene, and the colours of credible sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsFloat

import numpy as np
from jaxtyping import Float

from lmmlite_jax.data._names import counted
from lmmlite_jax.plot._axes import GREY, colours, draw_dots

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["draw_gene", "draw_in_sets"]


def draw_gene(axes: Axes, start: SupportsFloat, end: SupportsFloat, top: float) -> list[Artist]:
    """Draw a gene below 0 of an axis that ends at ``top``, and give its entry of a legend.

    There is none where start and end, in base pairs, are NaN.
    """
    left, right = float(start), float(end)
    if np.isnan(left) and np.isnan(right):
        return []
    if not left <= right:
        raise ValueError(f"the gene starts at {start} and ends at {end}: give its start first.")
    return axes.plot(  # type: ignore[return-value]
        [left / 1e6, right / 1e6],
        [-0.04 * top] * 2,
        color="0.2",
        linewidth=5,
        solid_capstyle="butt",
        marker="|",
        zorder=3,
        label="gene",
    )


def draw_in_sets(
    axes: Axes,
    position: Float[np.ndarray, " drawn"],
    height: Float[np.ndarray, " drawn"],
    number: Float[np.ndarray, " drawn"],
) -> list[Artist]:
    """Draw variants at base pairs in the colour of their credible set, grey where this is 0.

    Gives the sets' entries of a legend.
    """
    n = position.size
    outside = number == 0
    if outside.any():
        draw_dots(axes, position[outside] / 1e6, height[outside], GREY, of=n)
    sets = [int(one) for one in np.unique(number[~outside])]
    handles: list[Artist] = []
    for one, colour in zip(sets, colours(len(sets)), strict=True):
        within = number == one
        label = f"set {one} ({counted(int(within.sum()), 'variant')})"
        draw_dots(axes, position[within] / 1e6, height[within], colour, label=label, zorder=3)
        handles.append(axes.collections[-1])
    return handles
