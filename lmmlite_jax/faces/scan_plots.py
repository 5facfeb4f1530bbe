"""Pictures of genome scans: Manhattan and QQ plots, LOD curves, eQTL maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from lmmlite_jax._optional import require
from lmmlite_jax.faces.plots import _BLUE, _GREY, _MOST_NAMED, _panel
from lmmlite_jax.mapping.peaks import genomic_inflation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "plot_eqtl_map",
    "plot_hsq_histogram",
    "plot_locus",
    "plot_lod",
    "plot_manhattan",
    "plot_qq",
]

# Okabe and Ito's colours less the yellow, which is lost on white.
_COLOURS = (_BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LOG10P = r"$-\log_{10}\,p$"
_MISSING = {"", "nan", "NaN", "None", "<NA>"}
_MOST_VECTOR = 10_000  # more points than this are drawn as pixels in a vector file
_MOST_SHADED = 100  # chromosomes; with more than this the panel is a scaffold's, and grey all over
_MOST_QQ, _TOP_QQ, _FINE_QQ = 10_000, 2_000, 6_000
_FONT = 8.0  # of the chromosomes' names


def plot_manhattan(
    log10p: Any,
    position: Any,
    chromosome: Any,
    threshold: Any | None = None,
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
    >>> from lmmlite_jax.faces.scan_plots import plot_manhattan
    >>> axes = plot_manhattan([0.2, 6.1, 0.9], [10, 60, 30], ["1", "1", "X"], threshold=5)
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['1', 'X']
    """
    heights = _log10p("log10p", log10p)
    place = _numbers("position", position, heights.size, "log10p")
    entries = _entries("chromosome", chromosome, heights.size, "log10p")
    levels = _levels(threshold)
    genome, x, code = _lay_out(place, entries, "chromosome")
    drawn = _drawable("log10p, position and chromosome", heights, x)

    axes, _ = _axes(ax, 10.0, 4.0)
    n = int(drawn.sum())
    for parity, colour in enumerate((_BLUE, _GREY)):
        these = drawn & (code % 2 == parity)
        if these.any():
            axes.scatter(
                x[these],
                heights[these],
                s=_dot(n),
                color=colour,
                linewidths=0,
                rasterized=n > _MOST_VECTOR,
                zorder=2,
            )
    _draw_levels(axes, levels)
    _set_heights(axes, np.append(levels, heights[drawn]))
    axes.set_ylabel(_LOG10P)
    _name_chromosomes(axes, "x", genome, "")
    return axes


