import numpy as np
import pytest
from pictures import HEIGHT, NOTHING, assert_refused, save
from scipy import optimize, stats

from lmmlite_jax.plot import plot_qq


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


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"log10p": []}, "log10p is empty: give"),
        ({"log10p": {}}, "log10p is an empty dict: give"),
        ({"log10p": {"a": HEIGHT, "b": NOTHING}}, r"log10p\['b'\] has only NaN values \(7\): give"),
    ],
)
def test_errors_name_the_argument_what_was_found_and_what_to_do(bad, message):
    assert_refused(plot_qq, bad, message)
