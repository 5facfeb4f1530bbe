"""What a run needs and how long it takes, told from its own first pieces of work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import jax
import numpy as np

from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.threads import on_cpu

if sys.platform != "win32":
    import resource
__all__ = ["Compiling", "Planner", "Slice", "duration", "elsewhere", "memory"]

PIECES, SECONDS = 2, 2.0
"""Pieces after the first, and what they take, from which the others' time is known."""

VARIANTS_OF_A_KINSHIP = 8192
"""Variants from which a dry run computes a kinship in place of all."""


class Compiling:
    """Time in which programs are traced and compiled; a context manager."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def __enter__(self) -> Compiling:
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            self._spans.append((now - duration_secs, now))

    @property
    def seconds(self) -> float:
        """So far; what was done at the same time counts once."""
        total, until = 0.0, -np.inf
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total


@dataclass
class Slice:
    """The first pieces of some work: how many items each had, and how many seconds it took.

    The first piece's seconds contain what comes before all: decompositions and fits.

    Examples
    --------
    >>> from lmmlite_jax.pipeline.plan import Slice
    >>> some = Slice([10, 10, 10], [7.0, 2.0, 2.0])
    >>> some.seconds_of(1000), some.seconds_of(1000, fits=3)
    (205.0, 215.0)
    """

    items: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Whether it tells how long the other pieces take."""
        return len(self.items) > PIECES and sum(self.seconds[1:]) >= SECONDS

    def seconds_of(self, items: int, fits: int = 1) -> float:
        """Seconds for all items of the work, where traits are fitted so many times."""
        rates = [spent / count for spent, count in zip(self.seconds, self.items, strict=True)]
        rate = float(np.median(rates[1:] or rates))
        before = max(self.seconds[0] - rate * self.items[0], 0.0)
        return before * fits + rate * items


@dataclass
class Planner:
    """Tells what a run needs and takes as soon as some of it is done.

    Attributes
    ----------
    say : function
        Told the line.
    dry : bool
        Whether the run ends there, with `Planner.End`.
    started : float
        When the run began, by `time.perf_counter`.
    ahead : float
        Seconds of what a dry run has left out so far.
    line : str
        What was told; empty before.
    seconds : float
        How long all of the run takes, once told.
    """

    say: Callable[[str], None]
    dry: bool
    started: float
    ahead: float = 0.0
    line: str = ""
    seconds: float = 0.0
    _of: tuple[NullModel, int] = field(init=False)

    class End(Exception):  # noqa: N818 (nothing is wrong)
        """The first pieces of a dry run are done."""

    @contextmanager
    def measuring(
        self, null: NullModel, variants: int, items: int
    ) -> Iterator[Callable[[int], None]]:
        """Measure work of so many items; the function is told of each piece that is done."""
        known, self._of = Slice(), (null, variants)
        fits = len(null.kinship_labels) * null.batches_of_traits
        with Compiling() as compiling:
            begun = last = time.perf_counter()

            def tell(count: int) -> None:
                nonlocal last
                if self.line or count == 0:
                    return
                now = time.perf_counter() - compiling.seconds
                known.items.append(count)
                known.seconds.append(now - last)
                last = now
                if known.is_enough:
                    mapping = known.seconds_of(items, fits) + compiling.seconds
                    self._tell(begun - self.started + self.ahead + mapping)

            yield tell

    @contextmanager
    def leaving_out(self, items: int) -> Iterator[Callable[[int], None]]:
        """Note how long items take of which some are done alone; the function is told of each."""
        begun, done = time.perf_counter(), 0

        def tell(count: int) -> None:
            nonlocal done
            done += count

        yield tell
        self.ahead += (time.perf_counter() - begun) * (items / done - 1)

    def end(self) -> None:
        """Say of a dry run that is over before enough of it was measured what it took."""
        if self.dry and not self.line:
            self._tell(time.perf_counter() - self.started + self.ahead)

    def _tell(self, seconds: float) -> None:
        (null, variants), sizes, self.seconds = self._of, at_once(), seconds
        self.line = (
            f"plan: {variants:,} variants × {null.m:,} features in {null.n:,} "
            f"samples, up to {sizes.markers:,} × {sizes.traits:,} at once in {null.dtype} on "
            f"{jax.devices()[0].device_kind}: {duration(seconds)}{memory()}"
        )
        self.say(self.line)
        if self.dry:
            raise self.End


@contextmanager
def elsewhere(prefix: Path) -> Iterator[Path]:
    """Prefix of the files that a dry run writes, in a folder that is removed."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / prefix.name


def duration(seconds: float) -> str:
    """Write a time in its two largest units.

    >>> duration(0.4), duration(75.0), duration(7300.0)
    ('1 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory() -> str:
    """Say how much memory was in use at most so far, and how much there is.

    Of the accelerator that JAX computes on, or else of this process and the machine.
    """
    if not on_cpu():
        stats = jax.devices()[0].memory_stats()
        used, there = stats["peak_bytes_in_use"], stats["bytes_limit"]
    elif sys.platform == "win32":
        return ""
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f", {used / 2**30:.1f} of {there / 2**30:.1f} GiB of memory"
