"""Observed p-values against those of chance, and their inflation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from scipy.special import betaincinv

from lmmlite_jax.mapping.peaks import genomic_inflation
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.plot._axes import (
    GREY,
    LOG10P,
    MOST_NAMED,
    axes_or_panel,
    colours,
    draw_dots,
    set_heights,
)
from lmmlite_jax.plot._checks import as_log10p, as_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_qq"]

_MOST_QQ, _TOP_QQ, _FINE_QQ = 10_000, 2_000, 6_000


def plot_qq(log10p: ArrayOrFrame | Mapping[str, ArrayOrFrame], ax: Axes | None = None) -> Axes:
    """Draw observed -log10 p against those expected of uniform p-values, and the inflation.

    The i-th smallest of n p-values is expected at i / (n + 1); it falls in the shaded band with
    probability 95% if the n are independent and uniform. The genomic inflation λ is the median of
    the χ²(1) statistics with these p-values over the median of that distribution.

    Of more than 10 000 values, the 2000 largest are all drawn and the others thinned out evenly
    along the axis; λ is that of all.

    Parameters
    ----------
    log10p : (M,) array_like, or dict of str to array_like
        Minus the decimal logarithms of p-values, or several named series of them, each of its own
        length. NaN is left out.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Save it with ``axes.figure.savefig(path)``.

    Raises
    ------
    ValueError
        If a series is empty or all NaN, or has a value that is infinite or negative.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.plot import plot_qq
    >>> axes = plot_qq(-np.log10(np.arange(1, 100) / 100))
    >>> axes.texts[0].get_text()
    'λ = 1.00'
    """
    named = isinstance(log10p, Mapping)
    series = {
        name: np.sort(values[~np.isnan(values)])[::-1]
        for name, values in as_series("log10p", log10p, as_log10p).items()
    }
    inflation = {name: genomic_inflation(values) for name, values in series.items()}
    one_size = len({values.size for values in series.values()}) == 1

    axes, _ = axes_or_panel(ax, 5.0, 5.0)
    for j, (colour, (name, values)) in enumerate(
        zip(colours(len(series)), series.items(), strict=True)
    ):
        n = values.size
        rank = _drawn_ranks(n)
        expected = -np.log10(rank / (n + 1))
        if j == 0 or not one_size:
            low, high = (-np.log10(betaincinv(rank, n + 1 - rank, q)) for q in (0.975, 0.025))
            axes.fill_between(
                expected,
                low,
                high,
                color="0.88" if one_size else colour,
                alpha=None if one_size else 0.15,
                linewidth=0,
                zorder=1,
            )
        label = f"{name}, λ = {inflation[name]:.2f}" if named else None
        draw_dots(axes, expected, values[rank - 1], colour, label=label, zorder=3)
    longest = np.log10(max(values.size for values in series.values()) + 1)
    axes.plot([0, longest], [0, longest], color=GREY, linewidth=1, zorder=2)
    axes.set(xlim=(0, 1.03 * longest), xlabel=f"expected {LOG10P}", ylabel=f"observed {LOG10P}")
    set_heights(axes, np.append([values[0] for values in series.values()], longest))
    if named and len(series) <= MOST_NAMED:
        axes.legend(loc="upper left", frameon=False, scatterpoints=1, markerscale=2)
    else:
        least, most = min(inflation.values()), max(inflation.values())
        text = f"λ = {least:.2f}" if len(series) == 1 else f"λ from {least:.2f} to {most:.2f}"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", ha="left")
    return axes


def _drawn_ranks(n: int) -> Int[np.ndarray, " drawn"]:
    if n <= _MOST_QQ:
        return np.arange(1, n + 1)
    # Even in the logarithm of the rank is even along the axis.
    rest = np.rint(np.geomspace(_TOP_QQ, n, _FINE_QQ)).astype(int)
    return np.union1d(np.arange(1, _TOP_QQ + 1), rest)
