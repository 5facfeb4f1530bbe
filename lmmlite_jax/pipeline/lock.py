"""One run at a time into the files of a prefix."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["is_held", "one_run"]

_BEAT = 30.0  # seconds after which a run shows that it is alive
_SILENCE = 180.0  # seconds without a sign of life after which a run elsewhere is taken for dead


@contextmanager
def one_run(locks: Sequence[Path]) -> Iterator[None]:
    """Hold files that say that a run is at work, or raise if another one does.

    A lock is a file made only where there is none, which file systems of clusters can do. It names
    the process, so that what a killed run has left is known on the same machine at once, and is
    touched every 30 seconds, so that it is known on another one after 3 minutes.

    Parameters
    ----------
    locks : sequence of pathlib.Path
        One for each set of files that the run writes.

    Raises
    ------
    ValueError
        If another run holds one of them, or it cannot be made.
    """
    over = threading.Event()
    with ExitStack() as held:
        for path in locks:
            held.callback(_remove, path, _take(path))
        beats = threading.Thread(target=_beat, args=(locks, over), name="lock", daemon=True)
        beats.start()
        held.callback(beats.join)
        held.callback(over.set)
        yield


def is_held(path: Path) -> bool:
    """Tell whether there is a lock whose run goes on."""
    try:
        return _is_alive(path, _parsed(path.read_bytes()))
    except FileNotFoundError:
        return False


def _take(path: Path) -> bytes:
    """Make a lock, or raise if it is held, and return what it says."""
    host, pid = socket.gethostname(), os.getpid()
    mine = {"host": host, "processes": _processes(), "pid": pid, "birth": _birth(pid)}
    said = json.dumps(mine).encode()
    while True:
        try:
            _make(path, said)
            return said
        except FileExistsError:
            pass
        except OSError as error:
            raise ValueError(
                f"{path} cannot be made ({error.strerror}): give a prefix in a folder that can be "
                "written to."
            ) from error
        try:
            content = path.read_bytes()
            other = _parsed(content)
            alive = _is_alive(path, other)
        except FileNotFoundError:
            continue  # that run has just ended
        if alive:
            who = f" (process {other['pid']} on {other['host']})" if other else ""
            raise ValueError(
                f"Another run{who} is writing the same files: wait for its end, or give another "
                f"prefix; if it is no longer alive, remove {path}."
            )
        _remove(path, content)


def _make(path: Path, content: bytes) -> None:
    with open(path, "xb") as stream:
        try:
            stream.write(content)
            stream.flush()
        except OSError:
            path.unlink()
            raise


def _is_alive(path: Path, other: dict[str, Any]) -> bool:
    """Tell whether the run that made a lock goes on."""
    here = (socket.gethostname(), _processes())
    if other and other["birth"] and (other["host"], other["processes"]) == here:
        return _birth(other["pid"]) == other["birth"]
    # Both times are the file server's: clocks of machines differ.
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < _SILENCE
    finally:
        probe.unlink(missing_ok=True)


def _remove(path: Path, content: bytes) -> None:
    """Remove a lock that holds `content`, unless somebody else has just replaced it."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if aside.read_bytes() == content:
        aside.unlink()
    else:
        os.rename(aside, path)


def _beat(locks: Sequence[Path], over: threading.Event) -> None:
    while not over.wait(_BEAT):
        for path in locks:
            try:
                os.utime(path)
            except OSError:
                continue  # removed by hand, or the file server is away: nothing to be said of it


def _parsed(content: bytes) -> dict[str, Any]:
    """What a lock says; nothing while it is being written."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    whole = isinstance(found, dict) and found.keys() >= {"host", "processes", "pid", "birth"}
    return found if whole else {}


def _processes() -> str:
    """Name of the set of processes in which ids are counted: containers have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _birth(pid: int) -> str:
    """What tells a living process from a later one with its id; empty where there is none.

    It is empty too on Windows, where a process cannot be asked without being ended.
    """
    if os.name != "posix":
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # somebody else's, and alive
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "alive"
    state, *numbers = status.rpartition(")")[2].split()
    return "" if state in "ZX" else numbers[18]  # ticks from the machine's start to the process's
