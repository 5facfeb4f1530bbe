"""JAX's compilation cache on disk, as the command line keeps it.

Whoever may write to such a folder may run code in the processes that read it, and JAX takes damaged
entries for whole ones where its compression has no checksum (Zstandard). Here a folder is its
user's alone, each entry has a digest beside it, and what does not match is removed unread.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OFF", "VARIABLE", "kept_programs", "machine_name", "prune", "remove_unsound"]

VARIABLE = "LMMLITE_JAX_COMPILATION_CACHE"
"""Environment variable for what the option says."""

OFF = "off"

MOST_BYTES = 256 * 2**20
"""Programs of some sixty shapes of data; beyond it those used longest ago are removed."""

LEFT = 0.75
"""Part of the most bytes that removing leaves."""

UNDER_WAY = 3600.0
"""Seconds for which an entry without digest may be that of a process at work."""

_ENTRY = "-cache"  # ends the names of JAX's entries
_DIGEST = ".blake2b"
_MACHINE = re.compile(r"[\w.]+-[0-9a-f]{16}")
_CPUINFO = Path("/proc/cpuinfo")
# What LLVM asks of a processor, as Linux calls it on x86, ARM, POWER and RISC-V.
_FIELDS = {"vendor_id", "cpu family", "model", "model name", "flags"}
_FIELDS |= {"CPU implementer", "CPU part", "CPU variant", "Features", "cpu", "features", "isa"}


@contextmanager
def kept_programs(where: str | None, warn: Callable[[str], object]) -> Iterator[None]:
    """Keep the programs compiled in this block, and take what earlier processes have left.

    Parameters
    ----------
    where : str, optional
        A folder, or ``"off"``. By default what JAX has been set to, or else a folder in the
        platform's cache folder.
    warn : function
        Told a line if the platform's cache folder cannot be used, and programs are not kept.

    Raises
    ------
    ValueError
        If the folder asked for cannot be made, or is not its user's alone.
    """
    import jax

    if where is None and jax.config.values["jax_compilation_cache_dir"] is not None:
        yield
        return
    if where == OFF:
        with _settings(jax_enable_compilation_cache=False):
            yield
        return
    root = _default_root() if where is None else Path(where).expanduser().absolute()
    try:
        folder = _own_folder(_own_folder(root) / machine_name())
        remove_unsound(folder)
        before = {*_entries(folder)}
    except OSError as error:
        problem = f"{root}: no compilation cache can be kept there: {error.strerror}."
    except ValueError as error:
        problem = str(error)
    else:
        problem = ""
    if problem and where is not None:
        raise ValueError(f"{problem} Name another folder, or {OFF}.")
    if problem:
        warn(f"warning: {problem} Programs are compiled anew in every run.")
        yield
        return
    try:
        with _settings(
            jax_compilation_cache_dir=str(folder),
            # Many programs take less than JAX's second: together they are what a user waits for.
            jax_persistent_cache_min_compile_time_secs=0.0,
            jax_persistent_cache_min_entry_size_bytes=-1,
        ):
            yield
    finally:
        if new := [entry for entry in _entries(folder) if entry not in before]:
            _seal(new)
            prune(root, MOST_BYTES)


def machine_name(cpuinfo: str | None = None) -> str:
    """Name for the processor at hand: compiled programs use all that it can do.

    ``cpuinfo`` is what Linux says of it, in its own file by default.
    """
    if cpuinfo is None and _CPUINFO.exists():
        cpuinfo = _CPUINFO.read_text()
    known = [platform.system(), platform.machine(), platform.processor()]
    if cpuinfo is not None:
        first, _, _ = cpuinfo.strip().partition("\n\n")
        pairs = (line.partition(":") for line in first.splitlines())
        known += [f"{name.strip()}:{value}" for name, _, value in pairs if name.strip() in _FIELDS]
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        known.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    digest = hashlib.blake2b("\n".join(known).encode(), digest_size=8).hexdigest()
    return f"{platform.machine()}-{digest}"


def remove_unsound(folder: Path) -> None:
    """Remove entries that differ from their digests, and old ones that have none."""
    now = time.time()
    for entry in _entries(folder):
        try:
            digest = _digest_of(entry).read_text() if _digest_of(entry).exists() else None
            if digest is None:
                sound = now - entry.stat().st_mtime < UNDER_WAY
            else:
                sound = digest == _digest(entry)
        except FileNotFoundError:  # another process removes the same
            continue
        if not sound:
            _remove(entry)


def prune(root: Path, most_bytes: int) -> None:
    """Remove entries used longest ago, of all machines, where there are more bytes than allowed."""
    found = []
    for folder in root.iterdir():
        if _MACHINE.fullmatch(folder.name) and folder.is_dir():
            for entry in _entries(folder):
                try:
                    at = entry.stat()
                except FileNotFoundError:
                    continue
                found.append((max(at.st_atime, at.st_mtime), at.st_size, entry))
    total = sum(size for _, size, _ in found)
    if total <= most_bytes:
        return
    for _, size, entry in sorted(found):
        if total <= LEFT * most_bytes:
            return
        _remove(entry)
        total -= size


def _default_root() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("lmmlite-jax", appauthor=False) / "programs"


def _own_folder(folder: Path) -> Path:
    """Make the folder where there is none, and refuse one to which anybody else may write."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "nt":  # permissions are lists there, and the user's folders his own
        return folder
    at = folder.stat()
    if at.st_uid != os.geteuid():
        raise ValueError(f"{folder}: the compilation cache belongs to another user.")
    if at.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(at.st_mode)
        raise ValueError(
            f"{folder}: others may write to this compilation cache (its mode is {mode:o}), "
            "and so run code here."
        )
    return folder


@contextmanager
def _settings(**settings: str | int | float) -> Iterator[None]:
    """Change settings of JAX for a block."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = {name: jax.config.values[name] for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX looks once, at the first program of a process
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():  # any more
        return []
    return [path for path in folder.iterdir() if path.name.endswith(_ENTRY)]


def _digest_of(entry: Path) -> Path:
    return entry.with_name(entry.name + _DIGEST)


def _digest(entry: Path) -> str:
    return hashlib.blake2b(entry.read_bytes(), digest_size=16).hexdigest()


def _seal(entries: list[Path]) -> None:
    """Write digests of entries, each whole or not at all."""
    for entry in entries:
        digest, part = _digest_of(entry), entry.with_name(f"{entry.name}.{os.getpid()}")
        try:
            part.write_text(_digest(entry))
            os.replace(part, digest)
        except FileNotFoundError:  # removed by another process
            part.unlink(missing_ok=True)
        except OSError:  # as on a full disk: without digest the entry will be removed
            return


def _remove(entry: Path) -> None:
    entry.unlink(missing_ok=True)
    _digest_of(entry).unlink(missing_ok=True)
