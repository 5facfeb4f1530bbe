"""Runs that would write the same files at the same time."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from lmmlite_jax.cli import app
from lmmlite_jax.pipeline import lock
from lmmlite_jax.pipeline.lock import one_run

HOLD = """
import pathlib, sys, time
from lmmlite_jax.pipeline.lock import one_run
with one_run([pathlib.Path(sys.argv[1])]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("mode", ["cis", "cis_independent"])
def test_a_second_run_into_the_same_files_is_refused(tmp_path, mode):
    (tmp_path / "y.bed").write_text("to be refused if it is read")
    files = [tmp_path / "no genotypes", tmp_path / "y.bed", tmp_path / "run"]
    arguments = ["map", *files, "--kinship", "none", "--mode", mode]
    with one_run([tmp_path / "run.cis.lock"]):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert (tmp_path / "run.cis.lock").exists()
    assert result.exit_code == 2
    assert f"Another run (process {os.getpid()} on " in result.stderr
    assert "is writing the same files: wait for its end" in result.stderr
    assert "no genotypes" in CliRunner().invoke(app, [str(one) for one in arguments]).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["y.bed"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a killed run is known after 3 minutes")
def test_a_killed_run_holds_nothing(tmp_path):
    path = tmp_path / "run.cis.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {process.pid} on"), one_run([path]):
            pass
        process.send_signal(signal.SIGKILL)
        time.sleep(0.2)
        with one_run([path]):  # not waited for as yet: it is a zombie
            assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", '{"host": "elsewhere", "processes": "", "pid": 1, "birth": "2"}']
)
def test_a_run_elsewhere_is_alive_while_it_touches_its_lock(tmp_path, content):
    path = tmp_path / "run.cis.lock"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"remove .*run\.cis\.lock"), one_run([path]):
        pass
    assert path.read_text() == content
    long_ago = time.time() - 2 * lock._SILENCE
    os.utime(path, (long_ago, long_ago))
    with one_run([path]):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_run_shows_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.01)
    path = tmp_path / "run.cis.lock"
    with one_run([path]):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
