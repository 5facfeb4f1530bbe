import numpy as np
import pytest
from pictures import NOTHING, PAIRS, assert_refused, dots, save, ticks

from lmmlite_jax.plot import plot_eqtl_map


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


def test_chromosomes_without_markers_or_genes_take_no_room():
    apart = PAIRS | {"trait_chromosome": np.array(["2", "10", "2", "2"])}
    axes = plot_eqtl_map(**apart)
    assert ticks(axes) == ["2", "10", "X"]
    assert ticks(axes, "y") == ["2", "10"]
    gap = 0.01 * 73  # 2 spans 7 to 60, 10 spans 7 to 27, X has one marker
    np.testing.assert_allclose(dots(axes)[:, 1], [7, 53 + gap + 20, 0, 53])
    alone = plot_eqtl_map(**(PAIRS | {"trait_chromosome": np.full(4, "2")}))
    assert alone.get_ylabel() == "gene position on chromosome 2"


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


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"marker_position": []}, "marker_position is empty: give"),
        (
            {"trait_position": [1.0]},
            r"trait_position has shape \(1,\) and marker_position \(4,\): give",
        ),
        (
            {"trait_chromosome": ["1"]},
            r"trait_chromosome has shape \(1,\) and marker_position \(4,\): give",
        ),
        ({"log10p": NOTHING[:4]}, r"log10p has only NaN values \(4\): give"),
        (
            {"trait_chromosome": NOTHING[:4]},
            "trait_chromosome has 4 entries and all are missing: give",
        ),
    ],
)
def test_errors_name_the_argument_what_was_found_and_what_to_do(bad, message):
    assert_refused(plot_eqtl_map, PAIRS | bad, message)
