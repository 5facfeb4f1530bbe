"""The tables of the pages are those of the committed results; the programs are judged rightly."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lmmlite_jax as lmm

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    """Import as the command does: its modules know each other by name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import report
        from peers import agreement, compare, errors, pictures, programs, reference, render, tasks
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    every = (agreement, compare, errors, pictures, programs, reference, render, report, tasks)
    return {module.__name__.split(".")[-1]: module for module in every}


@pytest.fixture(scope="module")
def report(modules):
    return modules["report"]


def test_pages_have_the_figures_of_the_results(report):
    marked = set()
    for path in report.PAGES:
        page = path.read_text()
        assert report.filled(page) == page, f"{path.name}: run python -m benchmarks report"
        marked |= {*re.findall(r"<!-- table ([^>]*?) -->", page)}
    assert marked == {*report.TABLES}


def test_the_report_on_other_programs_is_that_of_its_result(report):
    page = (report.RESULTS / "peers.md").read_text()
    assert page == report.peers_page(), "run python -m benchmarks report"
    assert "Not explained yet" not in page, "say in why_slower of the task why others are faster"


def test_a_wrong_figure_is_put_right(report):
    page = "<!-- table scan, range -->\n| 0.1 |\n<!-- end of table -->\n"
    assert "best marker of each trait" in report.filled(page)


def test_benchmarks_are_listed_with_what_they_measure(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--cache", str(tmp_path), "list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^  scan +The association scan beside", done.stdout, re.MULTILINE)
    assert re.search(r"^  fit-many +h² of each trait", done.stdout, re.MULTILINE)
    # Nothing is installed in an empty cache: the command that does it is shown.
    assert re.search(r"^  R/qtl2 +Rscript -e 'install.packages", done.stdout, re.MULTILINE)
    assert re.search(r"^  jaxqtl +python -m benchmarks install jaxqtl", done.stdout, re.MULTILINE)


def test_every_program_has_a_driver_and_tasks(modules):
    for program in modules["programs"].PROGRAMS.values():
        assert (modules["programs"].DRIVERS / program.driver).exists()
        assert {*program.tasks} <= {*modules["tasks"].TASKS}


def test_the_reference_is_the_likelihood_of_the_model(modules):
    """REML by dense matrices, from the definition, has its largest value where it says."""
    reference, n = modules["reference"], 30
    cohort = lmm.simulate_cohort(n, 3, seed=2)
    X, Y = cohort.covar, cohort.pheno
    turned = reference.rotation(cohort.kinship, X)
    best = reference.best_hsq(turned.values, turned.R @ Y)

    def dense(h, y):
        V = h * cohort.kinship + (1 - h) * np.eye(n)
        W = np.linalg.inv(V)
        A = X.T @ W @ X
        e = y - X @ np.linalg.solve(A, X.T @ W @ y)
        half = (n - X.shape[1]) / 2
        return -half * np.log(e @ W @ e) - 0.5 * (np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1])

    for h, y in zip(best, Y.T, strict=True):
        assert dense(h, y) >= max(dense(g, y) for g in np.linspace(0, 0.999, 500)) - 1e-10
    parts = np.stack([0.4 * cohort.kinship, 0.6 * cohort.kinship + np.diag(np.arange(n) % 2)])
    sums = [np.tensordot([1, w], parts, 1) for w in (1, 1 - 1e-4, 1 + 1e-4)]

    def at_best(turned):
        Z = turned.R @ Y
        hsq = reference.best_hsq(turned.values, Z)
        return hsq, Z, reference.log_likelihood(hsq, turned.values, Z).sum()

    turned, low, high = (reference.rotation(K, X) for K in sums)
    hsq, Z, _ = at_best(turned)
    found = reference.gradient(hsq, turned, Z, parts)
    difference = (at_best(high)[2] - at_best(low)[2]) / 2e-4
    np.testing.assert_allclose(found[1], difference, rtol=1e-5, atol=1e-8)
    # Of several kinships the same, where there is one.
    A = (turned.R @ sums[0] @ turned.R.T)[None]
    several = [
        reference.log_likelihood_of_shares(np.array([h]), A, z)
        for h, z in zip(hsq, Z.T, strict=True)
    ]
    one = reference.log_likelihood(hsq, turned.values, Z)
    np.testing.assert_allclose(several, one, rtol=1e-6)
    assert reference.best_of_shares(A, Z[:, 0]) <= one[0] + 1e-8
    # A trait without noise in a singular kinship: h² = 1 loses nothing, and is no NaN.
    at_one = {"K": np.ones((n, n)) + np.diag(np.arange(n) % 3 > 0), "X": np.ones((n, 1))}
    at_one["Y"] = at_one["K"] @ Y[:, :1]
    errors = modules["errors"].fit_errors(at_one, {"hsq": np.ones(1)}, True)
    assert errors["log likelihood lost"] < 1e-6


def result(errors, seconds):
    rounds = [
        {"wall": 1.0, "peak_gb": 1.0, "rows": 1, "first": 2.0, "warm_cpu": s} for s in seconds
    ]
    return {
        "rounds": [one | {"warm": s} for one, s in zip(rounds, seconds, strict=True)],
        "errors": {"log likelihood lost": errors, "h²": 0.1},
    }


def case(programs, **more):
    found = {"task": "fit-one", "cohort": "pedigree", "sizes": {"n": 9, "m": 1}}
    return found | {"programs": programs} | more


