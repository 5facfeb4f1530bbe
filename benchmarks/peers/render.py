"""The report of a result: a table for each task, where others are better, and a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from peers.programs import ELSEWHERE, OURS, PROGRAMS
from peers.tasks import TASKS

SPREAD = 0.25
"""Range of a program's rounds over their median beyond which its times are called noisy."""

EXACT = 1e-3
"""Errors below this, in units of what is right, may be the reference's own."""

Case = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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


def ours(case: Case) -> Row | None:
    """Our own row."""
    return next((row for row in rows(case) if row.program == OURS), None)


def peers(case: Case) -> list[Row]:
    """Rows of other programs that are right, the fastest first."""
    return [row for row in rows(case) if row.right and not row.program.startswith(OURS)]


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def sizes(case: Case) -> str:
    """In the words of the table."""
    return ", ".join(f"{name} = {value:,}" for name, value in case["sizes"].items())


def task_table(case: Case) -> str:
    """All programs that did a task."""
    lines = []
    for row in rows(case):
        errors = ", ".join(f"{name} {error:.1e}" for name, error in row.errors.items())
        share = "" if row.share == 1 else f" ({row.share:.1%} done)"
        lines.append(
            [
                row.program,
                "right" if row.right else "**wrong**",
                errors,
                number(row.seconds) + share + (" †" if row.noisy else ""),
                number(row.first),
                number(row.cpu),
                number(row.whole),
                f"{row.peak_gb:.2f}",
            ]
        )
    for name, result in case["programs"].items():
        if "failed" in result:
            lines.append([name, "failed", result["failed"].replace("|", "/"), *[""] * 5])
    head = ["program", "", "largest error", "warm, s", "first, s", "CPU, s", "process, s", "GB"]
    return table(head, lines)


def better(case: Case) -> Iterator[tuple[str, str]]:
    """Heading and sentences for each program that is faster or more accurate than ours."""
    mine = ours(case)
    if mine is None:
        return
    for row in peers(case):
        ways, said = [], []
        for way, theirs, own in (
            ("faster", row.seconds, mine.seconds),
            ("faster the first time", row.first, mine.first),
        ):
            if theirs < own:
                ways.append(way)
                said.append(f"{number(theirs)} s beside our {number(own)} s ({way}).")
        if row.error < mine.error and mine.error > EXACT:
            ways.append("more accurate")
            said.append(f"Error {row.error:.1e} beside {mine.error:.1e}, 1 is the most allowed.")
        if ways and (mine.noisy or row.noisy):
            said.append("Rounds differ by more than 25%.")
        if ways:
            yield (
                f"{row.program}, {case['task']} on {case['cohort']}: {', '.join(ways)}",
                " ".join(said),
            )


def noisy(case: Case) -> list[str]:
    """Programs whose rounds differ by more than a quarter."""
    return [f"{row.program} ({row.spread:.0%})" for row in rows(case) if row.noisy]


def preface(found: dict[str, Any]) -> str:
    """What was run on what, and what the columns mean."""
    machine, load = found["machine"], found["load"]
    results = [one for case in found["cases"] for one in case["programs"].values()]
    rounds = max(len(one["rounds"]) for one in results)
    cores, each = machine["cores_used"], found["seconds_for_one_at_a_time"]
    sizes = "small sizes, for a first look" if found["quick"] else "full sizes"
    return f"""# Beside other programs

{machine["processor"]}, {cores} cores for each program, commit {machine["commit"]}, {sizes}.
Load average {load[0]:.1f} before and {load[1]:.1f} after: more than {cores} means that others were
at work too, and that seconds are not those of a quiet machine. Medians of {rounds} rounds in which
the programs run in turn, each in a process of its own, on the same inputs.

*Warm* and *first* are two calls in one process, *CPU* is the warm call's; *process* and *GB* are of
the whole process, with imports, reading and both calls. A program that takes one trait after the
other stops after {each:.0f} s, and its times are stretched to all. Errors are distances from the
formulas in double precision; *wrong* is more than the task allows. † the rounds differ by more than
25%."""


def section(case: Case) -> str:
    """Heading, table and notes of one task."""
    task = TASKS[case["task"]]
    allowed = ", ".join(
        f"{name} {limit:.0e}" for name, limit in task.allowed.items() if limit < float("inf")
    )
    parts = [
        f"## {case['task']} on {case['cohort']}",
        f"{sizes(case)}: {task.what}. Allowed: {allowed}.",
        task_table(case),
    ]
    notes = [f"{name}: {PROGRAMS[name].note}." for name in case["programs"] if PROGRAMS[name].note]
    if noisy(case):
        notes.append(f"Rounds differ by more than 25%: {', '.join(noisy(case))}.")
    return "\n\n".join([*parts, *notes])


def markdown(found: dict[str, Any], picture: str) -> str:
    """The whole report."""
    parts = [preface(found), f"![Seconds of each program against its error]({picture})"]
    parts += [section(case) for case in found["cases"]]
    parts.append("## Where others are better")
    for case in found["cases"]:
        for heading, said in better(case):
            parts += [f"### {heading}", said]
    versions = [
        f"- {name} {version}" if version else f"- {name}: not installed, `{found['missing'][name]}`"
        for name, version in found["versions"].items()
    ]
    elsewhere = [f"- {name}, {why}: `{command}`" for name, (command, why) in ELSEWHERE.items()]
    parts += ["## Versions", "\n".join(versions), "## Not run", "\n".join(elsewhere)]
    return "\n\n".join(parts) + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    """A panel for each task: seconds against error, both on logarithmic scales."""
    import matplotlib.pyplot as plt

    cases = found["cases"]
    columns = min(4, len(cases))
    figure, axes = plt.subplots(
        -(-len(cases) // columns),
        columns,
        figsize=(3.6 * columns, 3.2 * -(-len(cases) // columns)),
        squeeze=False,
        layout="constrained",
    )
    for ax, case in zip(axes.ravel(), cases, strict=False):
        for row in rows(case):
            colour = "C0" if row.program.startswith(OURS) else "C1" if row.right else "C3"
            error = max(row.error, 1e-12)
            ax.loglog(row.seconds, error, "o", color=colour)
            ax.annotate(row.program, (row.seconds, error), fontsize=7, rotation=20)
        ax.axhline(1, color="0.6", linewidth=0.8)
        ax.set(title=f"{case['task']} on {case['cohort']}", xlabel="seconds, warm")
        ax.margins(0.3)
    for ax in axes[:, 0]:
        ax.set_ylabel("error, 1 is the most that is right")
    for ax in axes.ravel()[len(cases) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write(result: Path) -> tuple[Path, Path, Path]:
    """The report and the picture of a result, beside it."""
    found = json.loads(result.read_text())
    page, picture = result.with_suffix(".md"), result.with_suffix(".png")
    draw(found, picture)
    page.write_text(markdown(found, picture.name))
    return result, page, picture
