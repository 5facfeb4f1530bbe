"""What programs need for a task, how right they are, and where others are better than ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from peers.programs import OURS, OURS_FROM_FILES, PROGRAMS
from peers.tasks import TASKS

SPREAD = 0.25
"""Range of a ratio over rounds, by its median, beyond which it is called noisy."""

EXACT = 1e-3
"""Errors below this, in units of what is right, may be the reference's own."""

COMPILES = (
    "The first call of a process compiles programs for these sizes; the later ones, and processes"
    " with `--compilation-cache`, do not."
)
"""Why others are faster the first time."""

RIGHT = "Both are right: an error of 1 is the most that the task allows."
"""Why another may be more accurate."""

Case = dict[str, Any]


class Row(NamedTuple):
    """What one program needs for a task, medians of its rounds, and how right it is."""

    program: str
    seconds: float
    first: float
    cpu: float
    whole: float
    peak_gb: float
    rounds: list[float]
    """Seconds of each, which the programs did in turn."""
    share: float
    errors: dict[str, float]
    error: float
    """The largest error in units of what is right."""
    ours: list[float]
    """Seconds of each round of what it is compared with: ours on arrays, or from files."""

    @property
    def right(self) -> bool:
        """Whether its errors are as small as the task allows."""
        return self.error <= 1

    @property
    def times_ours(self) -> float:
        """Its seconds over ours, the median of rounds; NaN where ours has none."""
        return statistics.median(self._ratios) if self.ours else math.nan

    @property
    def spread(self) -> float:
        """Range of that over its median; of ours, that of its seconds."""
        ratios = self._ratios if self.ours else self.rounds
        return (max(ratios) - min(ratios)) / statistics.median(ratios)

    @property
    def noisy(self) -> bool:
        """Whether rounds differ in it by more than a quarter."""
        return self.spread > SPREAD

    @property
    def _ratios(self) -> list[float]:
        return [theirs / ours for theirs, ours in zip(self.rounds, self.ours, strict=True)]


class Rivals(NamedTuple):
    """Ours and other programs that are right, the fastest first, all from files or all not."""

    where: str
    ours: Row
    others: list[Row]


def rows(case: Case) -> list[Row]:
    """Of all programs that ended, the fastest first."""
    task, found = TASKS[case["task"]], []
    for name, result in case["programs"].items():
        if "failed" in result:
            continue
        median = {
            key: statistics.median(one[key] for one in result["rounds"])
            for key in ("warm", "first", "warm_cpu", "wall", "peak_gb", "rows")
        }
        errors = result["errors"]
        found.append(
            Row(
                name,
                median["warm"],
                median["first"],
                median["warm_cpu"],
                median["wall"],
                median["peak_gb"],
                _warm(case, name),
                median["rows"] / case["sizes"][task.rows],
                errors,
                max(error / task.allowed[name] for name, error in errors.items()),
                _warm(case, beside(case, name)),
            )
        )
    return sorted(found, key=lambda row: row.seconds)


def noisy(case: Case) -> list[str]:
    """Programs in which rounds differ by more than a quarter, and by how much."""
    return [f"{row.program} ({row.spread:.0%})" for row in rows(case) if row.noisy]


def beside(case: Case, program: str) -> str | None:
    """Which of ours a program is compared with: files to files with our command line, if it can."""
    if program.startswith(OURS):
        return None
    of_files = case["task"] in PROGRAMS[program].from_files
    return OURS_FROM_FILES if of_files and _warm(case, OURS_FROM_FILES) else OURS


def _warm(case: Case, program: str | None) -> list[float]:
    """Seconds of all rounds, none where it failed or was not run."""
    result = case["programs"].get(program, {"failed": "not run"})
    return [] if "failed" in result else [one["warm"] for one in result["rounds"]]


def rivals(case: Case) -> Iterator[Rivals]:
    """What is compared: calls on arrays with ours on arrays, files to files with our command line.

    A program from files is compared with ours on arrays where our command line has no such task.
    """
    found = rows(case)
    where = f"{case['task']} on {case['cohort']}"
    if "varies" in case and case["varies"] != "cohort":
        where += f", {case['varies']} = {case['sizes'][case['varies']]:,}"
    for mine in (row for row in found if row.program in (OURS, OURS_FROM_FILES)):
        others = [row for row in found if row.right and beside(case, row.program) == mine.program]
        if mine.program == OURS:
            yield Rivals(where, mine, others)
        elif others:
            yield Rivals(f"{where}, from files to files", mine, others)


def better(case: Case) -> Iterator[tuple[str, str]]:
    """Heading and sentences for each way in which others are better."""
    for where, mine, others in rivals(case):
        ways = (
            ("faster", [(row, row.seconds) for row in others], mine.seconds, _why(case["task"])),
            ("faster the first time", [(row, row.first) for row in others], mine.first, COMPILES),
        )
        for way, theirs, own, why in ways:
            ahead = sorted((x, row) for row, x in theirs if x < own)
            if ahead:
                each = ", ".join(f"{row.program} {number(x)} s" for x, row in ahead)
                noisy = any(row.noisy for _, row in ahead)
                noise = " Rounds differ by more than 25%." if noisy else ""
                yield f"{where}: {way}", f"{each}; ours {number(own)} s.{noise} {why}"
        if mine.error > EXACT:
            ahead = sorted((row.error, row) for row in others if row.error < mine.error)
            if ahead:
                each = ", ".join(f"{row.program} {error:.1e}" for error, row in ahead)
                yield f"{where}: more accurate", f"{each}; ours {mine.error:.1e}. {RIGHT}"


def _why(task: str) -> str:
    return TASKS[task].why_slower or "Not explained yet."


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def varied(cases: list[Case]) -> dict[str, list[Case]]:
    """Cases of other sizes and cohorts, by what is varied: the task's own among them."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        if "varies" in case:
            found.setdefault(f"{case['task']}, {case['varies']}", []).append(case)
    for name, some in found.items():
        task, what = name.split(", ")
        own = next(case for case in cases if case["task"] == task and "varies" not in case)
        some.append(own)
        if what != "cohort":
            some.sort(key=lambda case: case["sizes"][what])
    return found
