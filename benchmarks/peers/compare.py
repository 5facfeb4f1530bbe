"""What programs need for a task, how right they are, and where others are better than ours."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from peers.programs import OURS, OURS_FROM_FILES, PROGRAMS
from peers.tasks import TASKS

SPREAD = 0.25
"""Range of a program's rounds over their median beyond which its times are called noisy."""

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
    spread: float
    share: float
    errors: dict[str, float]
    error: float
    """The largest error in units of what is right."""

    @property
    def right(self) -> bool:
        """Whether its errors are as small as the task allows."""
        return self.error <= 1

    @property
    def noisy(self) -> bool:
        """Whether its rounds differ by more than a quarter."""
        return self.spread > SPREAD


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
        warm = [one["warm"] for one in result["rounds"]]
        errors = result["errors"]
        found.append(
            Row(
                name,
                median["warm"],
                median["first"],
                median["warm_cpu"],
                median["wall"],
                median["peak_gb"],
                (max(warm) - min(warm)) / median["warm"],
                median["rows"] / case["sizes"][task.rows],
                errors,
                max(error / task.allowed[name] for name, error in errors.items()),
            )
        )
    return sorted(found, key=lambda row: row.seconds)


def rivals(case: Case) -> Iterator[Rivals]:
    """What is compared: calls on arrays with ours on arrays, files to files with our command line.

    A program from files is compared with ours on arrays where our command line has no such task.
    """
    by_name = {row.program: row for row in rows(case)}
    others = [row for row in by_name.values() if row.right and not row.program.startswith(OURS)]
    from_files = {
        row.program
        for row in others
        if OURS_FROM_FILES in by_name and case["task"] in PROGRAMS[row.program].from_files
    }
    where = f"{case['task']} on {case['cohort']}"
    if OURS in by_name:
        on_arrays = [row for row in others if row.program not in from_files]
        yield Rivals(where, by_name[OURS], on_arrays)
    if from_files:
        files = [row for row in others if row.program in from_files]
        yield Rivals(f"{where}, from files to files", by_name[OURS_FROM_FILES], files)


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
                noise = " Rounds differ by more than 25%." if _noisy(mine, ahead) else ""
                yield f"{where}: {way}", f"{each}; ours {number(own)} s.{noise} {why}"
        if mine.error > EXACT:
            ahead = sorted((row.error, row) for row in others if row.error < mine.error)
            if ahead:
                each = ", ".join(f"{row.program} {error:.1e}" for error, row in ahead)
                yield f"{where}: more accurate", f"{each}; ours {mine.error:.1e}. {RIGHT}"


def _noisy(mine: Row, ahead: list[tuple[float, Row]]) -> bool:
    return mine.noisy or any(row.noisy for _, row in ahead)


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
