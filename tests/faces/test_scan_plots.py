import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import optimize, stats

from lmmlite_jax.faces.scan_plots import (
    plot_eqtl_map,
    plot_hsq_histogram,
    plot_lod,
    plot_manhattan,
    plot_qq,
)

# Chromosomes 2, 1 and X of lengths 100, 50 and 10, neither sorted nor starting at 0.
CHROMOSOME = np.array(["2", "2", "2", "1", "1", "X", "X"])
POSITION = np.array([30.0, 110.0, 10.0, 5.0, 55.0, 20.0, 30.0])
HEIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
GAP = 0.01 * 160
PLACE = np.array([20, 100, 0, 100 + GAP, 150 + GAP, 150 + 2 * GAP, 160 + 2 * GAP])
CENTRES = [50, 125 + GAP, 155 + 2 * GAP]


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


def test_manhattan_lays_chromosomes_end_to_end_in_the_order_they_appear(tmp_path):
    axes = plot_manhattan(HEIGHT, POSITION, CHROMOSOME, threshold=5.5)
    drawn = dots(axes)
    drawn = drawn[np.argsort(drawn[:, 1])]
    np.testing.assert_allclose(drawn, np.c_[PLACE, HEIGHT])
    assert ticks(axes) == ["2", "1", "X"]
    np.testing.assert_allclose(axes.get_xticks(), CENTRES)
    assert dashed(axes) == [5.5]
    assert axes.get_ylim()[0] == 0
    save(axes, tmp_path / "manhattan.png")


def test_manhattan_colours_alternate():
    blue, grey = plot_manhattan(HEIGHT, POSITION, CHROMOSOME).collections
    assert len(blue.get_offsets()) == 5  # chromosomes 2 and X
    assert len(grey.get_offsets()) == 2
    assert not np.array_equal(blue.get_facecolor(), grey.get_facecolor())


def test_manhattan_leaves_out_what_is_missing_and_keeps_its_place():
    height, position = HEIGHT.copy(), POSITION.copy()
    height[[2, 5]] = np.nan
    position[3] = np.nan
    chromosome = CHROMOSOME.astype(object)
    chromosome[0] = None
    axes = plot_manhattan(height, position, list(chromosome), threshold=[3, 9])
    drawn = dots(axes)
    assert sorted(drawn[:, 1]) == [2, 5, 7]
    # The first marker of chromosome 2 has no height, but chromosome 2 still starts with it.
    assert drawn[drawn[:, 1] == 2, 0] == 100
    assert dashed(axes) == [3, 9]
    assert axes.get_ylim()[1] > 9


def test_chromosomes_may_be_numbers_or_have_a_prefix_and_arrays_be_of_jax():
    numbers = jnp.array([2, 2, 2, 1, 1, 3, 3])
    axes = plot_manhattan(jnp.asarray(HEIGHT), jnp.asarray(POSITION), numbers)
    assert ticks(axes) == ["2", "1", "3"]
    with_nan = np.array([2.0, 2, 2, 1, 1, np.nan, np.nan])
    assert ticks(plot_manhattan(HEIGHT, POSITION, with_nan)) == ["2", "1"]
    prefixed = np.char.add("chr", CHROMOSOME)
    assert ticks(plot_manhattan(HEIGHT, POSITION, prefixed)) == ["2", "1", "X"]
    assert ticks(plot_manhattan(HEIGHT, POSITION, CHROMOSOME.astype(bytes))) == ["2", "1", "X"]


def test_one_chromosome_keeps_its_positions():
    axes = plot_manhattan(HEIGHT[:3], POSITION[:3], CHROMOSOME[:3])
    np.testing.assert_array_equal(np.sort(dots(axes)[:, 0]), [10, 30, 110])
    assert axes.get_xlabel() == "position on chromosome 2"


def test_names_that_would_overlap_are_left_out():
    n = 500
    axes = plot_manhattan(np.ones(n), np.zeros(n), [f"scaffold{i}" for i in range(n)])
    assert 3 < len(ticks(axes)) < 30
    assert len(dots(axes)) == n


