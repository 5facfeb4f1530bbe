"""Pictures of likelihoods and of heritabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmmlite_jax._optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_hsq_estimates", "plot_loglik_profiles"]

_MOST_NAMED = 10
_DEEPEST = 10.0  # log likelihood units below the maximum: beyond them nothing is learned
_BLUE = "#0072B2"
_GREY = "#8C8C8C"


def plot_loglik_profiles(
    hsq_grid: ArrayLike,
    loglik: ArrayLike,
    names: Sequence[str] | None = None,
    fits: ArrayLike | None = None,
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
    >>> from lmmlite_jax.faces import plot_loglik_profiles
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

    figure, axes = _panel()
    few = m <= _MOST_NAMED
    lines = axes.plot(
        grid,
        curves,
        linewidth=2 if few else 1,
        alpha=1 if few else max(0.15, 10 / m),
        color=None if 1 < m <= _MOST_NAMED else _BLUE,
    )
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


def plot_hsq_estimates(true_hsq: ArrayLike, estimated_hsq: ArrayLike) -> Figure:
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
    >>> from lmmlite_jax.faces import plot_hsq_estimates
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
    figure, axes = _panel(width=5.0, height=5.0)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, zorder=1)
    alpha = float(np.clip(300 / max(truth.size, 1), 0.2, 0.9))
    axes.scatter(truth, estimate, s=14, color=_BLUE, alpha=alpha, linewidths=0, zorder=2)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
        xlabel="true heritability",
        ylabel="estimated heritability",
    )
    return figure


def _panel(width: float = 6.4, height: float = 4.4) -> tuple[Figure, Any]:
    # A Figure of its own, not pyplot's: no global state, no window, nothing to close.
    figure = require("matplotlib.figure", "plot").Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _mark_fits(
    axes: Any, lines: Sequence[Any], grid: np.ndarray, curves: np.ndarray, fits: np.ndarray
) -> None:
    if fits.shape != (len(lines),):
        raise ValueError(f"fits has shape {fits.shape}, expected ({len(lines)},): one a trait.")
    for line, curve, hsq in zip(lines, curves.T, fits, strict=True):
        drawn = np.isfinite(curve)
        if not drawn.any():
            continue
        height = np.interp(hsq, grid[drawn], curve[drawn])
        axes.plot(hsq, height, "o", color=line.get_color(), markersize=6, clip_on=False, zorder=3)
