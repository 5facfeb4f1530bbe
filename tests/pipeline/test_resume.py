"""Runs that are killed, and what they leave behind."""

import os
import random
import signal
import subprocess
import sys
import time
from glob import glob

import pytest
from runs import INTERACTION, command, contents

KILLS = int(os.environ.get("LMMLITE_JAX_KILLS", "3"))


@pytest.mark.long
@pytest.mark.parametrize(
    "run", ["trans", INTERACTION, "cis_nominal", "cis_independent", "cis_susie", "trans_susie"]
)
def test_a_run_killed_at_any_moment_and_resumed_gives_the_same_bytes(
    cohort, environment, tmp_path, run
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    started = time.monotonic()
    whole = command(cohort, tmp_path / "whole" / "run", run)
    subprocess.run(whole, env=environment, check=True, capture_output=True)
    usual = time.monotonic() - started
    parts = tmp_path / "killed" / f"run.{run.split()[0]}.parts"

    def written():  # none where the folder is not there, or goes while it is looked at
        return len(glob(f"{parts}/*.parquet"))

    resumed = command(cohort, tmp_path / "killed" / "run", run, "--resume")
    moments = random.Random(run)
    for _ in range(KILLS):
        with subprocess.Popen(resumed, env=environment, stderr=subprocess.DEVNULL) as process:
            more = written() + moments.randrange(4)
            deadline = time.monotonic() + 2 * usual
            while process.poll() is None and time.monotonic() < deadline:
                if parts.exists() and written() >= more:
                    time.sleep(moments.uniform(0, 0.2))
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(resumed, env=environment, check=True, capture_output=True, text=True)
    assert "resumed: " in done.stderr  # one piece, or several
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
