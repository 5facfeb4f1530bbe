"""Pictures of scans show the numbers they are given."""

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib")
mpl.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from lmmlite_jax.faces import (  # noqa: E402
    plot_eqtl_map,
    plot_hsq_histogram,
    plot_lod,
    plot_manhattan,
    plot_qq,
)

CHROMOSOME = np.repeat(["1", "2", "X"], 100)
POSITION = np.tile(np.linspace(1, 50, 100), 3)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def points(axes):
    return np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])


def test_manhattan_shows_every_marker_and_names_chromosomes():
    log10p = np.random.default_rng(1).exponential(0.4, 300)
    log10p[7] = np.nan
    axes = plot_manhattan(log10p, POSITION, CHROMOSOME, threshold=3.0)
    heights = np.sort(points(axes)[:, 1])
    np.testing.assert_allclose(heights, np.sort(log10p[~np.isnan(log10p)]))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "X"]
    assert any(np.allclose(line.get_ydata(), 3.0) for line in axes.lines)


def test_qq_has_the_inflation_in_it():
    log10p = -np.log10(np.random.default_rng(2).random(5000))
    axes = plot_qq(log10p)
    assert any("λ" in text.get_text() for text in axes.texts) or "λ" in str(
        [t.get_text() for t in (axes.get_legend().get_texts() if axes.get_legend() else [])]
    )


def test_lod_curves_and_maps_and_histograms_are_drawn():
    lod = np.random.default_rng(3).random((300, 2))
    assert plot_lod({"a": lod[:, 0], "b": lod[:, 1]}, POSITION, CHROMOSOME).lines
    axes = plot_eqtl_map(CHROMOSOME[:5], POSITION[:5], CHROMOSOME[-5:], POSITION[-5:])
    assert len(points(axes)) == 5
    assert plot_hsq_histogram([0.1, 0.5, np.nan, 1.0]).patches


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="position"):
        plot_manhattan(np.ones(300), POSITION[:5], CHROMOSOME)
    with pytest.raises(ValueError, match="log10p"):
        plot_qq(np.full(4, np.nan))
