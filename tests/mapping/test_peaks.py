"""Peaks with their intervals, and inflation, against their definitions."""

from itertools import pairwise

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import chi2

from lmmlite_jax.mapping.peaks import genomic_inflation, lod_peaks

COLUMNS = ["trait", "chromosome", "marker", "position", "lod", "low", "high"]


def one_chromosome(lod, position=None, **options):
    position = np.arange(len(lod)) if position is None else position
    return lod_peaks(lod, position, ["1"] * len(lod), **{"threshold": 3, **options})


def smooth(rng, M=200):
    walk = np.cumsum(rng.standard_normal(M))
    return walk - walk.min()


def prominences(lod):
    """Of every local maximum, how far one must descend from it to reach a higher one."""
    found = []
    for i in range(len(lod)):
        if not (i == 0 or lod[i - 1] < lod[i]) or not (i == len(lod) - 1 or lod[i + 1] < lod[i]):
            continue
        falls = [np.inf]
        for side in (lod[i::-1], lod[i:]):
            higher = np.flatnonzero(side > lod[i])
            if higher.size:
                falls.append(lod[i] - side[: higher[0]].min())
        found.append(min(falls))
    return np.array(found)


def test_one_peak_a_chromosome_and_trait_above_the_threshold():
    lod = np.array([[1, 4.0], [5, 0], [2, 0], [0, 3], [3.5, 3], [9, 1], [1, 1]])
    table = lod_peaks(
        lod,
        [1, 2, 3, 1, 2, 3, 1],
        ["2", "2", "2", "1", "1", "1", "X"],
        threshold=3,
        marker=list("abcdefg"),
        trait=["weight", "length"],
    )
    assert list(table) == COLUMNS
    expected = [
        ("weight", "2", "b", 2, 5, 1, 3),
        ("weight", "1", "f", 3, 9, 2, 3),
        ("length", "2", "a", 1, 4, 1, 2),
    ]
    assert [tuple(row) for row in table.itertuples(index=False)] == expected


def test_support_interval_ends_one_marker_beyond_the_fall():
    lod = [0, 3.4, 3.6, 5, 4, 3.5, 0]
    table = one_chromosome(lod, [0, 1, 3, 7, 8, 12, 20])
    assert table[["position", "low", "high"]].iloc[0].tolist() == [7, 1, 12]
    table = one_chromosome(lod, [0, 1, 3, 7, 8, 12, 20], drop=1)
    assert table[["low", "high"]].iloc[0].tolist() == [3, 8]


def test_support_interval_of_a_single_peak_reaches_over_valleys():
    table = one_chromosome([0, 4, 0, 5, 0, 0])
    assert table[["low", "high"]].iloc[0].tolist() == [0, 4]


def test_support_interval_stops_at_the_ends_of_the_chromosome():
    assert one_chromosome([5, 4.9])[["low", "high"]].iloc[0].tolist() == [0, 1]
    assert one_chromosome([5])[["low", "high"]].iloc[0].tolist() == [0, 0]


def test_a_peak_between_markers_with_the_same_lod_is_the_middle_one():
    assert one_chromosome([0, 5, 5, 5, 1])["marker"].tolist() == [2]
    assert one_chromosome([0, 5, 5, 1])["marker"].tolist() == [1]
    assert one_chromosome([0, 5, 1, 5])["marker"].tolist() == [1]


def test_peaks_are_separated_by_a_fall_below_both():
    lod = [0, 6, 4.5, 5, 3, 5.5, 1]
    assert one_chromosome(lod, peak_drop=2.0)["marker"].tolist() == [1, 5]
    assert one_chromosome(lod, peak_drop=2.5)["marker"].tolist() == [1]  # 5.5 - 3 is not more
    assert one_chromosome(lod, peak_drop=2.0, threshold=5.7)["marker"].tolist() == [1]


def test_intervals_of_several_peaks_meet_in_the_valley():
    lod = [3.2, 6, 5, 3.1, 5.5, 3.4, 5.2, 0]
    table = one_chromosome(lod, peak_drop=2, drop=2)
    assert table[["low", "high"]].to_numpy().tolist() == [[0, 3], [3, 7]]
    table = one_chromosome(lod, peak_drop=2, bayes=0.999)
    assert table["high"].iloc[0] <= 3 <= table["low"].iloc[1]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_peaks_as_maxima_that_are_prominent(seed):
    lod = smooth(np.random.default_rng(seed))
    for peak_drop in (2, 4, 8):
        table = one_chromosome(lod, threshold=-1, peak_drop=peak_drop)
        assert len(table) == np.sum(prominences(lod) > peak_drop)


