import jax.numpy as jnp
import numpy as np
import pytest
from pictures import NOTHING, assert_refused, save

from lmmlite_jax.plot import plot_hsq_estimates, plot_hsq_histogram, plot_loglik_profiles

GRID = np.linspace(0, 1, 101)
PEAKS = np.array([0.2, 0.7])
CURVES = -50 * (GRID[:, None] - PEAKS) ** 2 - 2330


def test_one_trait_is_drawn_on_its_own_scale():
    figure = plot_loglik_profiles(GRID, CURVES[:, 0], ["weight"])
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), CURVES[:, 0])
    assert axes.get_title(loc="left") == "weight"
    assert axes.get_ylabel() == "log likelihood"
    assert axes.get_legend() is None


def test_several_traits_are_drawn_relative_to_their_maxima():
    (axes,) = plot_loglik_profiles(GRID, CURVES, ["weight", "length"]).axes
    for line in axes.lines:
        assert line.get_ydata().max() == 0
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["weight", "length"]
    assert axes.get_ylim()[0] >= -11


def test_fits_are_marked_on_their_curves():
    (axes,) = plot_loglik_profiles(GRID, CURVES, fits=PEAKS).axes
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([float(mark.get_xdata()[0]) for mark in marks], PEAKS)
    np.testing.assert_allclose([float(mark.get_ydata()[0]) for mark in marks], 0, atol=1e-9)


def test_many_traits_have_no_legend():
    (axes,) = plot_loglik_profiles(GRID, np.tile(CURVES, 10), [f"t{i}" for i in range(20)]).axes
    assert axes.get_legend() is None


def test_values_that_are_not_finite_leave_a_gap_and_the_picture_can_be_saved(tmp_path):
    curves = CURVES.copy()
    curves[-1, 0] = -np.inf
    curves[:, 1] = np.nan
    figure = plot_loglik_profiles(GRID, curves, fits=[0.2, np.nan])
    figure.savefig(tmp_path / "profiles.png")
    assert (tmp_path / "profiles.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loglik": CURVES[:50]}, r"loglik has shape \(50, 2\) and hsq_grid \(101,\)"),
        ({"names": ["weight"]}, "names has 1 entries and loglik 2 traits"),
        ({"fits": [0.1]}, r"fits has shape \(1,\), expected \(2,\)"),
    ],
)
def test_shapes_that_do_not_agree_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot_loglik_profiles(**({"hsq_grid": GRID, "loglik": CURVES} | arguments))


def test_estimates_are_drawn_against_the_truth(tmp_path):
    figure = plot_hsq_estimates(PEAKS, [0.25, np.nan])
    (axes,) = figure.axes
    assert axes.get_xlabel() == "true heritability"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())
    figure.savefig(tmp_path / "estimates.png")
    with pytest.raises(ValueError, match=r"true_hsq has shape \(2,\) and estimated_hsq \(1,\)"):
        plot_hsq_estimates(PEAKS, [0.25])


def test_histogram_counts_traits(tmp_path):
    axes = plot_hsq_histogram(jnp.array([0.0, 0.01, 0.5, 1.0, jnp.nan]))
    heights = [bar.get_height() for bar in axes.patches]
    assert len(heights) == 25
    assert (heights[0], heights[12], heights[-1], sum(heights)) == (2, 1, 1, 4)
    assert all(float(tick).is_integer() for tick in axes.get_yticks())
    save(axes, tmp_path / "histogram.png")
    with pytest.raises(ValueError, match=r"^hsq has values outside 0 to 1 \(1\), such as 35: give"):
        plot_hsq_histogram([35.0, 0.2])


def test_a_histogram_of_nothing_is_refused():
    assert_refused(plot_hsq_histogram, {"hsq": NOTHING}, r"hsq has only NaN values \(7\): give")
