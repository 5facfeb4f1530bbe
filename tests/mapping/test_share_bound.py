"""Best markers and hits of refits, screened by a bound, against fits of every pair."""

import numpy as np
import pytest
from helpers import centred, random_kinship, with_variance
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lmmlite_jax as lmm
from lmmlite_jax.mapping import keep, refit_keep
from lmmlite_jax.model.cells import cells_of_spectrum
from lmmlite_jax.model.skeleton import interval_skeleton

N, MARKERS, TRAITS = 40, 120, 30


@pytest.fixture(autouse=True)
def few_pairs_are_screened_as_well(monkeypatch):
    monkeypatch.setattr(keep, "PAIRS_ALL_REFITTED", 0)


def problem(seed, kinship):
    """Traits of h² 0, 1 and between; markers that are the same, collinear, or constant."""
    rng = np.random.default_rng(seed)
    K = random_kinship(rng, N, N // 3 if kinship == "singular" else None)
    if kinship == "centred":
        K = centred(K)
    if kinship == "twins":
        K[1], K[:, 1] = K[0], K[:, 0]
        K[1, 1] = K[0, 0]
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    G = rng.binomial(2, 0.3, (N, MARKERS)).astype(float)
    effects = rng.choice([0.0, 0.5, 1.5], 10)
    Y = np.column_stack([with_variance(rng, K, hsq, TRAITS // 3) for hsq in (0.0, 0.5, 1.0)])
    Y[:, :10] += G[:, :10] * effects
    G[:, 80:100] = G[:, :20]
    G[:, 100:105] = 2 - 3 * G[:, :5]
    G[:, 50], G[:, 51] = 1.0, 2 + X[:, 1]
    return K, Y, G, X


@pytest.mark.parametrize(
    ("seed", "kinship", "test", "missing"),
    [
        (1, "twins", "wald", False),
        pytest.param(3, "singular", "lrt", True, marks=pytest.mark.long),
    ],
)
def test_what_is_kept_is_what_all_pairs_show(seed, kinship, test, missing):
    assert_kept_is_what_all_show(seed, kinship, test, asymptotic=False, missing=missing)


@pytest.mark.long
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@example(seed=2, kinship="centred", test="lrt", asymptotic=True, missing=False)
@given(
    seed=st.integers(0, 10**6),
    kinship=st.sampled_from(["regular", "singular", "centred", "twins"]),
    test=st.sampled_from(["wald", "lrt"]),
    asymptotic=st.booleans(),
    missing=st.booleans(),
)
def test_so_it_is_of_any_problem(seed, kinship, test, asymptotic, missing):
    assert_kept_is_what_all_show(seed, kinship, test, asymptotic=asymptotic, missing=missing)


def assert_kept_is_what_all_show(seed, kinship, test, *, asymptotic, missing):
    K, Y, G, X = problem(seed, kinship)
    if missing:
        Y[:3, ::2] = np.nan
    null = lmm.NullModel(K, Y, X)
    options = {"variance": "refit", "test": test, "asymptotic": asymptotic}
    every = lmm.scan(null, G, **options)
    assert_kept(null, G, every, options)


def assert_kept(null, G, every, options):
    log10p = np.asarray(every.log10p)
    tested = np.isfinite(log10p).any(axis=0)
    top = np.nanmax(np.where(np.isnan(log10p), -1, log10p), axis=0)
    best = lmm.scan(null, G, keep="best", **options)
    first = np.argmax(log10p >= top * (1 - 1e-9), axis=0)
    np.testing.assert_array_equal(best.marker, np.where(tested, first, -1))
    chosen = first[tested], np.flatnonzero(tested)
    for name in ("beta", "se", "lod", "log10p", "hsq"):
        found, expected = (np.asarray(getattr(one, name)) for one in (best, every))
        np.testing.assert_allclose(found[tested], expected[chosen], rtol=1e-7, atol=1e-9)
    at_the_last_digit = np.sort(top[tested])[-5] * (1 - 1e-9)
    for threshold in (at_the_last_digit, 0.5):
        hits = lmm.scan(null, G, keep=float(threshold), **options)
        kept = np.transpose([hits.marker, hits.trait])
        np.testing.assert_array_equal(kept, np.transpose(np.nonzero(log10p >= threshold)))
        assert len(kept) >= 5


@pytest.mark.long
def test_so_is_what_is_kept_of_few_pairs_that_are_all_fitted(monkeypatch):
    K, Y, G, X = problem(4, "twins")
    null, options = lmm.NullModel(K, Y, X), {"variance": "refit"}
    every = lmm.scan(null, G, **options)
    monkeypatch.setattr(keep, "PAIRS_ALL_REFITTED", Y.shape[1] * MARKERS)
    monkeypatch.setattr(keep, "BestRefit", None)  # what screens is not called
    monkeypatch.setattr(keep, "RefitHits", None)
    assert_kept(null, G, every, options)
    none = lmm.scan(null, np.ones((N, 2)), keep="best", **options)
    assert np.isnan(none.log10p).all()
    assert (none.marker == -1).all()


def test_each_chromosome_has_its_own_kinship():
    K, Y, G, X = problem(5, "regular")
    other = random_kinship(np.random.default_rng(6), N)
    chromosome = np.where(np.arange(MARKERS) % 2, "b", "a")
    null = lmm.NullModel({"a": K, "b": other}, Y, X)
    options = {"variance": "refit", "chromosome": chromosome}
    assert_kept(null, G, lmm.scan(null, G, **options), options)


@pytest.mark.parametrize("kinship", [pytest.param("regular", marks=pytest.mark.long), "singular"])
def test_few_pairs_need_a_fit(kinship, monkeypatch):
    K, Y, G, X = problem(7, kinship)
    fitted = 0
    fit = refit_keep._Waiting.fit

    def counted(self, pairs):
        nonlocal fitted
        fitted += pairs.trait.size
        return fit(self, pairs)

    monkeypatch.setattr(refit_keep._Waiting, "fit", counted)
    null = lmm.NullModel(K, Y[:, 10:], X)  # no marker has an effect on these
    lmm.scan(null, G, variance="refit", keep=4.0)
    assert fitted < 0.03 * G.shape[1] * 20


@pytest.mark.parametrize("decades", [0.3, 2.0, 6.0])
def test_cosines_in_a_cell_are_hardly_above_those_at_points(decades):
    """Of vectors of few individuals, to which the bound is close."""
    rng, largest_part = np.random.default_rng(8), 0.0
    for _ in range(200):
        size = rng.integers(2, 6)
        values = np.append([1.0, 10.0**-decades], 10 ** rng.uniform(-decades, 0, size))
        cells = cells_of_spectrum(
            values, values > 0, interval_skeleton(values.min(), 1.0), values.min(), 9.0, 10
        )
        y, g = rng.standard_normal((2, size + 2)) * 10 ** rng.uniform(-2, 1, (2, size + 2))

        def atanh_cosine(delta, values=values, y=y, g=g):
            w = 1 / (values + delta[:, None])
            a, b, d = (w @ (x * z) for x, z in ((y, y), (y, g), (g, g)))
            return np.abs(np.arctanh(b / np.sqrt(a * d)))

        at_points = atanh_cosine(1 / cells.middle - 1)
        of_cell = np.maximum.reduce([np.pad(at_points, 1)[i:][: at_points.size] for i in range(3)])
        delta = np.geomspace(1e-8 * values.min(), 1e8, 3000)
        number = np.log((1 + delta) / (values.min() + delta)) / cells.width
        number = np.clip(np.rint(number), 0, at_points.size - 1).astype(int)
        above = (atanh_cosine(delta) - of_cell[number]) / cells.radius[number]
        largest_part = max(largest_part, above.max())
    assert 0.1 < largest_part <= 1


@pytest.mark.parametrize("width", [0.0, 1e-6, 1e-3, 0.5, 8.0])
def test_points_are_few_and_no_further_apart_than_cells_are_long(width):
    values = np.geomspace(10.0**-width, 1.0, 50)
    skeleton = interval_skeleton(values[0], 1.0)
    cells = cells_of_spectrum(values, values > 0, skeleton, values[0], 49.0, 50)
    assert cells.hsq.size < 1000
    delta = 1 / cells.hsq[1:-1] - 1
    change = np.abs(np.diff(np.log((1 + delta) / (values[0] + delta))))
    assert change.max() <= cells.width * (1 + 1e-6)