@pytest.mark.parametrize("seed", range(5))
def test_every_peak_is_the_highest_between_its_valleys(seed):
    lod = smooth(np.random.default_rng(seed))
    table = one_chromosome(lod, threshold=5, peak_drop=3)
    at = table["marker"].to_numpy()
    assert np.all(table["lod"] > 5)
    valleys = [left + np.argmin(lod[left:right]) for left, right in pairwise(at)]
    for i, valley in enumerate(valleys):
        assert lod[valley] < min(lod[at[i]], lod[at[i + 1]]) - 3
    ends = [0, *valleys, len(lod) - 1]
    for i, marker in enumerate(at):
        assert lod[marker] == lod[ends[i] : ends[i + 1] + 1].max()
        assert ends[i] <= table["low"][i] <= marker <= table["high"][i] <= ends[i + 1]


@pytest.mark.parametrize("probability", [0.5, 0.95, 0.99])
def test_bayes_interval_one_marker_at_a_time(probability):
    rng = np.random.default_rng(6)
    lod = 6 * np.exp(-(np.linspace(-2, 1.5, 60) ** 2)) + 0.05 * rng.standard_normal(60)
    position = np.cumsum(rng.exponential(1, 60))
    width = [position[1] - position[0]]
    width += [(position[j + 1] - position[j - 1]) / 2 for j in range(1, 59)]
    width += [position[59] - position[58]]
    area = 10**lod * width / np.sum(10**lod * width)
    held, taken = 0.0, []
    for j in sorted(range(60), key=lambda j: -lod[j]):
        held += area[j]
        taken.append(j)
        if held >= probability:
            break
    table = one_chromosome(lod, position, bayes=probability)
    assert table["low"].iloc[0] == position[min(taken)]
    assert table["high"].iloc[0] == position[max(taken)]


def test_bayes_interval_of_a_normal_posterior():
    position = np.linspace(-10, 10, 4001)
    lod = 5 - position**2 / 2 / np.log(10)
    table = one_chromosome(lod, position, bayes=0.95)
    assert table["low"].iloc[0] == pytest.approx(-1.96, abs=0.006)
    assert table["high"].iloc[0] == pytest.approx(1.96, abs=0.006)


def test_bayes_interval_does_not_overflow():
    table = one_chromosome([300.0, 4000.0, 3999.0], bayes=0.95)
    assert table[["low", "high"]].iloc[0].tolist() == [1, 2]


def test_bayes_interval_of_markers_at_one_position():
    assert one_chromosome([4.0], bayes=0.9)[["low", "high"]].iloc[0].tolist() == [0, 0]
    table = one_chromosome([4.0, 5.0, 4.0], [7, 7, 7], bayes=0.9)
    assert table[["position", "low", "high"]].iloc[0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("options", [{}, {"bayes": 0.95}, {"peak_drop": 1.8}])
def test_missing_lods_are_passed_over(options):
    rng = np.random.default_rng(7)
    lod = smooth(rng, 50)
    there = rng.random(50) < 0.7
    table = one_chromosome(np.where(there, lod, np.nan), **options)
    expected = one_chromosome(lod[there], np.flatnonzero(there), **options)
    pd.testing.assert_frame_equal(table.drop(columns="marker"), expected.drop(columns="marker"))
    assert table["marker"].tolist() == table["position"].tolist()


@pytest.mark.parametrize("options", [{}, {"bayes": 0.95}, {"peak_drop": 3}])
def test_order_of_markers_and_company_of_traits_do_not_matter(options):
    rng = np.random.default_rng(8)
    lod = np.stack([smooth(rng, 60) for _ in range(4)], axis=1)
    lod[:, 2] = np.nan
    chromosome = np.repeat(["1", "2", "3"], 20)
    position = rng.permutation(60) / 10
    marker = np.array([f"m{j}" for j in range(60)])
    table = lod_peaks(lod, position, chromosome, 5, marker=marker, **options)
    mixed = np.concatenate(
        [rng.permutation(20), 20 + rng.permutation(20), 40 + rng.permutation(20)]
    )
    again = lod_peaks(
        lod[mixed], position[mixed], chromosome[mixed], 5, marker=marker[mixed], **options
    )
    pd.testing.assert_frame_equal(table, again)
    alone = [
        lod_peaks(lod[:, t], position, chromosome, 5, marker=marker, **options) for t in range(4)
    ]
    for t, one in enumerate(alone):
        mine = table[table["trait"] == t].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            mine.drop(columns="trait"), one.drop(columns="trait"), check_dtype=len(one) > 0
        )


