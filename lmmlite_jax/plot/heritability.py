"""Heritabilities: their histogram, estimates against the truth, and likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import BLUE, GREY, MOST_NAMED, axes_or_panel, colours, count_axis, panel
from lmmlite_jax.plot._checks import as_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["plot_hsq_estimates", "plot_hsq_histogram", "plot_loglik_profiles"]

_DEEPEST = 10.0  # log likelihood units below the maximum: beyond them nothing is learned


def plot_loglik_profiles(
    hsq_grid: ArrayOrFrame,
    loglik: ArrayOrFrame,
    names: Sequence[str] | None = None,
    fits: ArrayOrFrame | None = None,
) -> Figure:
    """Draw log likelihoods as functions of the heritability.

    One trait is drawn on its own scale. Several are drawn relative to the maximum of each, at most
    10 units down.

    Parameters
    ----------
    hsq_grid : (g,) array_like
        Heritabilities, increasing.
    loglik : (g,) or (g, m) array_like
        Log likelihoods, as from `calc_ll`. Values that are not finite leave a gap.
    names : sequence of m str, optional
        The traits, for the title of one or the legend of at most 10.
    fits : (m,) array_like, optional
        Fitted heritabilities, marked on the curves; NaN is not drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig(path)``.

    Raises
    ------
    ValueError
        If the arrays' shapes or the number of names do not agree.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.plot import plot_loglik_profiles
    >>> hsq = np.linspace(0, 1, 101)
    >>> figure = plot_loglik_profiles(hsq, -20 * (hsq - 0.6) ** 2, fits=[0.6])
    >>> figure.axes[0].get_xlabel()
    'heritability'
    """
    grid, curves = np.asarray(hsq_grid, dtype=float), np.asarray(loglik, dtype=float)
    curves = curves[:, None] if curves.ndim == 1 else curves
    if grid.ndim != 1 or curves.shape[:1] != grid.shape:
        raise ValueError(
            f"loglik has shape {np.shape(loglik)} and hsq_grid {grid.shape}: give one row of "
            "loglik for each heritability."
        )
    m = curves.shape[1]
    if names is not None and len(names) != m:
        raise ValueError(f"names has {len(names)} entries and loglik {m} traits.")
    finite = np.isfinite(curves)
    curves = np.where(finite, curves, np.nan)
    if m > 1:
        curves = curves - np.max(curves, axis=0, where=finite, initial=-np.inf)

    figure, axes = panel()
    few = m <= MOST_NAMED
    lines = axes.plot(
        grid,
        curves,
        linewidth=2 if few else 1,
        alpha=1 if few else max(0.15, 10 / m),
        color=BLUE,
    )
    if few:
        for line, colour in zip(lines, colours(m), strict=True):
            line.set_color(colour)
    if fits is not None:
        _mark_fits(axes, lines, grid, curves, np.atleast_1d(np.asarray(fits, dtype=float)))
    axes.set(xlim=(0, 1), xlabel="heritability", ylabel="log likelihood")
    if m > 1:
        axes.set_ylabel("log likelihood, relative to the maximum")
        deepest = np.min(curves, where=finite, initial=-1.0)
        axes.set_ylim(max(deepest, -_DEEPEST) * 1.03, 0.03 * _DEEPEST)
    if names is not None and m == 1:
        axes.set_title(names[0], loc="left")
    elif names is not None and few:
        axes.legend(lines, names, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


def plot_hsq_estimates(true_hsq: ArrayOrFrame, estimated_hsq: ArrayOrFrame) -> Figure:
    """Draw estimated against true heritabilities, with the line where they are equal.

    Parameters
    ----------
    true_hsq, estimated_hsq : (m,) array_like
        Heritabilities; traits where either is NaN are left out.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig(path)``.

    Raises
    ------
    ValueError
        If the two shapes differ.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_hsq_estimates
    >>> figure = plot_hsq_estimates([0.0, 0.5], [0.1, 0.45])
    >>> figure.axes[0].get_ylabel()
    'estimated heritability'
    """
    truth, estimate = np.asarray(true_hsq, dtype=float), np.asarray(estimated_hsq, dtype=float)
    if truth.shape != estimate.shape or truth.ndim != 1:
        raise ValueError(
            f"true_hsq has shape {truth.shape} and estimated_hsq {estimate.shape}: give one value "
            "of each for each trait."
        )
    figure, axes = panel(width=5.0, height=5.0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=1)
    alpha = float(np.clip(300 / max(truth.size, 1), 0.2, 0.9))
    axes.scatter(truth, estimate, s=14, color=BLUE, alpha=alpha, linewidths=0, zorder=2)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
        xlabel="true heritability",
        ylabel="estimated heritability",
    )
    return figure


def plot_hsq_histogram(hsq: ArrayOrFrame, ax: Axes | None = None) -> Axes:
    """Draw how many traits have which heritability, in 25 bins from 0 to 1.

    Parameters
    ----------
    hsq : (m,) array_like
        Heritabilities; NaN is left out.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a value is not from 0 to 1.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.plot import plot_hsq_histogram
    >>> axes = plot_hsq_histogram([0.1, 0.5, 0.52, float("nan")])
    >>> int(sum(bar.get_height() for bar in axes.patches))
    3
    """
    values = as_numbers("hsq", hsq)
    values = values[~np.isnan(values)]
    outside = values[(values < -1e-6) | (values > 1 + 1e-6)]
    if outside.size:
        raise ValueError(
            f"hsq has values outside 0 to 1 ({outside.size}), such as {outside[0]:g}: give "
            "heritabilities as proportions."
        )
    axes, _ = axes_or_panel(ax, 6.4, 4.4)
    edges = np.linspace(0, 1, 26).tolist()
    axes.hist(np.clip(values, 0, 1), edges, color=BLUE, edgecolor="white", linewidth=0.6)
    count_axis(axes)
    axes.set(xlim=(0, 1), xlabel="heritability", ylabel="number of traits")
    return axes


def _mark_fits(
    axes: Axes,
    lines: Sequence[Line2D],
    grid: Float[np.ndarray, " g"],
    curves: Float[np.ndarray, "g m"],
    fits: Float[np.ndarray, "..."],
) -> None:
    """Mark fitted heritabilities on the curves."""
    if fits.shape != (len(lines),):
        raise ValueError(f"fits has shape {fits.shape}, expected ({len(lines)},): one a trait.")
    for line, curve, hsq in zip(lines, curves.T, fits, strict=True):
        drawn = np.isfinite(curve)
        if not drawn.any():
            continue
        height = np.interp(hsq, grid[drawn], curve[drawn])
        axes.plot(hsq, height, "o", color=line.get_color(), markersize=6, clip_on=False, zorder=3)