def plot_qq(log10p: Any | Mapping[str, Any], ax: Axes | None = None) -> Axes:
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
    >>> from lmmlite_jax.faces.scan_plots import plot_qq
    >>> axes = plot_qq(-np.log10(np.arange(1, 100) / 100))
    >>> axes.texts[0].get_text()
    'λ = 1.00'
    """
    named = isinstance(log10p, Mapping)
    series = {
        name: np.sort(values[~np.isnan(values)])[::-1]
        for name, values in _series("log10p", log10p, _log10p).items()
    }
    inflation = {name: genomic_inflation(values) for name, values in series.items()}
    one_size = len({values.size for values in series.values()}) == 1

    axes, _ = _axes(ax, 5.0, 5.0)
    for j, (colour, (name, values)) in enumerate(
        zip(_colours(len(series)), series.items(), strict=True)
    ):
        n = values.size
        rank = _drawn_ranks(n)
        expected = -np.log10(rank / (n + 1))
        if j == 0 or not one_size:
            low, high = (-np.log10(betaincinv(rank, n + 1 - rank, q)) for q in (0.975, 0.025))
            shade = {"color": "0.88"} if one_size else {"color": colour, "alpha": 0.15}
            axes.fill_between(expected, low, high, linewidth=0, zorder=1, **shade)
        axes.scatter(
            expected,
            values[rank - 1],
            s=_dot(rank.size),
            color=colour,
            linewidths=0,
            label=f"{name}, λ = {inflation[name]:.2f}" if named else None,
            rasterized=rank.size > _MOST_VECTOR,
            zorder=3,
        )
    longest = np.log10(max(values.size for values in series.values()) + 1)
    axes.plot([0, longest], [0, longest], color=_GREY, linewidth=1, zorder=2)
    axes.set(xlim=(0, 1.03 * longest), xlabel=f"expected {_LOG10P}", ylabel=f"observed {_LOG10P}")
    _set_heights(axes, np.append([values[0] for values in series.values()], longest))
    if named and len(series) <= _MOST_NAMED:
        axes.legend(loc="upper left", frameon=False, scatterpoints=1, markerscale=2)
    else:
        least, most = min(inflation.values()), max(inflation.values())
        text = f"λ = {least:.2f}" if len(series) == 1 else f"λ from {least:.2f} to {most:.2f}"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", ha="left")
    return axes


def plot_lod(
    lod: Any | Mapping[str, Any],
    position: Any,
    chromosome: Any,
    threshold: Any | None = None,
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
    >>> from lmmlite_jax.faces.scan_plots import plot_lod
    >>> curves = {"weight": [0.1, 4.2, 0.3], "length": [0.0, 1.1, 2.5]}
    >>> axes = plot_lod(curves, [10, 60, 30], [1, 1, 2], threshold=3)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['weight', 'length']
    """
    curves, labelled = _curves(lod, names)
    first, size = next((name, curve.size) for name, curve in curves.items())
    place = _numbers("position", position, size, first)
    entries = _entries("chromosome", chromosome, size, first)
    levels = _levels(threshold)
    genome, x, code = _lay_out(place, entries, "chromosome")
    along = np.lexsort((x, code))
    drawn = {
        name: along[_drawable(f"{name}, position and chromosome", curve, x)[along]]
        for name, curve in curves.items()
    }

    axes, own = _axes(ax, 10.0, 4.0)
    if len(genome.names) <= _MOST_SHADED:
        for start, end in zip(genome.start[1::2], genome.end[1::2], strict=True):
            axes.axvspan(
                start - genome.gap / 2, end + genome.gap / 2, color="0.96", linewidth=0, zorder=0
            )
    few = len(curves) <= _MOST_NAMED
    lines = []
    for colour, (name, curve) in zip(_colours(len(curves)), curves.items(), strict=True):
        order = drawn[name]
        ends = np.flatnonzero(np.diff(code[order])) + 1
        xs, ys = np.insert(x[order], ends, np.nan), np.insert(curve[order], ends, np.nan)
        # A marker that is alone on its chromosome makes no line: it is drawn as a dot.
        alone = np.isnan(np.r_[np.nan, xs[:-1]]) & np.isnan(np.r_[xs[1:], np.nan]) & ~np.isnan(xs)
        lines += axes.plot(
            xs,
            ys,
            color=colour,
            linewidth=1.5 if few else 0.8,
            marker="o" if alone.any() else None,
            markersize=3,
            markevery=np.flatnonzero(alone).tolist(),
            zorder=2,
        )
    _draw_levels(axes, levels)
    _set_heights(axes, np.r_[levels, *(curve[drawn[name]] for name, curve in curves.items())])
    axes.set_ylabel("LOD score")
    _name_chromosomes(axes, "x", genome, "")
    if labelled is not None and len(lines) == 1:
        axes.set_title(labelled[0], loc="left")
    elif labelled is not None and few:
        outside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        axes.legend(lines, labelled, frameon=False, **(outside if own else {"loc": "upper right"}))
    return axes


