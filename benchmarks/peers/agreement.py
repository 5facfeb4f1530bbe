"""Whether two runs say the same of each program: its seconds over ours, within a quarter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peers.compare import SPREAD, Row, number, rows
from peers.render import sizes


def differing(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """A line for each ratio that differs by more than a quarter, and whether a report says so.

    A report does where rounds differ in it, and where there was one round only. Programs, cohorts
    and sizes that one of the results lacks are passed over.
    """
    before = _ratios(one)
    for key, row in _ratios(other).items():
        if key not in before:
            continue
        ratios = before[key].times_ours, row.times_ours
        if max(ratios) > (1 + SPREAD) * min(ratios):
            said = any(each.noisy or len(each.rounds) == 1 for each in (before[key], row))
            yield f"{', '.join(key)}: {number(ratios[0])} and {number(ratios[1])} times ours", said


def _ratios(found: dict[str, Any]) -> dict[tuple[str, str, str], Row]:
    """Rows of programs that are compared with ours, by where and of what size."""
    return {
        (f"{case['task']} on {case['cohort']}", sizes(case), row.program): row
        for case in found["cases"]
        for row in rows(case)
        if row.ours
    }
