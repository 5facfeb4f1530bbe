"""What a run has finished, kept on disk so that it can be continued after any interruption."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lmmlite_jax._optional import require
from lmmlite_jax.data.tables import whole_file
from lmmlite_jax.pipeline.processes import Processes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Key", "Parts"]


class Key(NamedTuple):
    """A piece of the work: its stage, and the numbers that name it there."""

    stage: str
    numbers: tuple[int, ...]


Facts: TypeAlias = dict[Key, Any]
"""What is known of pieces of the work, as JSON holds it."""

_FINGERPRINT = "fingerprint.json"
_MOST_ROWS = 2_000_000


class Parts:
    """Results of pieces of work, each with a stage of the work and numbers, in a folder of files.

    Results are collected in memory and written together from time to time. A file appears whole or
    not at all, and what it holds counts as done. A context manager: on an error the folder stays,
    to be resumed from, unless there is nothing in it.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it does not exist.
    fingerprint : dict
        Inputs and options on which results depend, as JSON holds them.
    resume : bool
        Whether to go on with what is there; it is removed otherwise.
    processes : Processes
        Those that share the work. All but the first take what it leaves in the folder.

    Attributes
    ----------
    seconds : float
        Results are written when so much time has passed since they last were.
    resumed : int
        How many pieces of work were in files at the beginning.
    processes : Processes
        As given.

    Raises
    ------
    ValueError
        If the folder cannot be made, or parts to be resumed are of other inputs or options.
    """

    seconds = 10.0

    def __init__(
        self,
        folder: Path,
        fingerprint: Mapping[str, Any],
        *,
        resume: bool,
        processes: Processes,
    ) -> None:
        self.folder, self.processes = folder, processes
        self._frames: dict[str, list[pd.DataFrame]] = {}
        self._unwritten: Facts = {}
        if self._is_first:
            self._prepare(fingerprint, resume)
            files = self._files()
        else:
            files = [folder / name for name in processes.join()]
            known = json.loads((folder / _FINGERPRINT).read_text(encoding="utf-8"))
            _check_same(known, fingerprint, folder)
        self._done = self._begun = _facts(files)
        self.resumed = len(self._done)
        self._number = max((int(file.name[:6]) for file in files), default=0)
        self._written = time.monotonic()

    @property
    def _is_first(self) -> bool:
        return self.processes.share.index == 0

    def _prepare(self, fingerprint: Mapping[str, Any], resume: bool) -> None:
        """Make the folder, or go on with it."""
        folder, known = self.folder, self.folder / _FINGERPRINT
        if folder.exists() and not known.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds something else than parts of a run: move it away.")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"{folder} cannot be made ({error.strerror}): give a prefix in a folder that can "
                "be written to."
            ) from error
        if known.exists() and resume:
            _check_same(json.loads(known.read_text(encoding="utf-8")), fingerprint, folder)
            for unfinished in folder.glob(".*"):
                unfinished.unlink()
        else:
            self.remove()
            folder.mkdir()
            with whole_file(known) as stream:
                stream.write(json.dumps(fingerprint, indent=1).encode())

    def announce(self) -> None:
        """Let other processes begin, if this is the first: all that they need is in the folder."""
        if self._is_first:
            self.processes.announce([file.name for file in self._files()])

    def gather(self, stage: str, *, last: bool = True) -> bool:
        """Wait until all processes have done their shares of a stage, and take their results.

        Of the ``last`` stage that is for the first alone, which makes the tables: whether this
        process is to go on.
        """
        self.write()
        if not self.processes.finish(stage, last=last):
            return False
        self._done = _facts(self._files())
        return True

    def begun(self, stage: str) -> set[tuple[int, ...]]:
        """Pieces of work of a stage that were done when the run, or its resumption, began."""
        return {key.numbers for key in self._begun if key.stage == stage}

    def done(self, stage: str) -> dict[tuple[int, ...], Any]:
        """Pieces of work of a stage whose results are here, with the fact each came with."""
        both = self._done | self._unwritten
        return {key.numbers: fact for key, fact in both.items() if key.stage == stage}

    def add(
        self, kind: str, frame: pd.DataFrame, stage: str, facts: Mapping[tuple[int, ...], Any]
    ) -> None:
        """Take results of a kind, and the numbers of their pieces of work with a fact each."""
        if self._frames.keys() - {kind}:
            self.write()
        self._frames.setdefault(kind, []).append(frame)
        self._unwritten |= {Key(stage, numbers): fact for numbers, fact in facts.items()}
        rows = sum(len(held) for held in self._frames[kind])
        if time.monotonic() - self._written >= self.seconds or rows > _MOST_ROWS:
            self.write()

    def write(self) -> None:
        """Write what is in memory."""
        if self._frames:
            self.processes.check()
        pd, arrow = require("pandas", "io"), require("pyarrow", "io")
        parquet = require("pyarrow.parquet", "io")
        for kind, frames in self._frames.items():
            table = arrow.Table.from_pandas(pd.concat(frames), preserve_index=False)
            facts = json.dumps([[*key, fact] for key, fact in self._unwritten.items()]).encode()
            noted = {**(table.schema.metadata or {}), b"facts": facts}
            self._number += 1
            own = f"{self._number:06d}-{self.processes.share.index}.{kind}.parquet"
            with whole_file(self.folder / own) as stream:
                parquet.write_table(table.replace_schema_metadata(noted), stream)
        self._done |= self._unwritten
        self._frames, self._unwritten = {}, {}
        self._written = time.monotonic()

    def frame(self, kind: str, **equal: str) -> pd.DataFrame | None:
        """All results of a kind, or the rows with the values given; None if there is no result."""
        self.write()
        pd, parquet = require("pandas", "io"), require("pyarrow.parquet", "io")
        filters = [(name, "=", value) for name, value in equal.items()]

        def read(file: Path) -> Any:
            # The part of pyarrow that filters takes 0.1 s to import.
            if filters:
                return parquet.read_table(file, filters=filters)
            with parquet.ParquetFile(file) as whole:
                return whole.read()

        frames = [read(file).to_pandas() for file in self._files(kind)]
        some = [frame for frame in frames if len(frame)] or frames[:1]
        return pd.concat(some, ignore_index=True) if some else None

    def place(self, path: Path) -> Path:
        """Where to write a file that is then moved to its place."""
        return self.folder / path.name

    def remove(self) -> None:
        """Remove the folder: the run is finished."""
        for file in self._files():
            file.unlink()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._is_first and not self._files():
            shutil.rmtree(self.folder)

    def _files(self, kind: str = "*") -> list[Path]:
        return sorted(self.folder.glob(f"[0-9]*.{kind}.parquet"))


def _facts(files: Sequence[Path]) -> Facts:
    """What is known of the pieces of work in files, each of which is in one."""
    parquet, facts = require("pyarrow.parquet", "io"), Facts()
    for file in files:
        rows = json.loads(parquet.read_schema(file).metadata[b"facts"])
        of_file = {Key(stage, tuple(numbers)): fact for stage, numbers, fact in rows}
        if facts.keys() & of_file.keys():
            raise ValueError(
                f"{file} holds what another file beside it holds as well: two runs have written "
                "there, start again without --resume."
            )
        facts |= of_file
    return facts


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise if the parts are of something else, and say what differs."""
    now = json.loads(json.dumps(now))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        which = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in names)
        raise ValueError(
            f"{folder} is of another run ({which}): repeat that one, or leave --resume out to "
            "start again."
        )
