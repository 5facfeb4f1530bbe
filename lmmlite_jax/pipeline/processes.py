"""Several processes at one run, on one machine or on many, that see the same folder.

The first holds the run's lock, reads what is finished, and announces the run in the folder of its
parts. The others wait for that, and take the same fingerprint. Each does its share of what was left
then, writes parts of its own and says that it has finished; the first waits for all and makes the
tables. Nothing else passes between them: a process that ends before its share is done is known by
its lock, and what it has written is there for ``--resume``, with any number of processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from lmmlite_jax.data.tables import whole_file
from lmmlite_jax.pipeline.lock import is_held

__all__ = ["ALONE", "Processes", "Share", "share_of_environment"]

_LAUNCHERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)
"""What SLURM, Open MPI, and MPICH and Intel's MPI tell each process: its number, and how many."""

_ANNOUNCED = "processes.json"
_LOOK = 0.5  # seconds after which files are looked at again
_BEGIN = 600.0  # seconds in which all processes of a run begin


@dataclass(frozen=True)
class Share:
    """The part of a run's work that one process does.

    Parameters
    ----------
    index, count : int
        Number of this process, counted from 0, and how many there are.

    Raises
    ------
    ValueError
        If there is no such process.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"The number of a process must be from 0 to {self.count - 1} where there are "
                f"{self.count}, got {self.index}."
            )

    def of(self, left: Bool[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
        """Own pieces of the work that is left: neighbours, as many as the others have."""
        order = np.cumsum(left) - 1
        return left & (order * self.count // max(int(left.sum()), 1) == self.index)

    def in_turn(self) -> Callable[[], bool]:
        """Function to be called once for each piece that is left: whether it is an own one."""
        seen = -1

        def own() -> bool:
            nonlocal seen
            seen += 1
            return seen % self.count == self.index

        return own


ALONE = Share()
"""Of a process that does all of the work."""


def share_of_environment(environment: Mapping[str, str]) -> Share:
    """Share that SLURM or MPI gives this process.

    Parameters
    ----------
    environment : dict of str
        Such as ``os.environ``.

    Returns
    -------
    Share
        Number of this process, from 0, and how many there are.

    Raises
    ------
    ValueError
        If neither has started it.

    Examples
    --------
    >>> from lmmlite_jax.pipeline import share_of_environment
    >>> share_of_environment({"SLURM_PROCID": "2", "SLURM_NTASKS": "8"})
    Share(index=2, count=8)
    """
    for index, count in _LAUNCHERS:
        if index in environment and count in environment:
            return Share(int(environment[index]), int(environment[count]))
    known = ", ".join(index for index, _ in _LAUNCHERS)
    raise ValueError(
        f"Nothing says which of several processes this is (none of {known} is set): start it with "
        "srun or mpirun, or give num_processes and process_id."
    )


class Processes:
    """The processes of a run, as one of them sees the others.

    Parameters
    ----------
    share : Share
        The own part.
    locks : sequence of pathlib.Path
        The lock that each holds while it is at work.
    folder : pathlib.Path
        Of the run's parts.
    """

    def __init__(self, share: Share, locks: Sequence[Path], folder: Path) -> None:
        self.share, self._locks, self._folder = share, locks, folder
        self._run = ""
        self._begun = time.monotonic()

    def announce(self, files: Sequence[str]) -> None:
        """As the first, let the others begin, who take these files of parts as finished."""
        if self.share.count == 1:
            return
        self._run = self._locks[0].read_text()
        self._begun = time.monotonic()
        note = {"run": self._run, "count": self.share.count, "files": list(files)}
        self._say(_ANNOUNCED, json.dumps(note))

    def join(self) -> list[str]:
        """As another one, wait until the first has announced the run; its files of parts.

        Raises
        ------
        ValueError
            If it does not within ten minutes, or counts the processes differently.
        """
        index, count = self.share.index, self.share.count
        while True:
            note = self._announced()
            if note and is_held(self._locks[0]):
                break
            if is_held(self._locks[0]):
                self._begun = time.monotonic()  # it is at work on the kinship, say
            elif time.monotonic() - self._begun > _BEGIN:
                raise ValueError(
                    f"Process {index} of {count} has waited {_BEGIN / 60:g} minutes for process 0, "
                    "which has not begun: start all of them, with the same prefix."
                )
            time.sleep(_LOOK)
        if note["count"] != count:
            raise ValueError(
                f"Process 0 works with {note['count']} processes and this one with {count}: give "
                "all of them the same number."
            )
        self._run, self._begun = note["run"], time.monotonic()
        self._say(f"{index}.begun", self._run)
        return list(note["files"])

    def check(self) -> None:
        """Raise a ValueError if another process has ended before its share was done."""
        if self.share.count == 1:
            return
        for index, lock in enumerate(self._locks):
            if index == self.share.index or self._has_said(f"all.{index}.finished"):
                continue
            begun = index == 0 or self._has_said(f"{index}.begun")
            held = is_held(lock) and (index > 0 or _read(lock) == self._run)
            # One that has just finished has let go of its lock meanwhile.
            if begun and not held and not self._has_said(f"all.{index}.finished"):
                raise ValueError(
                    f"Process {index} of {self.share.count} has ended before its share was done: "
                    "see what it said, and repeat the command with --resume."
                )
            if not begun and time.monotonic() - self._begun > _BEGIN:
                raise ValueError(
                    f"Process {index} of {self.share.count} has not begun within {_BEGIN / 60:g} "
                    "minutes: start all of them, and repeat the command with --resume."
                )

    def finish(self, stage: str, *, last: bool) -> bool:
        """Say that the own share of a stage is done, and wait for the others'.

        Of the ``last`` stage the first process waits alone: whether this one is to go on.
        """
        if self.share.count == 1:
            return True
        self._say(f"{stage}.{self.share.index}.finished", self._run)
        if last and self.share.index > 0:
            self._say(f"all.{self.share.index}.finished", self._run)
            return False
        marks = [f"{stage}.{index}.finished" for index in range(self.share.count)]
        while not all(map(self._has_said, marks)):
            self.check()
            time.sleep(_LOOK)
        return True

    def _announced(self) -> dict[str, Any] | None:
        """What the first process has announced, if it is the one at work."""
        said = _read(self._folder / _ANNOUNCED)
        note: dict[str, Any] = json.loads(said) if said else {}
        return note if note and note["run"] == _read(self._locks[0]) else None

    def _has_said(self, name: str) -> bool:
        """Whether there is a note of this run."""
        return _read(self._folder / name) == self._run

    def _say(self, name: str, text: str) -> None:
        with whole_file(self._folder / name) as stream:
            stream.write(text.encode())


def _read(path: Path) -> str | None:
    """What a file says, if there is one."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
