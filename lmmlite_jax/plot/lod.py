"""LOD curves along the chromosomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import (
    MOST_NAMED,
    axes_or_panel,
    colours,
    draw_levels,
    set_heights,
)
from lmmlite_jax.plot._checks import (
    as_levels,
    as_names,
    as_numbers,
    as_series,
    check_shape,
    drawable,
)
from lmmlite_jax.plot._genome import Genome, lay_out, name_chromosomes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["plot_lod"]

_MOST_SHADED = 100  # chromosomes; with more than this the panel is a scaffold's, and grey all over


def plot_lod(
    lod: ArrayOrFrame | Mapping[str, ArrayOrFrame],
    position: ArrayOrFrame,
    chromosome: ArrayOrFrame,
    threshold: ArrayOrFrame | None = None,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw LOD curves along the chromosomes, with a gap after each.

    The chromosomes come in the order in which they appear, every other on a shaded ground. A curve
    runs through the markers of a chromosome by position; those where it is NaN are left out, and it
    runs on to the next.

    Parameters
    ----------
    lod : (M,) or (M, m) array_like, or dict of str to (M,) array_like
        LOD scores: one curve, or m.
    position : (M,) array_like
        Positions of the markers on their chromosomes, in any unit and order.
    chromosome : (M,) array_like of str or int
        Chromosomes of the markers. The prefix "chr" is not written on the axis.
    threshold : float or (t,) array_like, optional
        LOD scores at which to draw a dashed line.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    names : sequence of m str, optional
        The curves of an array, for the title of one or the legend of at most 10. A dict has its
        own.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If lengths do not agree, or a curve has nothing to draw, or a value is infinite.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_lod
    >>> curves = {"weight": [0.1, 4.2, 0.3], "length": [0.0, 1.1, 2.5]}
    >>> axes = plot_lod(curves, [10, 60, 30], [1, 1, 2], threshold=3)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['weight', 'length']
    """
    curves, labelled = _curves(lod, names)
    first, size = next((name, curve.size) for name, curve in curves.items())
    place = as_numbers("position", position, size, first)
    entries = as_names("chromosome", chromosome, size, first)
    levels = as_levels(threshold)
    genome, x, code = lay_out(place, entries, "chromosome")
    along = np.lexsort((x, code))
    drawn = {
        name: along[drawable(f"{name}, position and chromosome", curve, x)[along]]
        for name, curve in curves.items()
    }

    axes, own = axes_or_panel(ax, 8.0, 3.6)
    _shade(axes, genome)
    few = len(curves) <= MOST_NAMED
    lines = [
        _draw_curve(axes, x[order], curve[order], code[order], colour, 1.5 if few else 0.8)
        for colour, curve, order in zip(
            colours(len(curves)), curves.values(), drawn.values(), strict=True
        )
    ]
    draw_levels(axes, levels)
    set_heights(axes, np.r_[levels, *(curve[drawn[name]] for name, curve in curves.items())])
    axes.set_ylabel("LOD score")
    name_chromosomes(axes, "x", genome, "")
    if labelled is not None and len(lines) == 1:
        axes.set_title(labelled[0], loc="left")
    elif labelled is not None and few:
        if own:  # beside the panel, for which another's figure may have no room
            axes.legend(lines, labelled, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
        else:
            axes.legend(lines, labelled, frameon=False, loc="upper right")
    return axes


def _shade(axes: Axes, genome: Genome) -> None:
    """Shade the ground of every other chromosome."""
    if len(genome.names) > _MOST_SHADED:
        return
    for start, end in zip(genome.start[1::2], genome.end[1::2], strict=True):
        axes.axvspan(
            start - genome.gap / 2, end + genome.gap / 2, color="0.96", linewidth=0, zorder=0
        )


def _draw_curve(
    axes: Axes,
    x: Float[np.ndarray, " drawn"],
    lod: Float[np.ndarray, " drawn"],
    code: Int[np.ndarray, " drawn"],
    colour: str,
    width: float,
) -> Line2D:
    """Draw a curve that is interrupted wherever the chromosome's number changes."""
    ends = np.flatnonzero(np.diff(code)) + 1
    xs, ys = np.insert(x, ends, np.nan), np.insert(lod, ends, np.nan)
    # A marker that is alone on its chromosome makes no line: it is drawn as a dot.
    alone = np.isnan(np.r_[np.nan, xs[:-1]]) & np.isnan(np.r_[xs[1:], np.nan]) & ~np.isnan(xs)
    (line,) = axes.plot(
        xs,
        ys,
        color=colour,
        linewidth=width,
        marker="o" if alone.any() else None,
        markersize=3,
        markevery=np.flatnonzero(alone).tolist(),
        zorder=2,
    )
    return line


def _curves(
    lod: ArrayOrFrame | Mapping[str, ArrayOrFrame], names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Read the curves by what to call them in messages, and their names for the legend, if any."""
    if isinstance(lod, Mapping):
        if names is not None:
            raise ValueError(
                "names is given and lod is a dict, which has its own: leave out names."
            )
        labels: list[str] | None = [str(key) for key in lod]
        curves = {f"lod[{key!r}]": v for key, v in as_series("lod", lod, as_numbers).items()}
    else:
        matrix = np.asarray(lod)
        if matrix.ndim > 2:
            raise ValueError(
                f"lod has shape {matrix.shape}: give an array of one or two dimensions."
            )
        m = matrix.shape[1] if matrix.ndim == 2 else 1
        labels = None if names is None else list(names)
        if labels is not None and len(labels) != m:
            raise ValueError(
                f"names has {len(labels)} entries and lod {m} curves: give one name for each."
            )
        if matrix.ndim == 2 and matrix.size:
            columns = [f"lod[:, {j}]" for j in range(m)]
            curves = {key: as_numbers(key, matrix[:, j]) for j, key in enumerate(columns)}
        else:
            curves = {"lod": as_numbers("lod", matrix.ravel() if matrix.ndim == 2 else matrix)}
    first, size = next((key, curve.size) for key, curve in curves.items())
    for key, curve in curves.items():
        check_shape(key, curve, size, first)
    return curves, labels
