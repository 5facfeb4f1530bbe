"""What a scan found: peaks with their intervals, and the inflation of its statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat

import numpy as np
from scipy.special import chdtri, ndtri_exp

from lmmlite_jax._optional import require
from lmmlite_jax.model.inputs import ArrayOrFrame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["genomic_inflation", "lod_peaks"]


class _Peak(NamedTuple):
    """A peak and the part of the chromosome that is its own, as indices of markers."""

    at: int
    first: int
    last: int


def lod_peaks(
    lod: ArrayOrFrame,
    position: ArrayOrFrame,
    chromosome: ArrayOrFrame,
    threshold: ArrayOrFrame,
    drop: SupportsFloat = 1.5,
    bayes: SupportsFloat | None = None,
    peak_drop: SupportsFloat | None = None,
    marker: Iterable[object] | None = None,
    trait: str | Iterable[object] | None = None,
) -> pd.DataFrame:
    """Peaks of LOD curves with support intervals, as R/qtl2's ``find_peaks`` defines them.

    A peak is the highest LOD of a chromosome if it exceeds `threshold`; of neighbouring markers
    with the same LOD, the middle one. With `peak_drop` a chromosome may have several: between two
    of them the LOD falls by more than `peak_drop` below both, and the lowest marker in between ends
    the part of the chromosome in which the interval of either lies.

    The *support interval* runs from the outermost markers with a LOD above the peak's less `drop`
    to the next marker out. The *Bayes credible interval* takes 10^LOD times the spacing of the
    markers (half the distance between the neighbours; at an end, the distance to the neighbour) as
    the posterior of the locus, and takes markers in descending order of LOD until they hold a share
    `bayes` of it.

    Parameters
    ----------
    lod : (M,) or (M, m) array_like
        LOD of M markers, for m traits. Missing values are NaN and passed over.
    position : (M,) array_like
        Positions of the markers on their chromosomes, in any unit and order.
    chromosome : (M,) sequence
        Chromosomes of the markers.
    threshold : float or (m,) array_like
        LOD that a peak exceeds, the same for all traits or one for each.
    drop : float
        Fall of the LOD that ends the support interval.
    bayes : float, optional
        Probability of a Bayes credible interval, in place of the support interval.
    peak_drop : float, optional
        Fall of the LOD that separates peaks, at least `drop`; one peak a chromosome by default.
    marker : (M,) sequence, optional
        Names of the markers; by default those of a data frame's rows, or numbers from 0.
    trait : str or (m,) sequence of str, optional
        Names of the traits; by default those of a data frame's columns, or numbers from 0.

    Returns
    -------
    pandas.DataFrame
        One row a peak with columns trait, chromosome, marker, position, lod, low and high (ends of
        the interval), by trait, chromosome in the order in which they appear, and position.

    Raises
    ------
    ValueError
        If shapes do not fit, a position is missing, `bayes` is not a probability, or `peak_drop`
        is smaller than `drop`.

    Examples
    --------
    >>> from lmmlite_jax.mapping.peaks import lod_peaks
    >>> lod = [0.2, 3.1, 5.6, 4.4, 0.3, 4.2, 1.0, 0.5]
    >>> chromosome = ["1"] * 6 + ["2"] * 2
    >>> position = [5, 10, 15, 20, 25, 30, 5, 10]
    >>> lod_peaks(lod, position, chromosome, threshold=3.5, trait="weight")
        trait chromosome  marker  position  lod   low  high
    0  weight          1       2      15.0  5.6  10.0  30.0
    >>> lod_peaks(lod, position, chromosome, threshold=3.5, peak_drop=2).iloc[:, 3:]
       position  lod   low  high
    0      15.0  5.6  10.0  25.0
    1      30.0  4.2  25.0  30.0
    """
    marker = _labels(lod, "index") if marker is None else marker
    trait = _labels(lod, "columns") if trait is None else trait
    curves = np.asarray(lod, dtype=np.float64)
    if curves.ndim not in (1, 2):
        raise ValueError(
            f"lod must have shape (M,) or (M, m), got {curves.shape}: give one row for each marker."
        )
    curves = curves if curves.ndim == 2 else curves[:, None]
    M, m = curves.shape
    x = np.asarray(position, dtype=np.float64)
    _one_each("position", x, M, "markers")
    if not np.isfinite(x).all():
        raise ValueError(
            f"position[{int(np.argmin(np.isfinite(x)))}] is missing or infinite: leave out "
            "markers without a position."
        )
    chromosomes = _one_each("chromosome", chromosome, M, "markers")
    markers = _one_each("marker", range(M) if marker is None else marker, M, "markers")
    named = range(m) if trait is None else [trait] if isinstance(trait, str) else trait
    traits = _one_each("trait", named, m, "traits")
    limits = np.asarray(threshold, dtype=np.float64)
    if limits.shape not in ((), (m,)):
        raise ValueError(
            f"threshold must be a number or have shape ({m},), one for each trait, got shape "
            f"{limits.shape}."
        )
    limits = np.broadcast_to(limits, (m,))
    drop = float(drop)
    bayes = None if bayes is None else float(bayes)
    peak_drop = None if peak_drop is None else float(peak_drop)
    _check_falls(drop, bayes, peak_drop)

    members: dict[object, list[int]] = {}
    for j, name in enumerate(chromosomes):
        members.setdefault(name, []).append(j)
    of_trait: dict[int, list[tuple[object, ...]]] = {}
    for name, of_chromosome in members.items():
        index = np.array(of_chromosome)
        index = index[np.argsort(x[index], kind="stable")]
        part = curves[index]
        for t in np.flatnonzero(np.fmax.reduce(part, axis=0) > limits):
            seen = ~np.isnan(part[:, t])
            own, curve = index[seen], part[seen, t]
            for peak in _peaks(curve, limits[t], peak_drop):
                if bayes is None:
                    low, high = _support_interval(curve, peak, drop)
                else:
                    low, high = _credible_interval(curve, x[own], peak, bayes)
                at = own[peak.at]
                found = (markers[at], x[at], curve[peak.at], x[own[low]], x[own[high]])
                of_trait.setdefault(int(t), []).append((traits[t], name, *found))
    columns = ["trait", "chromosome", "marker", "position", "lod", "low", "high"]
    rows = [row for t in sorted(of_trait) for row in of_trait[t]]
    table = require("pandas", "io").DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(columns[3:], np.float64))


def genomic_inflation(
    log10p: ArrayOrFrame | None = None, statistic: ArrayOrFrame | None = None, df: SupportsFloat = 1
) -> float | np.ndarray:
    """Genomic inflation factor λ: the median χ² statistic over that expected without association.

    After Devlin & Roeder (1999, Biometrics 55:997).

    Parameters
    ----------
    log10p : (M,) or (M, m) array_like
        -log10 p of M markers, for m traits: give this or `statistic`. NaN is passed over.
    statistic : (M,) or (M, m) array_like
        χ² statistics.
    df : float
        Degrees of freedom of the test.

    Returns
    -------
    float or (m,) array
        λ, for each trait; NaN where all values are, or there are none.

    Raises
    ------
    ValueError
        If both or none of `log10p` and `statistic` are given, or values are negative.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.peaks import genomic_inflation
    >>> p = (np.arange(1000) + 0.5) / 1000
    >>> print(round(genomic_inflation(-np.log10(p)), 3))
    1.0
    """
    if (log10p is None) == (statistic is None):
        raise ValueError("log10p or statistic must be given, and not both: give one of them.")
    if not float(df) > 0:
        raise ValueError(f"df must be a positive number, got {df}.")
    name = "statistic" if log10p is None else "log10p"
    values = np.asarray(statistic if log10p is None else log10p, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (M,) or (M, m), got {values.shape}.")
    if (values < 0).any():
        raise ValueError(f"{name} has negative values, the least {np.nanmin(values):g}.")
    if not len(values):
        return float("nan") if values.ndim == 1 else np.full(values.shape[1], np.nan)
    columns = values if values.ndim == 2 else values[:, None]
    columns = np.sort(columns, axis=0)  # NaN comes last
    seen = np.sum(~np.isnan(columns), axis=0)
    every = np.arange(columns.shape[1])
    middle = [columns[np.maximum(seen - 1, 0) // 2, every], columns[seen // 2, every]]
    if statistic is None:
        # The two are averaged as statistics: the median of p-values may lie between two of them.
        middle = [_chi2_at(value, float(df)) for value in middle]
    ratio = np.mean(middle, axis=0) / chdtri(float(df), 0.5)
    return float(ratio[0]) if values.ndim == 1 else ratio


def _chi2_at(log10p: np.ndarray, df: float) -> np.ndarray:
    if df != 1:
        return chdtri(df, 10.0**-log10p)
    return ndtri_exp(-log10p * np.log(10) - np.log(2)) ** 2  # where p is no float as well


def _peaks(lod: np.ndarray, threshold: float, peak_drop: float | None) -> list[_Peak]:
    """Peaks above ``threshold`` in order, each with the markers from valley to valley."""
    tops, valleys = [int(np.argmax(lod))], list[int]()
    if peak_drop is not None:
        tops, valleys = _separate(lod.tolist(), threshold, peak_drop)
    ends = zip([0, *valleys], [*valleys, len(lod) - 1], strict=True)
    return [_Peak(_middle(lod, at), *both) for at, both in zip(tops, ends, strict=True)]


def _separate(lod: list[float], threshold: float, peak_drop: float) -> tuple[list[int], list[int]]:
    """Tops with a fall of more than ``peak_drop`` on both sides of the valleys between them."""
    start = next(i for i, value in enumerate(lod) if value > threshold)
    tops, valleys, lowest = [start], [], start
    for i in range(start + 1, len(lod)):
        fallen = lod[tops[-1]] - lod[lowest] > peak_drop
        if fallen and lod[i] > threshold and lod[i] - lod[lowest] > peak_drop:
            tops.append(i)
            valleys.append(lowest)
            lowest = i
        elif lod[i] > lod[tops[-1]]:
            tops[-1] = lowest = i
        elif lod[i] < lod[lowest]:
            lowest = i
    return tops, valleys


def _middle(lod: np.ndarray, at: int) -> int:
    """Middle one of the neighbouring markers with the same LOD as ``at``, of two the first."""
    first = last = at
    while first > 0 and lod[first - 1] == lod[at]:
        first -= 1
    while last < len(lod) - 1 and lod[last + 1] == lod[at]:
        last += 1
    return (first + last) // 2


def _support_interval(lod: np.ndarray, peak: _Peak, drop: float) -> tuple[int, int]:
    inside = peak.first + np.flatnonzero(lod[peak.first : peak.last + 1] > lod[peak.at] - drop)
    return max(int(inside[0]) - 1, peak.first), min(int(inside[-1]) + 1, peak.last)


def _credible_interval(
    lod: np.ndarray, position: np.ndarray, peak: _Peak, probability: float
) -> tuple[int, int]:
    gaps = np.diff(position) if len(position) > 1 else np.ones(1)
    width = (np.append(gaps[0], gaps) + np.append(gaps, gaps[-1]))[: len(position)] / 2
    own = slice(peak.first, peak.last + 1)
    posterior = 10.0 ** (lod[own] - lod[peak.at]) * width[own]
    order = np.argsort(-lod[own], kind="stable")
    held = np.cumsum(posterior[order])
    # The last one holds all, whatever the rounding.
    enough = int(np.argmax(held >= min(probability * held[-1], held[-1])))
    taken = peak.first + order[: enough + 1]
    return min(int(taken.min()), peak.at), max(int(taken.max()), peak.at)


def _labels(lod: ArrayOrFrame, axis: str) -> list[object] | None:
    """Names that a data frame gives to its rows or columns."""
    names = getattr(lod, axis, None) if hasattr(lod, "to_numpy") else None
    if names is None or callable(names) or type(names).__name__ == "RangeIndex":
        return None
    return list(names)


def _one_each(name: str, values: Iterable[object], count: int, what: str) -> list[object]:
    listed = list(values)
    if len(listed) != count:
        raise ValueError(
            f"{name} must have one entry for each of the {count} {what} of lod, got {len(listed)}."
        )
    return [value.item() if isinstance(value, np.generic) else value for value in listed]


def _check_falls(drop: float, bayes: float | None, peak_drop: float | None) -> None:
    if not drop >= 0:
        raise ValueError(f"drop must be at least 0, got {drop:g}.")
    if bayes is not None and not 0 < bayes < 1:
        raise ValueError(f"bayes must be a probability between 0 and 1, got {bayes:g}.")
    if peak_drop is not None and not peak_drop > 0:
        raise ValueError(f"peak_drop must be positive, got {peak_drop:g}.")
    if bayes is None and peak_drop is not None and peak_drop < drop:
        raise ValueError(
            f"peak_drop must be at least drop = {drop:g}, got {peak_drop:g}: lower drop, or raise "
            "peak_drop."
        )
