"""What a run is said to need and to take."""

import time

import jax
import jax.numpy as jnp
import pytest
from runs import files_of
from typer.testing import CliRunner

from lmmlite_jax.cli import app
from lmmlite_jax.pipeline import Settings, map_files, plan
from lmmlite_jax.pipeline.plan import Compiling, Slice


def test_the_time_of_all_pieces_follows_from_the_first():
    known = Slice([100], [9.0])
    assert not known.is_enough
    assert known.seconds_of(100) == 9.0
    # A piece that something else has delayed does not matter.
    known = Slice([100, 50, 50, 50], [9.0, 1.0, 30.0, 1.0])
    assert known.is_enough
    assert known.seconds_of(1000) == pytest.approx(7 + 20)
    assert known.seconds_of(1000, fits=22) == pytest.approx(22 * 7 + 20)


def test_what_is_compiled_is_timed_once_where_programs_are_in_one_another():
    inner = jax.jit(lambda x: jnp.linalg.solve(x, x))
    begun = time.perf_counter()
    with Compiling() as compiling:
        jax.jit(lambda x: inner(x) + inner(2 * x))(jnp.eye(3)).block_until_ready()
        compiled = compiling.seconds
        assert 0 < compiled <= time.perf_counter() - begun
        inner(jnp.eye(3)).block_until_ready()
    after = compiling.seconds
    jax.jit(lambda x: x + 3)(jnp.eye(3)).block_until_ready()
    assert compiling.seconds == after


@pytest.mark.parametrize("mode", ["cis", "trans"])
def test_a_dry_run_says_one_line_and_writes_nothing(cohort, tmp_path, mode, monkeypatch):
    monkeypatch.setattr(plan, "SECONDS", 0.0)
    arguments = ["map", cohort / "g", cohort / "y.bed", "run", "--mode", mode, "--dry-run"]
    arguments += ["--kinship", "loco", "--permutations", "100", "-o", tmp_path / "new"]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("plan: 4,000 variants × 200 features in 60 samples, up to ")
    assert result.stderr.count("\n") == 1
    assert "GiB of memory" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_dry_run_checks_what_a_run_does(cohort, tmp_path):
    (tmp_path / "kinship.csv").write_text("somebody,else\n1,2\n")
    files = files_of(cohort, kinship=tmp_path / "kinship.csv")
    with pytest.raises(ValueError, match=r"kinship\.csv"):
        map_files(files, tmp_path / "run", Settings(mode="trans"), dry_run=True)


def test_a_run_says_its_plan_in_its_log(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SECONDS", 0.0)
    settings = Settings(mode="cis_nominal", window=60_000)
    summary = map_files(files_of(cohort, kinship="none"), tmp_path / "run", settings)
    assert sum(line.startswith("plan: ") for line in summary["log"]) == 1