def plot_eqtl_map(
    marker_chromosome: Any,
    marker_position: Any,
    trait_chromosome: Any,
    trait_position: Any,
    log10p: Any | None = None,
    chromosome_order: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the positions of genes against those of the markers they are associated with.

    A dot is a significant pair. Both axes have the same scale, so that local associations lie on
    the diagonal. A chromosome reaches from the first to the last marker or gene on it.

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
    >>> from lmmlite_jax.faces.scan_plots import plot_eqtl_map
    >>> axes = plot_eqtl_map(["X", "2"], [5.0, 70.0], ["2", "2"], [20.0, 71.0], [6.2, 30.5])
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['2', 'X']
    """
    markers_at = _numbers("marker_position", marker_position)
    n = markers_at.size
    traits_at = _numbers("trait_position", trait_position, n, "marker_position")
    entries = [
        *_entries("marker_chromosome", marker_chromosome, n, "marker_position"),
        *_entries("trait_chromosome", trait_chromosome, n, "marker_position"),
    ]
    strength = None if log10p is None else _log10p("log10p", log10p, n, "marker_position")

    def order(found: Sequence[str]) -> list[str]:
        if chromosome_order is None:
            return sorted(found, key=_natural)
        given = list(dict.fromkeys(_name(entry) for entry in chromosome_order))
        lacking = [name for name in found if name not in given]
        if lacking:
            raise ValueError(
                f"chromosome_order lacks {', '.join(map(repr, lacking[:5]))}"
                f"{', ...' if len(lacking) > 5 else ''}, where there are markers or genes: add "
                "them, or leave out those pairs."
            )
        return [name for name in given if name in found]

    genome, at, _ = _lay_out(
        np.append(markers_at, traits_at), entries, "marker_chromosome and trait_chromosome", order
    )
    x, y = at[:n], at[n:]
    what = "two positions, two chromosomes" + ("" if strength is None else " and log10p")
    drawn = np.flatnonzero(_drawable(what, x, y, *(() if strength is None else (strength,))))

    axes, _ = _axes(ax, 6.8 if strength is None else 8.2, 6.8)
    axes.grid(False)
    style: dict[str, Any] = {"color": _BLUE, "s": _dot(drawn.size)}
    if strength is not None:
        drawn = drawn[np.argsort(strength[drawn], kind="stable")]
        shown = strength[drawn]
        shades = require("matplotlib.colors", "plot").LinearSegmentedColormap.from_list(
            "strength", ["#9CCBEB", _BLUE, "#061A2B"]
        )
        share = (shown - shown[0]) / max(shown[-1] - shown[0], np.finfo(float).tiny)
        style = {"c": shown, "cmap": shades, "s": _dot(drawn.size) * (0.5 + 1.5 * share)}
    points = axes.scatter(
        x[drawn],
        y[drawn],
        linewidths=0,
        rasterized=drawn.size > _MOST_VECTOR,
        zorder=2,
        **style,
    )
    if strength is not None:
        axes.figure.colorbar(points, ax=axes, label=_LOG10P, shrink=0.6)
    axes.set_aspect("equal")
    for axis, whose in (("x", "marker"), ("y", "gene")):
        _name_chromosomes(axes, axis, genome, whose)
        between = (genome.end[:-1] + genome.start[1:]) / 2
        getattr(axes, f"set_{axis}ticks")(between, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def plot_locus(
    log10p: Any, position: Any, start: Any, end: Any, name: str = "", ax: Axes | None = None
) -> Axes:
    """Draw -log10 p of the variants near a gene, and the gene.

    Parameters
    ----------
    log10p : (M,) array_like
        Minus the decimal logarithms of p-values. NaN is left out.
    position : (M,) array_like
        Positions of the variants in base pairs.
    start, end : float
        Of the gene, in base pairs. It is drawn as a bar below the axis of p = 1.
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
        If lengths do not agree, or there is nothing to draw, or a value is infinite or log10p
        negative, or the gene ends before it starts.
    ModuleNotFoundError
        If matplotlib is not installed.

    Examples
    --------
    >>> from lmmlite_jax.faces.scan_plots import plot_locus
    >>> axes = plot_locus([0.2, 6.1, 0.9], [1_010_000, 1_060_000, 1_300_000], 1_050_000, 1_090_000)
    >>> axes.get_xlabel()
    'position (Mb)'
    """
    heights = _log10p("log10p", log10p)
    place = _numbers("position", position, heights.size, "log10p")
    if not start <= end:
        raise ValueError(f"the gene starts at {start} and ends at {end}: give its start first.")
    drawn = _drawable("log10p and position", heights, place)
    axes, _ = _axes(ax, 8.0, 4.0)
    axes.scatter(
        place[drawn] / 1e6,
        heights[drawn],
        s=_dot(int(drawn.sum())),
        color=_BLUE,
        linewidths=0,
        rasterized=drawn.sum() > _MOST_VECTOR,
        zorder=2,
    )
    top = max(1.0, 1.05 * heights[drawn].max())
    axes.plot(
        [start / 1e6, end / 1e6],
        [-0.04 * top] * 2,
        color=_COLOURS[1],
        linewidth=5,
        solid_capstyle="butt",
        marker="|",
        zorder=3,
    )
    axes.set_ylim(-0.08 * top, top)
    axes.set(xlabel="position (Mb)", ylabel=_LOG10P)
    axes.set_title(name, loc="left")
    return axes


def plot_hsq_histogram(hsq: Any, ax: Axes | None = None) -> Axes:
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
    >>> from lmmlite_jax.faces.scan_plots import plot_hsq_histogram
    >>> axes = plot_hsq_histogram([0.1, 0.5, 0.52, float("nan")])
    >>> int(sum(bar.get_height() for bar in axes.patches))
    3
    """
    values = _numbers("hsq", hsq)
    values = values[~np.isnan(values)]
    outside = values[(values < -1e-6) | (values > 1 + 1e-6)]
    if outside.size:
        raise ValueError(
            f"hsq has values outside 0 to 1 ({outside.size}), such as {outside[0]:g}: give "
            "heritabilities as proportions."
        )
    axes, _ = _axes(ax, 6.4, 4.4)
    edges = np.linspace(0, 1, 26)
    axes.hist(np.clip(values, 0, 1), edges, color=_BLUE, edgecolor="white", linewidth=0.6)
    axes.set(xlim=(0, 1), xlabel="heritability", ylabel="number of traits")
    return axes


class _Genome(NamedTuple):
    names: list[str]
    start: np.ndarray  # where each chromosome starts and ends on the axis
    end: np.ndarray
    gap: float


def _axes(ax: Any, width: float, height: float) -> tuple[Any, bool]:
    if ax is not None:
        return ax, False
    _, axes = _panel(width, height)
    return axes, True


def _numbers(name: str, values: Any, size: int | None = None, of: str = "") -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} has values that are not numbers: give numbers.") from error
    _check_shape(name, numbers, size, of)
    if np.isnan(numbers).all():
        raise ValueError(f"{name} has only NaN values ({numbers.size}): give at least one number.")
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise ValueError(
            f"{name} has infinite values ({infinite} of {numbers.size}): give finite ones, or "
            "NaN to leave them out."
        )
    return numbers


