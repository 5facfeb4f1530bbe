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
    dots,
    save,
    ticks,
)

from lmmlite_jax.plot import plot_manhattan, plot_qq

MANHATTAN = {"log10p": HEIGHT, "position": POSITION, "chromosome": CHROMOSOME}


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


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"position": POSITION[:3]}, r"position has shape \(3,\) and log10p \(7,\): give one"),
        ({"chromosome": "1"}, r"chromosome has shape \(\) and log10p \(7,\): give one"),
        ({"log10p": []}, "log10p is empty: give"),
        ({"log10p": NOTHING}, r"log10p has only NaN values \(7\): give"),
        ({"log10p": -HEIGHT}, r"log10p has values below 0, down to -7: give -log10\(p\)"),
        (
            {"log10p": np.r_[HEIGHT[:6], np.inf]},
            r"log10p has infinite values \(1 of 7\): give finite",
        ),
        ({"log10p": HEIGHT[:, None]}, r"log10p has shape \(7, 1\): give an array of one"),
        ({"position": NOTHING}, r"position has only NaN values \(7\): give"),
        ({"position": CHROMOSOME}, "position has values that are not numbers: give"),
        ({"chromosome": NOTHING}, "chromosome has 7 entries and all are missing: give"),
        ({"threshold": np.nan}, "threshold is nan: give a finite number"),
        (
            {"log10p": np.r_[1.0, NOTHING[1:]], "position": np.r_[np.nan, POSITION[1:]]},
            "log10p, position and chromosome are nowhere all known: give",
        ),
        (
            {"position": np.r_[1.0, NOTHING[1:]], "chromosome": np.r_[np.nan, np.ones(6)]},
            "chromosome is missing wherever a position is known: give",
        ),
    ],
)
def test_errors_name_the_argument_what_was_found_and_what_to_do(bad, message):
    assert_refused(plot_manhattan, MANHATTAN | bad, message)