def test_fast_and_wrong_is_wrong_and_fast_and_right_is_better(modules):
    render, compare = modules["render"], modules["compare"]
    programs = {
        "lmmlite-jax": result(1e-9, [1.0, 1.0]),
        "gemma": result(0.5, [0.1, 0.1]),
        "fastlmm": result(1e-9, [0.2, 0.3]),
        "lme4": {"rounds": [], "failed": "it stopped"},
    }
    table = render.task_table(case(programs))
    assert re.search(r"gemma \| \*\*wrong", table)
    assert "it stopped" in table
    ((heading, said),) = compare.better(case(programs))
    assert heading == "fit-one on pedigree: faster"
    assert said.startswith("fastlmm 0.25 s; ours 1 s. Rounds differ by more than 25%. One trait")
    # Where sizes are varied too; and more accurate, though both are right.
    varied = case(programs | {"fastlmm": result(1e-9, [2.0, 2.0])}, varies="n")
    varied["programs"]["lmmlite-jax"] = result(5e-3, [1.0, 1.0])
    ((heading, said),) = compare.better(varied)
    assert heading == "fit-one on pedigree, n = 9: more accurate"
    assert said == f"fastlmm 1.0e-07; ours 5.0e-01. {compare.RIGHT}"
    headings = render.better_than_ours([case(programs), varied])
    assert [one for one in headings if one.startswith("###")] == [
        "### fit-one on pedigree: faster",
        "### fit-one on pedigree, n = 9: more accurate",
    ]


def test_a_ratio_that_is_noisy_is_said_to_be(modules):
    """Seconds that move together with ours are not noise; a ratio that moves is."""
    programs = {
        "lmmlite-jax": result(1e-9, [1.0, 2.0]),
        "fastlmm": result(1e-9, [3.0, 6.0]),
        "lme4": result(1e-9, [3.0, 3.0]),
    }
    table = modules["render"].task_table(case(programs))
    assert re.search(r"lmmlite-jax \| right \| [^|]* \| 1.5 \| † \|", table)
    assert re.search(r"fastlmm \| right \| [^|]* \| 4.5 \| 3 \|", table)
    assert re.search(r"lme4 \| right \| [^|]* \| 3 \| 2.25 † \|", table)
    assert modules["compare"].noisy(case(programs)) == ["lmmlite-jax (67%)", "lme4 (67%)"]


def test_two_runs_are_compared_by_their_ratios(modules):
    def run(*seconds):
        ours, other = result(1e-9, [1.0, 1.0]), result(1e-9, [*seconds])
        return {"cases": [case({"lmmlite-jax": ours, "fastlmm": other})]}

    differing = modules["agreement"].differing
    assert not [*differing(run(3.0, 3.0), run(3.6, 3.6))]
    ((line, said),) = differing(run(3.0, 3.0), run(4.0, 4.0))
    assert line == "fit-one on pedigree, n = 9, m = 1, fastlmm: 3 and 4 times ours"
    assert not said
    ((_, said),) = differing(run(3.0, 3.0), run(3.0, 6.0))
    assert said


def test_from_files_is_compared_with_from_files(modules):
    compare, of = modules["compare"], {"K, relative": 0.0}
    programs = {
        "lmmlite-jax": result(1.0, [1.0]),
        "lmmlite-jax-map": result(1.0, [4.0]),
        "plink2": result(1.0, [2.0]),
    }
    programs = {name: one | {"errors": of} for name, one in programs.items()}
    of_kinship = case(programs, task="kinship", sizes={"n": 1})
    assert [heading for heading, _ in compare.better(of_kinship)] == [
        "kinship on pedigree, from files to files: faster"
    ]


def test_sizes_and_cohorts_are_drawn_with_the_task_itself(modules, tmp_path):
    def of(n, cohort, **varies):
        programs = {"lmmlite-jax": result(1e-9, [n / 100]), "fastlmm": result(1.0, [n / 10])}
        where = {"task": "fit-many", "cohort": cohort, "sizes": {"n": n, "m": 1}}
        return case(programs, **where, **varies)

    cases = [of(300, "pedigree"), of(500, "pedigree", varies="n")]
    cases += [of(100, "pedigree", varies="n"), of(198, "bxd", varies="cohort")]
    over = modules["compare"].varied(cases)
    assert [one["sizes"]["n"] for one in over["fit-many, n"]] == [100, 300, 500]
    assert [one["cohort"] for one in over["fit-many, cohort"]] == ["bxd", "pedigree"]
    found = {"cases": cases, "too_slow": 1000.0}
    said = "\n".join(modules["render"].over_sizes_and_cohorts(found, "peers"))
    assert re.search(r"^\| 500 \| 500 \| 5 \| 50 \*\*wrong", said, re.MULTILINE)
    modules["pictures"].sizes_and_cohorts(cases, tmp_path / "range.png")
    assert (tmp_path / "range.png").stat().st_size > 10_000


@pytest.mark.long
def test_quick_runs_whatever_is_installed(tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "run", "--quick", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)  # 140 s on two quiet cores.
    for case in json.loads(out.read_text())["cases"]:
        ours = case["programs"]["lmmlite-jax"]
        assert "failed" not in ours, case["task"]
    assert "**wrong**" not in [
        line.split(" | ")[1]
        for line in out.with_suffix(".md").read_text().splitlines()
        if line.startswith("| lmmlite-jax")
    ]
