"""The pages name all that there is: columns, statuses, public functions, options."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

import lmmlite_jax as lmm
from lmmlite_jax import data, pipeline, plot, report
from lmmlite_jax.cli import app
from lmmlite_jax.mapping.susie.result import SET_COLUMNS
from lmmlite_jax.mapping.tables import BEST_COLUMNS, TRANS_COLUMNS
from lmmlite_jax.model import result
from lmmlite_jax.pipeline.modes import cis_susie

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.name: page.read_text() for page in DOCS.glob("*.md")}
NOT_WRITTEN = {"gene", "genes", "marker", "markers", "traits", "status", "tested_markers", "terms"}
"""Fields of results of arrays that are no columns."""


def pair_columns(result):
    return {field.name for field in fields(result)} - NOT_WRITTEN


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("map", {*BEST_COLUMNS, *TRANS_COLUMNS, *SET_COLUMNS, *cis_susie.FEATURE_COLUMNS}),
        ("map", pair_columns(lmm.CisPairs) | pair_columns(lmm.CisInteractions)),
        ("herit", {*result._COLUMNS, "trait", "reason"}),
    ],
)
def test_every_column_is_explained(table, columns):
    of_table = PAGES["columns.md"].split(f"## Tables of `{table}`")[1].split("\n## ")[0]
    explained = set()
    for line in re.findall(r"^\| (`.*?) \|", of_table, re.MULTILINE):
        names = re.findall(r"`(\w+)`", line)
        explained |= {*names, *(f"{name}_se" for name in names)}
    assert not columns - explained - {f"{name}_se" for name in explained}


def test_every_status_has_its_line():
    for status in lmm.Status:
        assert f"| `{status.name}`" in PAGES["status.md"], status


@pytest.mark.parametrize("module", [lmm, data, pipeline, plot, report])
def test_every_public_function_has_an_example(module):
    public = [getattr(module, name) for name in module.__all__]
    functions = [one for one in public if inspect.isfunction(inspect.unwrap(one))]
    assert functions
    without = [one.__name__ for one in functions if ">>> " not in (inspect.getdoc(one) or "")]
    assert not without


def test_every_public_name_is_in_the_reference():
    missing = [
        name for name in lmm.__all__ if f"::: lmmlite_jax.{name}\n" not in PAGES["reference.md"]
    ]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_linked_are_there(page):
    """The site's own links are checked where it is built."""
    text = (DOCS.parent / page).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert not [link for link in links if not (DOCS.parent / link).exists()]


def test_every_option_is_on_a_page():
    commands = typer.main.get_command(app).commands
    text = "\n".join(PAGES.values())
    missing = [
        f"{name} {option}"
        for name, command in commands.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and not re.search(rf"{option}(?![\w-])", text)
    ]
    assert not missing
