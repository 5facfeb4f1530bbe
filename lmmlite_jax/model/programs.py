"""Compiled programs, given back before the process runs out of memory maps.

Every number of individuals has programs of its own, of 200 to 1,200 maps a call. On Linux a process
may have vm.max_map_count of them, 65,530 where nobody set another number, and beyond them XLA ends
in "LLVM compilation error: Cannot allocate memory".
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from threading import Lock
from time import monotonic

__all__ = ["OLDER_LOOPS", "WIDE_VECTORS", "Programs", "make_room", "older_loops"]

WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}
"""Compiler options of programs that mostly work element by element: XLA has 256 bits, though matrix
products take all that a processor has."""

MAPS = Path("/proc/self/maps")
MOST_MAPS = Path("/proc/sys/vm/max_map_count")

ENOUGH = 0.8
"""Part of the maps allowed at which programs are given back: far more is left than a call takes."""

WORTH_CLEARING = 0.1
"""Part of the maps allowed that must be new since the last time: others may hold most of them."""

SHARE_OF_TIME = 0.01
"""Part of the time that counting maps may take."""

UNTRIED = (0, 11)
"""First version of jaxlib with which XLA's older loops were not tried: it may not have them."""


def older_loops(jaxlib: str) -> dict[str, bool]:
    """Option of XLA by which its older emitter writes loops, where a version of jaxlib has it."""
    known = tuple(map(int, jaxlib.split(".")[:2])) < UNTRIED
    return {"xla_cpu_use_fusion_emitters": False} if known else {}


OLDER_LOOPS = older_loops(version("jaxlib"))
"""Compiler options of programs that run for less time than they take to compile: the older loops
leave LLVM half as much to do."""


class Programs:
    """The library's programs in this process, and how many memory maps they may leave it."""

    def __init__(self, most_maps: int) -> None:
        self.most_maps = most_maps
        self._lock = Lock()
        self._next_look = 0.0
        self._threshold = ENOUGH * most_maps
        self._warned = False

    def make_room(self) -> None:
        """Give all programs back where few maps are left; the next call compiles its own again."""
        if monotonic() < self._next_look or not self._lock.acquire(blocking=False):
            return
        try:
            start = monotonic()
            count = _count_maps()
            now = monotonic()
            self._next_look = now + (now - start) / SHARE_OF_TIME
            if count < self._threshold:
                return
            _clear()
            left = _count_maps()
            self._threshold = max(ENOUGH, left / self.most_maps + WORTH_CLEARING) * self.most_maps
            if not self._warned:
                self._warned = True
                getLogger("lmmlite_jax").warning(
                    "%d of %d memory maps were in use (vm.max_map_count): compiled programs were "
                    "given back, %d are left. Calls with data of known shapes compile once more.",
                    count,
                    self.most_maps,
                    left,
                )
        finally:
            self._lock.release()


def _count_maps() -> int:
    with MAPS.open("rb") as lines:
        return sum(1 for _ in lines)


def _clear() -> None:
    """Clear the caches of the library's compiled functions, and of no one else's."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            for function in list(vars(module).values()):
                if hasattr(function, "clear_cache"):
                    function.clear_cache()


_OF_PROCESS = Programs(int(MOST_MAPS.read_text())) if MOST_MAPS.exists() and MAPS.exists() else None


def make_room() -> None:
    """Give the process's programs back where it runs out of memory maps: on Linux alone."""
    if _OF_PROCESS is not None:
        _OF_PROCESS.make_room()
