"""Genes against the markers they are associated with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from lmmlite_jax._optional import require
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import (
    BLUE,
    LOG10P,
    MOST_VECTOR,
    axes_or_panel,
    dot_size,
    draw_dots,
)
from lmmlite_jax.plot._checks import as_log10p, as_names, as_numbers, drawable, name_of
from lmmlite_jax.plot._genome import Genome, in_natural_order, lay_out, name_chromosomes, part_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_eqtl_map"]


def plot_eqtl_map(
    marker_chromosome: ArrayOrFrame,
    marker_position: ArrayOrFrame,
    trait_chromosome: ArrayOrFrame,
    trait_position: ArrayOrFrame,
    log10p: ArrayOrFrame | None = None,
    chromosome_order: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the positions of genes against those of the markers they are associated with.

    A dot is a significant pair. A chromosome reaches from the first to the last marker or gene on
    it, and is drawn along an axis where it has one of the two. Where both axes have the same
    chromosomes they have the same scale, so that local associations lie on the diagonal.

    Parameters
    ----------
    marker_chromosome, marker_position : (n,) array_like
        Where the marker of each pair lies, drawn along x. Chromosomes are str or int.
    trait_chromosome, trait_position : (n,) array_like
        Where the gene of each pair lies, drawn along y, in the marker positions' unit.
    log10p : (n,) array_like, optional
        Minus the decimal logarithms of the pairs' p-values: stronger pairs are drawn darker,
        larger and on top. Pairs where this, or a position or chromosome, is missing are left out.
    chromosome_order : sequence of str or int, optional
        All the chromosomes, in the order to draw them; those without a pair take no room. By
        default numbers come first, then X and Y, then other names.
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
        negative, or a chromosome is not in chromosome_order.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_eqtl_map
    >>> axes = plot_eqtl_map(["X", "2"], [5.0, 70.0], ["2", "2"], [20.0, 71.0], [6.2, 30.5])
    >>> [label.get_text() for label in axes.get_xticklabels()], axes.get_ylabel()
    (['2', 'X'], 'gene position on chromosome 2')
    """
    markers_at = as_numbers("marker_position", marker_position)
    n = markers_at.size
    traits_at = as_numbers("trait_position", trait_position, n, "marker_position")
    entries = [
        *as_names("marker_chromosome", marker_chromosome, n, "marker_position"),
        *as_names("trait_chromosome", trait_chromosome, n, "marker_position"),
    ]
    strength = None if log10p is None else as_log10p("log10p", log10p, n, "marker_position")
    genome, at, code = lay_out(
        np.append(markers_at, traits_at),
        entries,
        "marker_chromosome and trait_chromosome",
        _in_order(chromosome_order),
    )
    across, x = part_of(genome, at[:n], code[:n])
    up, y = part_of(genome, at[n:], code[n:])
    what = "two positions, two chromosomes" + ("" if strength is None else " and log10p")
    drawn = np.flatnonzero(drawable(what, x, y, *(() if strength is None else (strength,))))

    axes, _ = axes_or_panel(ax, 6.8 if strength is None else 8.2, 6.8)
    axes.grid(False)
    if strength is None:
        draw_dots(axes, x[drawn], y[drawn], BLUE)
    else:
        _draw_pairs(axes, x[drawn], y[drawn], strength[drawn])
    if across.names == up.names:
        axes.set_aspect("equal")
    _draw_grid(axes, across, up)
    return axes


def _in_order(
    chromosome_order: Sequence[object] | None,
) -> Callable[[Sequence[str]], Sequence[str]]:
    """Give the function that puts the chromosomes found into the order asked for."""
    if chromosome_order is None:
        return in_natural_order
    given = list(dict.fromkeys(name_of(entry) for entry in chromosome_order))

    def order(found: Sequence[str]) -> list[str]:
        lacking = [name for name in found if name not in given]
        if lacking:
            raise ValueError(
                f"chromosome_order lacks {', '.join(map(repr, lacking[:5]))}"
                f"{', ...' if len(lacking) > 5 else ''}, where there are markers or genes: add "
                "them, or leave out those pairs."
            )
        return [name for name in given if name in found]

    return order


def _draw_pairs(
    axes: Axes,
    x: Float[np.ndarray, " drawn"],
    y: Float[np.ndarray, " drawn"],
    strength: Float[np.ndarray, " drawn"],
) -> None:
    """Draw strong pairs darker, larger and on top, and what the shades stand for."""
    upwards = np.argsort(strength, kind="stable")
    shown = strength[upwards]
    shades = require("matplotlib.colors", "plot").LinearSegmentedColormap.from_list(
        "strength", ["#9CCBEB", BLUE, "#061A2B"]
    )
    share = (shown - shown[0]) / max(shown[-1] - shown[0], np.finfo(float).tiny)
    points = axes.scatter(
        x[upwards],
        y[upwards],
        c=shown,
        cmap=shades,
        s=dot_size(x.size) * (0.5 + 1.5 * share),
        linewidths=0,
        rasterized=x.size > MOST_VECTOR,
        zorder=2,
    )
    axes.figure.colorbar(points, ax=axes, label=LOG10P, shrink=0.6)


def _draw_grid(axes: Axes, across: Genome, up: Genome) -> None:
    """Name the chromosomes of both axes, with lines between them."""
    sides: tuple[tuple[Literal["x", "y"], Genome, str], ...] = (
        ("x", across, "marker"),
        ("y", up, "gene"),
    )
    for axis, genome, whose in sides:
        name_chromosomes(axes, axis, genome, whose)
        between = (genome.end[:-1] + genome.start[1:]) / 2
        getattr(axes, f"set_{axis}ticks")(between, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
