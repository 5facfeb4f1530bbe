"""Several processes that do one run together."""

import subprocess
import threading

import numpy as np
import pytest
from runs import PROGRAM, command, contents, files_of
from typer.testing import CliRunner

from lmmlite_jax.cli import app
from lmmlite_jax.mapping import trans_search
from lmmlite_jax.pipeline import ALONE, Settings, Share, map_files, processes, share_of_environment
from lmmlite_jax.pipeline.parts import Parts


def test_shares_are_all_of_the_work_and_nothing_twice():
    left = np.random.default_rng(0).random(57) < 0.7
    for count in (1, 2, 5, 60):
        shares = [Share(index, count).of(left) for index in range(count)]
        np.testing.assert_array_equal(np.sum(shares, axis=0), left)
        sizes = [share.sum() for share in shares]
        assert max(sizes) - min(sizes) <= 1
        turns = [Share(index, count).in_turn() for index in range(count)]
        assert all(sum(own() for own in turns) == 1 for _ in range(57))
    assert not Share(0, 2).of(np.zeros(3, dtype=bool)).any()


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, Share(2, 4)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}, Share(0, 3)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Share(1, 2)),
    ],
)
def test_a_launcher_says_which_process_this_is(environment, share):
    assert share_of_environment({**environment, "HOME": "/"}) == share


def test_what_no_launcher_says_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="Nothing says which of several processes this is"):
        share_of_environment({"SLURM_PROCID": "2"})
    with pytest.raises(ValueError, match="must be from 0 to 1 where there are 2, got 2"):
        Share(2, 2)
    arguments = ["map", "g", "y", "out", "--kinship", "none", "--process-id", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--num-processes and --process-id go together" in result.stderr


def together(cohort, prefix, mode, count):
    """Run in as many threads, which know of one another by files alone, as processes do."""
    failed = []

    def work(index):
        loci = cohort / "loci.tsv" if mode == "trans_susie" else None
        settings = Settings(
            mode=mode,
            window=60_000,
            permutations=100,
            trans_permutations=20 if mode == "trans" else None,
            conditional_pairs=mode == "cis_independent",
            pval_threshold=1e-3,
        )
        files = files_of(cohort, kinship="auto", susie_loci=loci)
        try:
            map_files(files, prefix, settings, share=Share(index, count))
        except ValueError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize(
    "mode",
    [
        "cis_nominal",
        *(
            pytest.param(mode, marks=pytest.mark.long)
            for mode in ("trans", "cis_independent", "cis_susie", "trans_susie")
        ),
    ],
)
def test_tables_are_the_same_whoever_does_the_work(cohort, tmp_path, mode, monkeypatch):
    monkeypatch.setattr(Parts, "seconds", 0.0)
    monkeypatch.setattr(trans_search, "_MOST_MARKERS", 512)
    found = {}
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        together(cohort, folder / "run", mode, count)
        found[count] = contents(folder)
    assert found[1]
    assert found[3] == found[1]


ENDS = """
import os
from lmmlite_jax.pipeline.parts import Parts
write = Parts.write
def end(self):
    write(self)
    if self._number > 0 and self.processes.share.index == 1:
        os.kill(os.getpid(), 9)
Parts.write = end
"""


@pytest.mark.long
def test_one_that_is_killed_ends_the_others_and_loses_nothing(cohort, environment, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()

    def start(folder, index, count, program, *more):
        arguments = command(cohort, tmp_path / folder / "run", "trans", *more)
        arguments[2] = program
        who = ["--process-id", str(index), "--num-processes", str(count)]
        return subprocess.Popen(
            [*arguments, *who], env=environment, stderr=subprocess.PIPE, text=True
        )

    subprocess.run(
        command(cohort, tmp_path / "whole" / "run", "trans"),
        env=environment,
        check=True,
        capture_output=True,
    )
    running = [start("killed", index, 3, ENDS + PROGRAM) for index in range(3)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert running[1].returncode == -9
    assert running[0].returncode == 2
    assert "Process 1 of 3 has ended before its share was done" in said[0]
    assert {path.name for path in (tmp_path / "killed").iterdir()} <= {
        "run.trans.parts",
        "run.trans.1.lock",
    }
    running = [start("killed", index, 2, PROGRAM, "--resume") for index in range(2)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.long
def test_one_that_waits_for_nobody_says_so(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_BEGIN", 0.1)
    monkeypatch.setattr(processes, "_LOOK", 0.01)
    run = files_of(cohort, kinship="none"), tmp_path / "run", Settings(mode="trans")
    with pytest.raises(ValueError, match=r"Process 1 of 2 has waited .* minutes for process 0"):
        map_files(*run, share=Share(1, 2))
    with pytest.raises(ValueError, match="Process 1 of 2 has not begun within"):
        map_files(*run, share=Share(0, 2))
    map_files(*run, share=ALONE)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.trans_qtl_pairs.parquet",
        "run.trans.summary.json",
    }