def test_thresholds_may_differ_between_traits():
    lod = np.array([[4.0, 4.0], [1, 1]])
    table = lod_peaks(lod, [1, 2], [1, 1], threshold=[3, 5])
    assert table["trait"].tolist() == [0]
    assert lod_peaks(lod, [1, 2], [1, 1], threshold=4).empty  # a peak exceeds it


def test_names_come_from_a_data_frame():
    frame = pd.DataFrame({"weight": [1.0, 5, 2]}, index=["a", "b", "c"])
    table = lod_peaks(frame, [1, 2, 3], pd.Series(["1", "1", "1"]), 3)
    assert table[["trait", "marker"]].to_numpy().tolist() == [["weight", "b"]]
    table = lod_peaks(frame["weight"], [1, 2, 3], [1, 1, 1], 3, trait="mass")
    assert table[["trait", "marker"]].to_numpy().tolist() == [["mass", "b"]]
    table = lod_peaks(pl.DataFrame({"weight": [1.0, 5, 2]}), [1, 2, 3], [1, 1, 1], 3)
    assert table[["trait", "marker"]].to_numpy().tolist() == [["weight", 1]]
    assert len(lod_peaks(jax.numpy.array([1.0, 5, 2]), [1, 2, 3], [1, 1, 1], 3)) == 1


def test_no_peak_is_an_empty_table_with_the_same_columns():
    table = one_chromosome([1.0, np.nan, 2.0])
    assert list(table) == COLUMNS
    assert len(table) == 0
    assert table["low"].dtype == np.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lod": np.zeros((2, 2, 2))}, r"lod must have shape .* got \(2, 2, 2\)"),
        ({"position": [1, 2]}, "position must have one entry for each of the 3 markers of lod"),
        ({"position": [1, np.nan, 3]}, r"position\[1\] is missing"),
        ({"chromosome": ["1"]}, "chromosome must have one entry for each of the 3 markers"),
        ({"marker": ["a"]}, "marker must have one entry for each of the 3 markers of lod, got 1"),
        ({"trait": ["a", "b"]}, "trait must have one entry for each of the 1 traits of lod, got 2"),
        ({"threshold": [3, 4]}, r"threshold must be a number or have shape \(1,\)"),
        ({"drop": -1}, "drop must be at least 0, got -1"),
        ({"bayes": 95.0}, "bayes must be a probability between 0 and 1, got 95"),
        ({"peak_drop": 0}, "peak_drop must be positive, got 0"),
        ({"peak_drop": 1}, "peak_drop must be at least drop = 1.5, got 1"),
    ],
)
def test_what_is_wrong_is_said(options, message):
    arguments = {"lod": [1.0, 5, 2], "position": [1, 2, 3], "chromosome": ["1"] * 3, "threshold": 3}
    with pytest.raises(ValueError, match=message):
        lod_peaks(**{**arguments, **options})


def test_inflation_of_p_values_and_of_statistics_agree():
    rng = np.random.default_rng(9)
    for M in (1000, 1001):
        for df in (1, 2):
            statistic = 1.3 * rng.chisquare(df, M)
            log10p = -chi2.logsf(statistic, df) / np.log(10)
            expected = np.median(statistic) / chi2.median(df)
            assert genomic_inflation(log10p, df=df) == pytest.approx(expected, rel=1e-12)
            assert genomic_inflation(statistic=statistic, df=df) == pytest.approx(expected)
            assert expected == pytest.approx(1.3, rel=0.15)


def test_inflation_of_each_trait_without_its_missing_values():
    rng = np.random.default_rng(10)
    statistic = rng.chisquare(1, (101, 4))
    statistic[rng.random((101, 4)) < 0.3] = np.nan
    statistic[:, 3] = np.nan
    expected = np.nanmedian(statistic[:, :3], axis=0) / chi2.median(1)
    log10p = -chi2.logsf(statistic, 1) / np.log(10)
    for found in (genomic_inflation(statistic=statistic), genomic_inflation(log10p)):
        np.testing.assert_allclose(found[:3], expected, rtol=1e-12)
        assert np.isnan(found[3])
    assert np.isnan(genomic_inflation(log10p[:, 3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "log10p or statistic must be given"),
        ({"log10p": [1.0], "statistic": [1.0]}, "log10p or statistic must be given, and not both"),
        ({"log10p": [-1.0, 2.0]}, "log10p has negative values, the least -1"),
        ({"statistic": 1.0}, r"statistic must have shape .* got \(\)"),
        ({"statistic": [1.0], "df": 0}, "df must be a positive number, got 0"),
    ],
)
def test_inflation_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        genomic_inflation(**options)
