"""Markers on three chromosomes, and how to read what was drawn of them."""

import numpy as np
import pytest

# Chromosomes 2, 1 and X of lengths 100, 50 and 10, neither sorted nor starting at 0.
CHROMOSOME = np.array(["2", "2", "2", "1", "1", "X", "X"])
POSITION = np.array([30.0, 110.0, 10.0, 5.0, 55.0, 20.0, 30.0])
HEIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
GAP = 0.01 * 160
PLACE = np.array([20, 100, 0, 100 + GAP, 150 + GAP, 150 + 2 * GAP, 160 + 2 * GAP])
CENTRES = [50, 125 + GAP, 155 + 2 * GAP]
NOTHING = np.full(7, np.nan)

PAIRS = {
    "marker_chromosome": np.array(["X", "2", "10", "2"]),
    "marker_position": np.array([4.0, 10.0, 7.0, 60.0]),
    "trait_chromosome": np.array(["X", "10", "10", "2"]),
    "trait_position": np.array([14.0, 27.0, 7.0, 60.0]),
}


def dots(axes):
    return np.concatenate([np.asarray(group.get_offsets()) for group in axes.collections])


def ticks(axes, axis="x"):
    labels = getattr(axes, f"get_{axis}ticklabels")()
    return [label.get_text() for label in labels]


def dashed(axes):
    return [float(line.get_ydata()[0]) for line in axes.lines if line.get_linestyle() == "--"]


def save(axes, path):
    axes.get_figure(root=True).savefig(path)
    assert path.stat().st_size > 1000


def assert_refused(plot, arguments, message):
    """In one sentence that starts with `message`, a regular expression."""
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        plot(**arguments)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
