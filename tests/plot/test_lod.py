import jax.numpy as jnp
import numpy as np
import pytest
from pictures import (
    CENTRES,
    CHROMOSOME,
    HEIGHT,
    NOTHING,
    PLACE,
    POSITION,
    assert_refused,
    dashed,
    save,
    ticks,
)

from lmmlite_jax.plot import plot_lod

LOD = {"lod": HEIGHT, "position": POSITION, "chromosome": CHROMOSOME}


def test_lod_curves_have_gaps_between_chromosomes_and_run_by_position(tmp_path):
    axes = plot_lod(HEIGHT, POSITION, CHROMOSOME, threshold=3.3)
    (curve,) = [line for line in axes.lines if line.get_linestyle() == "-"]
    nan = np.nan
    np.testing.assert_allclose(
        curve.get_xdata(), [0, 20, 100, nan, PLACE[3], PLACE[4], nan, PLACE[5], PLACE[6]]
    )
    np.testing.assert_array_equal(curve.get_ydata(), [3, 1, 2, nan, 4, 5, nan, 6, 7])
    assert ticks(axes) == ["2", "1", "X"]
    np.testing.assert_allclose(axes.get_xticks(), CENTRES)
    assert dashed(axes) == [3.3]
    assert axes.get_legend() is None
    assert len(axes.patches) == 1  # the ground of chromosome 1
    save(axes, tmp_path / "lod.png")


def test_lod_leaves_out_nan_and_dots_a_marker_alone_on_its_chromosome():
    lod = HEIGHT.copy()
    lod[[0, 3]] = np.nan
    (curve,) = plot_lod(lod, POSITION, CHROMOSOME).lines
    np.testing.assert_array_equal(curve.get_ydata(), [3, 2, np.nan, 5, np.nan, 6, 7])
    assert curve.get_marker() == "o"
    assert curve.get_markevery() == [3]
    assert plot_lod(HEIGHT, POSITION, CHROMOSOME).lines[0].get_marker() == "None"


@pytest.mark.parametrize("as_dict", [True, False])
def test_lod_of_several_curves_names_them(as_dict):
    both = np.c_[HEIGHT, HEIGHT[::-1]]
    names = ["weight", "length"]
    if as_dict:
        axes = plot_lod(dict(zip(names, both.T, strict=True)), POSITION, CHROMOSOME)
    else:
        axes = plot_lod(jnp.asarray(both), POSITION, CHROMOSOME, names=names)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names
    assert len(axes.lines) == 2
    assert axes.lines[0].get_color() != axes.lines[1].get_color()
    np.testing.assert_allclose(axes.lines[1].get_ydata()[:3], [5, 7, 6])


def test_lod_of_one_named_curve_has_a_title_and_of_many_no_legend():
    assert plot_lod({"weight": HEIGHT}, POSITION, CHROMOSOME).get_title(loc="left") == "weight"
    axes = plot_lod(np.tile(HEIGHT[:, None], 12), POSITION, CHROMOSOME, names=list("abcdefghijkl"))
    assert len(axes.lines) == 12
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"lod": {}}, "lod is an empty dict: give"),
        ({"lod": np.empty((0, 2))}, "lod is empty: give"),
        ({"lod": np.c_[HEIGHT, NOTHING]}, r"lod\[:, 1\] has only NaN values \(7\): give"),
        (
            {"lod": {"a": HEIGHT, "b": HEIGHT[:2]}},
            r"lod\['b'\] has shape \(2,\) and lod\['a'\] \(7,\): give one",
        ),
        ({"lod": np.ones((7, 2, 2))}, r"lod has shape \(7, 2, 2\): give an array of one or two"),
        ({"chromosome": CHROMOSOME[:2]}, r"chromosome has shape \(2,\) and lod \(7,\): give one"),
        ({"names": ["a", "b"]}, "names has 2 entries and lod 1 curves: give one"),
        (
            {"lod": {"a": HEIGHT}, "names": ["a"]},
            "names is given and lod is a dict.*: leave out names",
        ),
    ],
)
def test_errors_name_the_argument_what_was_found_and_what_to_do(bad, message):
    assert_refused(plot_lod, LOD | bad, message)
