"""The report of a result: a table for each task, where others are better, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import pictures
from peers.compare import Case, Row, better, noisy, number, rows, varied
from peers.programs import ELSEWHERE, PROGRAMS
from peers.tasks import TASKS

NOT_KNOWN = "Of one round it is not known how much rounds differ."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sizes(case: Case) -> str:
    """In the words of the table."""
    return ", ".join(f"{name} = {value:,}" for name, value in case["sizes"].items())


def cores(found: dict[str, Any]) -> str:
    """Those of each program."""
    used = found["machine"]["cores_used"]
    return "one core" if used == 1 else f"{used} cores"


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
                number(row.seconds) + share,
                times_ours(row),
                number(row.first),
                number(row.cpu),
                number(row.whole),
                f"{row.peak_gb:.2f}",
            ]
        )
    for name, result in case["programs"].items():
        if "failed" in result:
            lines.append([name, "failed", result["failed"].replace("|", "/"), *[""] * 6])
    head = ["program", "", "largest error", "warm, s", "times ours", "first, s", "CPU, s"]
    return table([*head, "process, s", "GB"], lines)


def times_ours(row: Row) -> str:
    """A program's seconds over ours, with a mark where rounds differ in it."""
    ratio = "" if math.isnan(row.times_ours) else number(row.times_ours)
    return f"{ratio} †".strip() if row.noisy else ratio


def preface(found: dict[str, Any]) -> str:
    """What was run on what, and what the columns mean."""
    machine, load = found["machine"], found["load"]
    results = [one for case in found["cases"] for one in case["programs"].values()]
    rounds = max(len(one["rounds"]) for one in results)
    each = found["seconds_for_one_at_a_time"]
    sizes = "small sizes, for a first look" if found["quick"] else "full sizes"
    return f"""# Beside other programs

{machine["processor"]}, {cores(found)} for each program, commit {machine["commit"]}, {sizes}.
Load average {load[0]:.1f} before and {load[1]:.1f} after: more than {machine["cores"]} means that
others were at work too, and that seconds are not those of a quiet machine. Medians of {rounds}
rounds in which the programs run in turn, each in a process of its own, on the same inputs.

*Warm* and *first* are two calls in one process, *CPU* is the warm call's; *process* and *GB* are of
the whole process, with imports, reading and both calls. A program that takes one trait after the
other stops after {each:.0f} s, and its times are stretched to all. Errors are distances from the
formulas in double precision; *wrong* is more than the task allows. *Times ours* is the median over
rounds of warm seconds by ours, from files where the program is; † rounds differ in this, or of ours
in seconds, by more than 25%. {NOT_KNOWN if rounds == 1 else ""}""".rstrip()


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
    said = {name: PROGRAMS[name].notes for name in case["programs"]}
    of_task = {name: notes.get(task.name, notes.get("")) for name, notes in said.items()}
    notes = [f"{name}: {note}." for name, note in of_task.items() if note]
    if some := noisy(case):
        notes.append(f"Rounds differ by more than 25%: {', '.join(some)}.")
    return "\n\n".join([*parts, *notes])


def range_table(name: str, cases: Sequence[Case]) -> str:
    """Seconds of each program over sizes or cohorts."""
    what = name.split(", ")[1]
    programs = [one for one in PROGRAMS if all(one in case["programs"] for case in cases)]
    lines = []
    for case in cases:
        by_name = {row.program: row for row in rows(case)}
        label = case["cohort"] if what == "cohort" else f"{case['sizes'][what]:,}"
        cells = [
            number(by_name[one].seconds) + ("" if by_name[one].right else " **wrong**")
            if one in by_name
            else "failed"
            for one in programs
        ]
        lines.append([label, f"{case['sizes']['n']}", *cells])
    return f"### {name}\n\n{table([what, 'n', *programs], lines)}"


def over_sizes_and_cohorts(found: dict[str, Any], stem: str) -> list[str]:
    """The part of the report on other sizes and cohorts, where there are any."""
    cases = varied(found["cases"])
    if not cases:
        return []
    said = (
        "Warm seconds of one round, one size changed at a time; programs that need more than"
        f" {found['too_slow']:,.0f} s for the task as it stands are left out. {NOT_KNOWN}"
    )
    picture = f"![Seconds of each program over sizes and cohorts]({stem}_range.png)"
    tables = [range_table(name, some) for name, some in cases.items()]
    return ["## Over sizes and cohorts", said, picture, *tables]


def better_than_ours(cases: Sequence[Case]) -> list[str]:
    """A heading for each place where another program is faster or more accurate, and why."""
    return [
        part
        for case in cases
        for heading, said in better(case)
        for part in (f"### {heading}", said)
    ]


def markdown(found: dict[str, Any], stem: str) -> str:
    """The whole report."""
    parts = [preface(found), f"![Seconds of each program against its error]({stem}.png)"]
    parts += [section(case) for case in found["cases"] if "varies" not in case]
    parts += over_sizes_and_cohorts(found, stem)
    parts += ["## Where others are better", *better_than_ours(found["cases"])]
    versions = [
        f"- {name} {version}" if version else f"- {name}: not installed, `{found['missing'][name]}`"
        for name, version in found["versions"].items()
    ]
    elsewhere = [f"- {name}, {why}: `{command}`" for name, (command, why) in ELSEWHERE.items()]
    parts += ["## Versions", "\n".join(versions), "## Not run", "\n".join(elsewhere)]
    return "\n\n".join(parts) + "\n"


def write(result: Path) -> list[Path]:
    """The report of a result and its pictures, beside it; what is there then."""
    found = json.loads(result.read_text())
    page, picture = result.with_suffix(".md"), result.with_suffix(".png")
    page.write_text(markdown(found, result.stem))
    pictures.errors_and_seconds(found["cases"], picture)
    written = [result, page, picture]
    if varied(found["cases"]):
        written.append(result.with_name(f"{result.stem}_range.png"))
        pictures.sizes_and_cohorts(found["cases"], written[-1])
    return written
