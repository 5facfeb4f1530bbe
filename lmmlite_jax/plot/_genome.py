"""The genome as an axis: chromosomes side by side, each as long as what is on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lmmlite_jax.plot._checks import is_missing, name_of

if TYPE_CHECKING:
    from typing import Literal

    from matplotlib.axes import Axes

__all__ = ["Genome", "in_natural_order", "lay_out", "name_chromosomes", "part_of"]

_FONT = 8.0  # of the chromosomes' names


class Genome(NamedTuple):
    """Chromosomes by name, where they start and end on an axis, and the room between them."""

    names: list[str]
    start: Float[np.ndarray, " chromosomes"]
    end: Float[np.ndarray, " chromosomes"]
    gap: float


def lay_out(
    position: Float[np.ndarray, " M"],
    entries: Sequence[object],
    what: str,
    order: Callable[[Sequence[str]], Sequence[str]] = list,
) -> tuple[Genome, Float[np.ndarray, " M"], Int[np.ndarray, " M"]]:
    """Chromosomes side by side, and each entry's place on that axis and chromosome's number.

    An entry without a position or chromosome has the place NaN and the number -1.
    """
    distinct: dict[object, int] = {}
    which = np.array([distinct.setdefault(entry, len(distinct)) for entry in entries])
    found = [name_of(entry) for entry in distinct]
    known = np.array([not is_missing(name) for name in found])[which]
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
    return Genome(names, start, start + high - low, gap), x, code


def part_of(
    genome: Genome, x: Float[np.ndarray, " n"], code: Int[np.ndarray, " n"]
) -> tuple[Genome, Float[np.ndarray, " n"]]:
    """Leave out the chromosomes on which there is none of the entries, and move these together."""
    kept = np.unique(code[code >= 0])
    if kept.size == len(genome.names):
        return genome, x
    length = (genome.end - genome.start)[kept]
    begin = np.cumsum(np.r_[0.0, length[:-1] + genome.gap])
    moved = np.full(len(genome.names), np.nan)
    moved[kept] = begin - genome.start[kept]
    names = [genome.names[k] for k in kept]
    return Genome(names, begin, begin + length, genome.gap), x + moved[code]


def in_natural_order(names: Sequence[str]) -> list[str]:
    """Sort chromosomes: numbers, then X and Y, then other names.

    >>> in_natural_order(["chrM", "X", "chr10", "2"])
    ['2', 'chr10', 'X', 'chrM']
    """
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[int, list[tuple[int, str]], str]:
    bare = re.sub("^chr", "", name, flags=re.IGNORECASE)
    group = 0 if bare[:1].isdigit() else 1 if bare in {"X", "Y"} else 2
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", bare)]
    return group, [part for part in parts if part != (-1, "")], name


def name_chromosomes(axes: Axes, axis: Literal["x", "y"], genome: Genome, whose: str) -> None:
    """Let an axis span the genome, with the chromosomes' names where there is room for them."""
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
    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_window_extent()
    room = (box.width if axis == "x" else box.height) * 72 / figure.dpi
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
