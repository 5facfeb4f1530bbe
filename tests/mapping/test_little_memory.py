"""Where a device has too little memory, work goes on with half as much at once."""

import threading

import jax
import numpy as np
import pytest
from helpers import random_kinship

import lmmlite_jax as lmm
from lmmlite_jax.mapping import blocks, keep, scan, screen
from lmmlite_jax.model import at_once, engine, threads

FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")


@pytest.fixture(autouse=True)
def begins_as_a_new_process(monkeypatch):
    monkeypatch.setattr(at_once, "_halvings", 0)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(2)
    n, M, m = 50, 700, 200
    G = rng.binomial(2, 0.4, (n, M)).astype(float)
    return random_kinship(rng, n), rng.standard_normal((n, m)) + G[:, [3]], G


def has_room_for(most):
    """What a device does that has room for so many traits or markers."""

    def room(size):
        if size > most:
            raise FULL

    return room


def small_device(monkeypatch, most):
    room = has_room_for(most)
    rotate, fit = blocks._markers_in_rows, engine.Engine.fit

    def rotated(stored):
        room(stored.shape[1])
        return rotate(stored)

    def fitted(self, patterns, laws, which, y, smallest=None):
        room(y.shape[2])
        return fit(self, patterns, laws, which, y, smallest)

    monkeypatch.setattr(blocks, "_markers_in_rows", rotated)
    monkeypatch.setattr(engine.Engine, "fit", fitted)


@pytest.mark.parametrize("kept", ["all", "best", 3.0])
def test_a_scan_has_the_same_result_in_less_memory(problem, kept, monkeypatch, caplog):
    K, Y, G = problem
    whole = lmm.scan(lmm.NullModel(K, Y), G, keep=kept)
    assert not caplog.messages
    small_device(monkeypatch, most=128)
    found = lmm.scan(lmm.NullModel(K, Y), G, keep=kept)
    assert caplog.messages[0] == (
        "The device has too little memory for 512 markers × 1,024 traits at once: going on with "
        "256 × 512."
    )
    for name in ("marker", "trait", "beta", "log10p", "hsq"):
        one, other = getattr(whole, name), getattr(found, name)
        if one is not None:
            np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12, err_msg=name)


def test_a_screen_whose_threads_lack_memory_goes_on_with_less(problem, monkeypatch, caplog):
    K, Y, G = problem
    whole = lmm.scan(lmm.NullModel(K, Y), G, keep="best")
    calls, screened = [], screen.maxima_of_block

    def once_too_much(block, waiting):
        calls.append(threading.current_thread())
        if len(calls) == 1:
            raise FULL
        return screened(block, waiting)

    monkeypatch.setattr(screen, "maxima_of_block", once_too_much)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    found = lmm.scan(lmm.NullModel(K, Y), G, keep="best")
    assert threading.main_thread() not in calls
    assert len(caplog.messages) == 1
    np.testing.assert_array_equal(found.marker, whole.marker)
    np.testing.assert_allclose(found.log10p, whole.log10p, rtol=1e-10)


def test_pieces_of_trans_that_are_done_are_not_done_again(problem, monkeypatch, caplog):
    K, Y, G = problem
    monkeypatch.setattr("lmmlite_jax.mapping.trans_search._MOST_MARKERS", 512)
    (one, two) = lmm.map_trans(lmm.NullModel(K, Y), G, threshold=1e-3)
    pieces = lmm.map_trans(lmm.NullModel(K, Y), G, threshold=1e-3)
    first = next(pieces)
    small_device(monkeypatch, most=256)
    (second,) = pieces
    assert len(caplog.messages) == 2
    for found, expected in ((first, one), (second, two)):
        np.testing.assert_array_equal(found.marker, expected.marker)
        np.testing.assert_allclose(found.log10p, expected.log10p, rtol=1e-10)


def test_thresholds_and_fits_too(problem, monkeypatch, caplog):
    K, Y, G = problem
    whole = lmm.permutation_threshold(lmm.NullModel(K, Y[:, :3]), G, permutations=100)
    hsq = lmm.fit_traits(K, Y).hsq
    small_device(monkeypatch, most=128)
    found = lmm.permutation_threshold(lmm.NullModel(K, Y[:, :3]), G, permutations=100)
    np.testing.assert_allclose(found, whole, rtol=1e-10)
    np.testing.assert_allclose(lmm.fit_traits(K, Y).hsq, hsq, atol=1e-8)
    assert len(caplog.messages) == 3, caplog.messages


def test_what_cannot_be_halved_any_more_says_so(problem, monkeypatch):
    K, Y, G = problem
    small_device(monkeypatch, most=8)
    with pytest.raises(MemoryError, match="too little memory even for 64 markers × 64 traits"):
        lmm.scan(lmm.NullModel(K, Y), G)


def test_other_errors_are_not_taken_for_it(problem, monkeypatch, caplog):
    K, Y, G = problem

    def broken(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(scan, "collect", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        lmm.scan(lmm.NullModel(K, Y), G)
    assert not caplog.messages
    assert keep.at_once().traits == at_once.CPU.traits
