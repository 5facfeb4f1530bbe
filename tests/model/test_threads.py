"""Several threads of one process at the same time, and the threads of BLAS."""

import subprocess
import sys
from threading import Event, Semaphore, Timer
from weakref import ref

import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lmmlite_jax.model import threads
from lmmlite_jax.model.threads import Workers, few_blas_threads

FOUR_THREADS_ON_TWO_CORES = """
import os

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import faulthandler
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import lmmlite_jax as lmm
from lmmlite_jax.model import engine

cohort = lmm.simulate_cohort(n=60, m=12, missing=0.1, seed=1)
G = np.random.default_rng(1).binomial(2, 0.3, (60, 40)).astype(float)


def fit(call):
    return lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar).hsq


def scan(call):
    null = lmm.NullModel(cohort.kinship, cohort.pheno, cohort.covar)
    return lmm.scan(null, G, keep="best").log10p


# The decompositions in one program, and then on threads of their own, as many of them are.
for engine.WORTH_THREADS in (engine.WORTH_THREADS, 1):
    for function in (fit, scan):
        alone = function(0)
        faulthandler.dump_traceback_later(45, exit=True)  # compiled by now: this takes a second
        with ThreadPoolExecutor(4) as pool:
            for one in pool.map(function, range(4 * 20)):
                np.testing.assert_allclose(one, alone, rtol=1e-9)
        faulthandler.cancel_dump_traceback_later()
"""


@pytest.mark.long
def test_four_threads_of_twenty_calls_finish_and_agree_with_one():
    # In a process of its own, which ends itself: what hangs would not come back to this one.
    command = [sys.executable, "-c", FOUR_THREADS_ON_TWO_CORES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_overlapping_threads_leave_blas_as_they_found_it():
    def blas_threads():
        return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        one, other = few_blas_threads(10), few_blas_threads(10)
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        other.__exit__(None, None, None)
        assert blas_threads() == before


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)


def test_work_that_is_begun_has_its_own_result(two_cores):
    workers = Workers()
    results = [workers.begin(lambda k: jnp.arange(3.0) + k, k) for k in range(20)]
    for k, result in enumerate(results):
        np.testing.assert_array_equal(result(), np.arange(3.0) + k)
    workers.close()


def test_no_result_is_kept_that_nobody_asks_for_any_more(two_cores):
    class Found:
        pass

    workers = Workers()
    kept = []
    for _ in range(20):
        result = workers.begin(lambda _: Found(), None)
        kept.append(ref(result()))
        del result
    assert all(one() is None for one in kept[:-1])
    workers.close()


def test_no_more_is_done_after_work_that_failed(two_cores):
    begun, go_on, done = Semaphore(0), Event(), []

    def work(k):
        if k == 0:
            raise ValueError("the first")
        begun.release()
        assert go_on.wait(60)
        done.append(k)

    workers = Workers()
    first, *_ = [workers.begin(work, k) for k in range(4)]
    for _ in range(2):
        assert begun.acquire(timeout=60)
    Timer(0.1, go_on.set).start()
    with pytest.raises(ValueError, match="the first"):
        first()
    assert sorted(done) == [1, 2]  # which were begun, and the last is not
    with pytest.raises(RuntimeError):
        workers.begin(work, 4)


def test_one_core_works_at_once(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 1)
    done = []
    result = Workers().begin(done.append, 1)
    assert done == [1]
    assert result() is None