def _log10p(name: str, values: Any, size: int | None = None, of: str = "") -> np.ndarray:
    numbers = _numbers(name, values, size, of)
    least = np.nanmin(numbers)
    if least < -1e-6:  # what p = 1 may round to
        raise ValueError(
            f"{name} has values below 0, down to {least:.3g}: give -log10(p), which is at least 0."
        )
    return np.maximum(numbers, 0.0)


def _entries(name: str, values: Any, size: int, of: str) -> list[Any]:
    entries = np.asarray(values)
    _check_shape(name, entries, size, of)
    listed: list[Any] = entries.tolist()
    if all(_name(entry) in _MISSING for entry in listed):
        raise ValueError(f"{name} has {size} entries and all are missing: give at least one name.")
    return listed


def _check_shape(name: str, values: np.ndarray, size: int | None, of: str) -> None:
    if size is not None and values.shape != (size,):
        raise ValueError(
            f"{name} has shape {values.shape} and {of} ({size},): give one entry of {name} for "
            f"each of {of}."
        )
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}: give an array of one dimension.")
    if not values.size:
        raise ValueError(f"{name} is empty: give at least one value.")


def _series(
    name: str, values: Any, check: Callable[[str, Any], np.ndarray]
) -> dict[str, np.ndarray]:
    if not isinstance(values, Mapping):
        return {name: check(name, values)}
    if not values:
        raise ValueError(f"{name} is an empty dict: give at least one named array.")
    return {key: check(f"{name}[{key!r}]", array) for key, array in values.items()}


def _curves(
    lod: Any, names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], list[str] | None]:
    # The curves by what to call them in messages, and their names for the legend, if any.
    if isinstance(lod, Mapping):
        if names is not None:
            raise ValueError(
                "names is given and lod is a dict, which has its own: leave out names."
            )
        labels: list[str] | None = [str(key) for key in lod]
        curves = {f"lod[{key!r}]": v for key, v in _series("lod", lod, _numbers).items()}
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
            curves = {key: _numbers(key, matrix[:, j]) for j, key in enumerate(columns)}
        else:
            curves = {"lod": _numbers("lod", matrix.ravel() if matrix.ndim == 2 else matrix)}
    first, size = next((key, curve.size) for key, curve in curves.items())
    for key, curve in curves.items():
        _check_shape(key, curve, size, first)
    return curves, labels


def _levels(threshold: Any) -> np.ndarray:
    if threshold is None:
        return np.empty(0)
    levels = np.atleast_1d(np.asarray(threshold, dtype=float))
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ValueError(f"threshold is {threshold}: give a finite number, or several.")
    return levels


def _name(entry: Any) -> str:
    if isinstance(entry, bytes):
        return entry.decode().strip()
    whole = isinstance(entry, float) and entry.is_integer()  # an int beside a NaN became a float
    return str(int(entry) if whole else entry).strip()


def _natural(name: str) -> tuple[int, list[tuple[int, str]], str]:
    bare = re.sub("^chr", "", name, flags=re.IGNORECASE)
    group = 0 if bare[:1].isdigit() else 1 if bare in {"X", "Y"} else 2
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", bare)]
    return group, [part for part in parts if part != (-1, "")], name


