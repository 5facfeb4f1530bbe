"""The tables of the pages are those of the committed results."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_have_the_figures_of_the_results(report):
    marked = set()
    for path in report.PAGES:
        page = path.read_text()
        assert report.filled(page) == page, f"{path.name}: run python -m benchmarks report"
        marked |= {*re.findall(r"<!-- table ([^>]*?) -->", page)}
    assert marked == {*report.TABLES}


def test_a_wrong_figure_is_put_right(report):
    page = "<!-- table scan, range -->\n| 0.1 |\n<!-- end of table -->\n"
    assert "best marker of each trait" in report.filled(page)


def test_benchmarks_are_listed_with_what_they_measure():
    command = [sys.executable, "-m", "benchmarks", "list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^scan +The association scan beside", done.stdout, re.MULTILINE)
    assert "cohorts " not in done.stdout