def test_a_million_points_are_drawn_as_pixels(tmp_path):
    rng = np.random.default_rng(1)
    n = 1_000_000
    height = -np.log10(rng.uniform(size=n))
    chromosome = np.repeat([f"chr{i}" for i in range(1, 21)], n // 20)
    axes = plot_manhattan(height, np.tile(np.arange(n // 20), 20), chromosome)
    assert sum(len(group.get_offsets()) for group in axes.collections) == n
    assert all(group.get_rasterized() for group in axes.collections)
    save(axes, tmp_path / "manhattan.png")
    axes = plot_qq(height)
    (points,) = axes.collections[1:]
    assert 2_000 < len(points.get_offsets()) < 10_000
    assert axes.texts[0].get_text() == "λ = 1.00"
    drawn = np.asarray(points.get_offsets())
    np.testing.assert_array_equal(np.sort(drawn[:, 1])[-2000:], np.sort(height)[-2000:])
    assert drawn[:, 0].min() < 1e-5  # to the smallest: no gap where most were thinned out
    assert np.diff(np.sort(drawn[:, 0])[:-1000]).max() < 0.01


def test_qq_draws_ranks_band_and_inflation(tmp_path):
    n = 999
    p = np.random.default_rng(2).beta(0.7, 1, n)
    values = np.r_[-np.log10(p), np.nan]
    axes = plot_qq(values)
    band, points = axes.collections
    rank = np.arange(1, n + 1)
    expected = np.c_[-np.log10(rank / (n + 1)), np.sort(-np.log10(p))[::-1]]
    np.testing.assert_allclose(points.get_offsets(), expected)
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
    for i in (1, 10, 999):
        for q in (0.025, 0.975):
            edge = -np.log10(stats.beta(i, n + 1 - i).ppf(q))
            assert (round(-np.log10(i / (n + 1)), 9), round(edge, 9)) in corners
    inflation = np.median(stats.chi2.isf(p, 1)) / stats.chi2.median(1)
    assert [text.get_text() for text in axes.texts] == [f"λ = {inflation:.2f}"]
    assert inflation > 1.3
    save(axes, tmp_path / "qq.png")


def test_qq_inflation_of_an_even_number_and_of_p_below_the_smallest_float():
    p = np.array([0.01, 0.1, 0.3, 1.0])
    inflation = np.median(stats.chi2.isf(p, 1)) / stats.chi2.median(1)
    assert plot_qq(-np.log10(p)).texts[0].get_text() == f"λ = {inflation:.2f}"
    # P(|z| > z0) = 10^-400, solved in logarithms.
    z = optimize.brentq(lambda z: stats.norm.logsf(z) + np.log(2) + 400 * np.log(10), 1, 100)
    (text,) = plot_qq([400.0]).texts
    assert float(text.get_text()[4:]) == pytest.approx(z**2 / stats.chi2.median(1), rel=1e-5)


def test_qq_of_several_series_has_a_legend_with_each_inflation():
    half = -np.log10(np.arange(1, 100) / 100)
    axes = plot_qq({"mixed model": half, "regression": half[:50]})
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0] == "mixed model, λ = 1.00"
    assert texts[1].startswith("regression, λ = ")
    assert len(axes.collections) == 4  # a band for each size
    axes = plot_qq({"a": half, "b": 1.1 * half})
    assert len(axes.collections) == 3
    axes = plot_qq({f"t{i}": half for i in range(12)})
    assert axes.get_legend() is None
    assert axes.texts[0].get_text() == "λ from 1.00 to 1.00"


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


PAIRS = {
    "marker_chromosome": np.array(["X", "2", "10", "2"]),
    "marker_position": np.array([4.0, 10.0, 7.0, 60.0]),
    "trait_chromosome": np.array(["X", "10", "10", "2"]),
    "trait_position": np.array([14.0, 27.0, 7.0, 60.0]),
}


def test_eqtl_map_has_one_scale_for_both_axes(tmp_path):
    axes = plot_eqtl_map(**PAIRS)
    gap = 0.01 * 80  # 2 spans 10 to 60, 10 spans 7 to 27, X spans 4 to 14
    ten, x = 50 + gap, 70 + 2 * gap
    np.testing.assert_allclose(dots(axes), [[x, x + 10], [0, ten + 20], [ten, ten], [50, 50]])
    assert ticks(axes) == ticks(axes, "y") == ["2", "10", "X"]
    for axis in (axes.xaxis, axes.yaxis):
        np.testing.assert_allclose(axis.get_majorticklocs(), [25, ten + 10, x + 5])
        np.testing.assert_allclose(axis.get_minorticklocs(), [ten - gap / 2, x - gap / 2])
        assert all(tick.gridline.get_visible() for tick in axis.get_minor_ticks())
    assert axes.get_xlim() == axes.get_ylim()
    save(axes, tmp_path / "map.png")


def test_eqtl_map_draws_strong_pairs_last_and_larger(tmp_path):
    axes = plot_eqtl_map(**PAIRS, log10p=[20.0, 5.0, np.nan, 8.0])
    (points,) = axes.collections
    np.testing.assert_array_equal(points.get_array(), [5, 8, 20])
    assert np.all(np.diff(points.get_sizes()) > 0)
    assert len(axes.figure.axes) == 2  # with the colour bar
    save(axes, tmp_path / "map.png")
    (points,) = plot_eqtl_map(**PAIRS, log10p=np.full(4, 5.0)).collections
    assert np.isfinite(points.get_sizes()).all()


def test_eqtl_map_takes_an_order_of_chromosomes():
    assert ticks(plot_eqtl_map(**PAIRS, chromosome_order=["X", 10, "11", 2])) == ["X", "10", "2"]
    with pytest.raises(ValueError, match=r"^chromosome_order lacks 'X', '10', where .*: add them"):
        plot_eqtl_map(**(PAIRS | {"trait_chromosome": ["2"] * 4}), chromosome_order=["2"])


def test_chromosomes_of_a_map_are_in_natural_order():
    names = ["chrM", "chrX", "chr10", "chr2_random", "chrY", "chr2", "chr1"]
    axes = plot_eqtl_map(names, range(7), names, range(7))
    assert ticks(axes) == ["1", "2", "2_random", "10", "X", "Y", "M"]


def test_histogram_counts_traits(tmp_path):
    axes = plot_hsq_histogram(jnp.array([0.0, 0.01, 0.5, 1.0, jnp.nan]))
    heights = [bar.get_height() for bar in axes.patches]
    assert len(heights) == 25
    assert (heights[0], heights[12], heights[-1], sum(heights)) == (2, 1, 1, 4)
    save(axes, tmp_path / "histogram.png")
    with pytest.raises(ValueError, match=r"^hsq has values outside 0 to 1 \(1\), such as 35: give"):
        plot_hsq_histogram([35.0, 0.2])


def test_plots_are_drawn_where_asked():
    figure = Figure()
    FigureCanvasAgg(figure)
    panels = figure.subplots(5)
    assert plot_manhattan(HEIGHT, POSITION, CHROMOSOME, ax=panels[0]) is panels[0]
    assert plot_qq(HEIGHT, ax=panels[1]) is panels[1]
    lod = {"a": HEIGHT, "b": HEIGHT}
    assert plot_lod(lod, POSITION, CHROMOSOME, ax=panels[2]) is panels[2]
    assert plot_eqtl_map(**PAIRS, ax=panels[3]) is panels[3]
    assert plot_hsq_histogram([0.2], ax=panels[4]) is panels[4]
    figure.canvas.draw()
    assert all(panel.has_data() for panel in panels)
    assert len(figure.axes) == 5


NOTHING = np.full(7, np.nan)
MANHATTAN = {"log10p": HEIGHT, "position": POSITION, "chromosome": CHROMOSOME}
LOD = {"lod": HEIGHT, "position": POSITION, "chromosome": CHROMOSOME}


@pytest.mark.parametrize(
    ("plot", "good", "bad", "message"),
    [
        (
            plot_manhattan,
            MANHATTAN,
            {"position": POSITION[:3]},
            r"position has shape \(3,\) and log10p \(7,\): give one",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"chromosome": "1"},
            r"chromosome has shape \(\) and log10p \(7,\): give one",
        ),
        (plot_manhattan, MANHATTAN, {"log10p": []}, "log10p is empty: give"),
        (plot_manhattan, MANHATTAN, {"log10p": NOTHING}, r"log10p has only NaN values \(7\): give"),
        (
            plot_manhattan,
            MANHATTAN,
            {"log10p": -HEIGHT},
            r"log10p has values below 0, down to -7: give -log10\(p\)",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"log10p": np.r_[HEIGHT[:6], np.inf]},
            r"log10p has infinite values \(1 of 7\): give finite",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"log10p": HEIGHT[:, None]},
            r"log10p has shape \(7, 1\): give an array of one",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"position": NOTHING},
            r"position has only NaN values \(7\): give",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"position": CHROMOSOME},
            "position has values that are not numbers: give",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"chromosome": NOTHING},
            "chromosome has 7 entries and all are missing: give",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"threshold": np.nan},
            "threshold is nan: give a finite number",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"log10p": np.r_[1.0, NOTHING[1:]], "position": np.r_[np.nan, POSITION[1:]]},
            "log10p, position and chromosome are nowhere all known: give",
        ),
        (
            plot_manhattan,
            MANHATTAN,
            {"position": np.r_[1.0, NOTHING[1:]], "chromosome": np.r_[np.nan, np.ones(6)]},
            "chromosome is missing wherever a position is known: give",
        ),
        (plot_qq, {}, {"log10p": []}, "log10p is empty: give"),
        (plot_qq, {}, {"log10p": {}}, "log10p is an empty dict: give"),
        (
            plot_qq,
            {},
            {"log10p": {"a": HEIGHT, "b": NOTHING}},
            r"log10p\['b'\] has only NaN values \(7\): give",
        ),
        (plot_lod, LOD, {"lod": {}}, "lod is an empty dict: give"),
        (plot_lod, LOD, {"lod": np.empty((0, 2))}, "lod is empty: give"),
        (
            plot_lod,
            LOD,
            {"lod": np.c_[HEIGHT, NOTHING]},
            r"lod\[:, 1\] has only NaN values \(7\): give",
        ),
        (
            plot_lod,
            LOD,
            {"lod": {"a": HEIGHT, "b": HEIGHT[:2]}},
            r"lod\['b'\] has shape \(2,\) and lod\['a'\] \(7,\): give one",
        ),
        (
            plot_lod,
            LOD,
            {"lod": np.ones((7, 2, 2))},
            r"lod has shape \(7, 2, 2\): give an array of one or two",
        ),
        (
            plot_lod,
            LOD,
            {"chromosome": CHROMOSOME[:2]},
            r"chromosome has shape \(2,\) and lod \(7,\): give one",
        ),
        (plot_lod, LOD, {"names": ["a", "b"]}, "names has 2 entries and lod 1 curves: give one"),
        (
            plot_lod,
            LOD,
            {"lod": {"a": HEIGHT}, "names": ["a"]},
            "names is given and lod is a dict.*: leave out names",
        ),
        (plot_eqtl_map, PAIRS, {"marker_position": []}, "marker_position is empty: give"),
        (
            plot_eqtl_map,
            PAIRS,
            {"trait_position": [1.0]},
            r"trait_position has shape \(1,\) and marker_position \(4,\): give",
        ),
        (
            plot_eqtl_map,
            PAIRS,
            {"trait_chromosome": ["1"]},
            r"trait_chromosome has shape \(1,\) and marker_position \(4,\): give",
        ),
        (plot_eqtl_map, PAIRS, {"log10p": NOTHING[:4]}, r"log10p has only NaN values \(4\): give"),
        (
            plot_eqtl_map,
            PAIRS,
            {"trait_chromosome": NOTHING[:4]},
            "trait_chromosome has 4 entries and all are missing: give",
        ),
        (plot_hsq_histogram, {}, {"hsq": NOTHING}, r"hsq has only NaN values \(7\): give"),
    ],
)
def test_errors_name_the_argument_what_was_found_and_what_to_do(plot, good, bad, message):
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        plot(**(good | bad))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_scan_plots_leave_pyplot_alone():
    code = "from lmmlite_jax.faces.scan_plots import *; import sys; plot_qq([0.1, 0.2]); "
    code += "plot_eqtl_map([1, 2], [1, 2], [1, 2], [1, 2], [5, 6]); "
    code += "sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_to_install_is_named(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib is needed .*'lmmlite-jax\[plot\]'"):
        plot_qq([0.1, 0.2])