def _lay_out(
    position: np.ndarray,
    entries: Sequence[Any],
    what: str,
    order: Callable[[Sequence[str]], Sequence[str]] = list,
) -> tuple[_Genome, np.ndarray, np.ndarray]:
    """Chromosomes side by side, and each entry's place on that axis and chromosome's number.

    An entry without a position or chromosome has the place NaN and the number -1.
    """
    distinct: dict[Any, int] = {}
    which = np.array([distinct.setdefault(entry, len(distinct)) for entry in entries])
    found = [_name(entry) for entry in distinct]
    known = np.array([name not in _MISSING for name in found])[which]
    known &= ~np.isnan(position)
    if not known.any():
        raise ValueError(
            f"{what} is missing wherever a position is known: give at least one entry with both."
        )
    present = np.unique(which[known])
    names = list(order(list(dict.fromkeys(found[j] for j in present))))
    number = {name: k for k, name in enumerate(names)}
    code = np.array([number.get(name, -1) for name in found])[which]
    code = np.where(known, code, -1)

    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(low, code[known], position[known])
    np.maximum.at(high, code[known], position[known])
    total = float(np.sum(high - low))
    gap = min(0.01, 0.1 / len(names)) * total if total > 0 else 1.0
    # One chromosome keeps its own positions; several start at 0 and follow each other.
    start = low if len(names) == 1 else np.cumsum(np.r_[0.0, (high - low)[:-1] + gap])
    x = np.where(known, position + (start - low)[code], np.nan)
    return _Genome(names, start, start + high - low, gap), x, code


def _drawable(what: str, *columns: np.ndarray) -> np.ndarray:
    drawn = np.logical_and.reduce([~np.isnan(column) for column in columns])
    if not drawn.any():
        raise ValueError(
            f"{what} are nowhere all known: give at least one entry where none of them is missing."
        )
    return drawn


def _name_chromosomes(axes: Any, axis: str, genome: _Genome, whose: str) -> None:
    low, high = genome.start[0] - genome.gap, genome.end[-1] + genome.gap
    getattr(axes, f"set_{axis}lim")(low, high)
    set_label = getattr(axes, f"set_{axis}label")
    names = genome.names
    if all(re.match("chr.", name, re.IGNORECASE) for name in names):
        names = [name[3:] for name in names]
    if len(names) == 1:
        set_label(f"{whose} position on chromosome {names[0]}".strip())
        return
    set_label(f"{whose} position (chromosome)" if whose else "chromosome")
    # Names that would run into the one before are left out.
    box = axes.get_window_extent()
    room = (box.width if axis == "x" else box.height) * 72 / axes.get_figure(root=True).dpi
    centres = (genome.start + genome.end) / 2
    shown: list[int] = []
    edge = -np.inf
    for k, name in enumerate(names):
        centre = (centres[k] - low) / (high - low) * room
        half = _FONT * (0.32 * len(name) if axis == "x" else 0.55)
        if centre - half > edge:
            shown.append(k)
            edge = centre + half
    getattr(axes, f"set_{axis}ticks")(centres[shown], [names[k] for k in shown], fontsize=_FONT)
    axes.tick_params(axis=axis, length=0)
    axes.grid(False, axis=axis)


def _draw_levels(axes: Any, levels: Iterable[float]) -> None:
    for level in levels:
        axes.axhline(level, color="0.25", linewidth=1, linestyle="--", zorder=1)


def _set_heights(axes: Any, heights: np.ndarray) -> None:
    axes.set_ylim(min(0.0, 1.05 * heights.min()), max(1.0, 1.05 * heights.max()))


def _dot(n: Any) -> float:
    return float(np.clip(20 - 3 * np.log10(n), 2, 14))


def _colours(m: int) -> Sequence[Any]:
    if m <= len(_COLOURS):
        return _COLOURS[:m]
    return list(require("matplotlib", "plot").colormaps["viridis"](np.linspace(0, 0.9, m)))


def _drawn_ranks(n: Any) -> np.ndarray:
    if n <= _MOST_QQ:
        return np.arange(1, n + 1)
    # Even in the logarithm of the rank is even along the axis.
    rest = np.rint(np.geomspace(_TOP_QQ, n, _FINE_QQ)).astype(int)
    return np.union1d(np.arange(1, _TOP_QQ + 1), rest)
