"""Runs that are killed, and what they leave behind."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from genotype_files import write_plink1

import lmmlite_jax as lmm

# Results are written at once, and pieces of the work are small.
PROGRAM = """
from lmmlite_jax.cli import app
from lmmlite_jax.mapping import trans
from lmmlite_jax.pipeline.parts import Parts
Parts.seconds = 0
trans._MOST_MARKERS = 512
app()
"""
KILLS = int(os.environ.get("LMMLITE_JAX_KILLS", "3"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Write relatives with 200 genes on two chromosomes, one of them on the other side only."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(4)
    data = lmm.simulate_cohort(n=60, m=200, seed=4)
    M = 4000
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, M), (60, M)).astype(np.float32)
    calls[rng.random(calls.shape) < 0.01] = np.nan
    half = M // 2
    position = np.concatenate([np.arange(half), np.arange(M - half)]) * 1000 + 1
    variants = pd.DataFrame(
        {"chrom": np.repeat(["1", "2"], [half, M - half]), "pos": position, "a1": "A", "a0": "G"},
        index=[f"rs{j}" for j in range(M)],
    )
    write_plink1(folder / "g", calls, variants, data.individuals)
    at = np.sort(rng.choice(M, 200, replace=False))
    Y = data.pheno + 10 * np.nan_to_num(calls[:, at], nan=1.0)
    Y[3, 5] = np.nan
    bed = pd.DataFrame(
        {
            "#chr": "chr" + variants["chrom"].to_numpy()[at],
            "start": position[at] - 1,
            "end": position[at],
            "gene_id": [f"g{t}" for t in range(200)],
        }
    )
    bed = pd.concat([bed, pd.DataFrame(Y.T, columns=data.individuals)], axis=1)
    bed.to_csv(folder / "y.bed", sep="\t", index=False, na_rep="NA")
    return folder


def command(cohort, prefix, mode, *more):
    options = ["--kinship", "auto", "--mode", mode, "--window", "60000", "--permutations", "100"]
    files = [str(cohort / "g"), str(cohort / "y.bed"), str(prefix)]
    limit = ["--pval-threshold", "1e-3"]
    return [sys.executable, "-c", PROGRAM, "map", *files, *options, *limit, *more]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Programs are compiled once for all processes."""
    cache = str(tmp_path_factory.mktemp("compiled"))
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.endswith(".summary.json")
    }


@pytest.mark.parametrize("mode", ["trans", "cis_nominal", "cis_independent", "cis_susie"])
def test_a_run_killed_at_any_moment_and_resumed_gives_the_same_bytes(
    cohort, environment, tmp_path, mode
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    started = time.monotonic()
    whole = command(cohort, tmp_path / "whole" / "run", mode)
    subprocess.run(whole, env=environment, check=True, capture_output=True)
    usual = time.monotonic() - started
    parts = tmp_path / "killed" / f"run.{mode}.parts"
    resumed = command(cohort, tmp_path / "killed" / "run", mode, "--resume")
    moments = random.Random(mode)
    for _ in range(KILLS):
        with subprocess.Popen(resumed, env=environment, stderr=subprocess.DEVNULL) as process:
            before = len(list(parts.glob("*.parquet")))
            more = before + moments.randrange(4)
            deadline = time.monotonic() + 2 * usual
            while process.poll() is None and time.monotonic() < deadline:
                if parts.exists() and len(list(parts.glob("*.parquet"))) >= more:
                    time.sleep(moments.uniform(0, 0.2))
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(resumed, env=environment, check=True, capture_output=True, text=True)
    assert "pieces of the work are done" in done.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not parts.exists()


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.1, 1.5, 2.0])
def test_an_interrupt_in_the_first_seconds_ends_the_run(cohort, environment, tmp_path, seconds):
    """By the signal itself during imports, in order from then on; never does it get lost."""
    arguments = command(cohort, tmp_path / "run", "cis", "--permutations", "100000")[3:]
    started = [sys.executable, "-c", "from lmmlite_jax.__main__ import main; main()", *arguments]
    with subprocess.Popen(
        started,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # The tests may run in a background job, where interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert not list(tmp_path.glob("*qtl*"))
    assert not list(tmp_path.glob("*.lock"))
