"""A process that sees data of ever new shapes."""

import sys

import jax
import numpy as np
import pytest

import lmmlite_jax as lmm
from lmmlite_jax.model import programs
from lmmlite_jax.model.programs import Programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory maps are Linux's")


def fit(n):
    rng = np.random.default_rng(n)
    lmm.fit_lmm(np.linspace(0.1, 2, n), rng.standard_normal(n), np.ones((n, 1)))


def memory_maps():
    return len(programs.MAPS.read_text().splitlines())


def test_programs_are_given_back_when_memory_maps_run_out(monkeypatch, caplog, compilations):
    fit(31)
    callers = jax.jit(lambda x: x + 1)
    callers(1.0)
    before, compiled = memory_maps(), compilations()
    monkeypatch.setattr(programs, "_OF_PROCESS", Programs(most_maps=before))
    programs.make_room()
    assert memory_maps() < before - 50
    assert f"of {before} memory maps were in use" in caplog.text
    callers(1.0)
    assert compilations() == compiled  # a caller's own programs stay
    fit(31)
    assert compilations() > compiled


def test_maps_that_others_hold_do_not_empty_the_caches_at_every_call(monkeypatch):
    in_use, cleared = iter([700, 900, 850, 940, 960, 800]), []
    monkeypatch.setattr(programs, "_count_maps", lambda: next(in_use))
    monkeypatch.setattr(programs, "_clear", lambda: cleared.append(True))
    few = Programs(most_maps=1000)
    emptied = []
    for _ in range(4):
        few.make_room()
        emptied.append(len(cleared))
        monkeypatch.setattr(few, "_next_look", 0.0)
    # 700: enough left. 900: cleared, others hold 850. 940: too little is new. 960: cleared.
    assert emptied == [0, 1, 1, 2]
