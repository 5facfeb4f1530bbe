"""The notebooks run from top to bottom, and print what is committed in them."""

import os
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def printed(notebook) -> list[list[str]]:
    """Text of each code cell's outputs, line by line; pictures and spacing do not count."""
    return [
        [
            " ".join(line.split())
            for output in cell.outputs
            for line in _text(output).splitlines()
            if line.strip()
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _text(output) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "")


def pictures(notebook) -> int:
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOKS / "user_guide.ipynb", as_version=4)


@pytest.fixture(scope="module")
def fresh(data_dir, tmp_path_factory):
    notebook = nbformat.read(NOTEBOOKS / "user_guide.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
    )
    return client.execute(env={**os.environ, "LMMLITE_JAX_DATA": str(data_dir.resolve())})


def test_committed_notebook_holds_the_figures_of_the_guide(committed):
    text = "\n".join(line for cell in printed(committed) for line in cell)
    for figure in (
        "kinship (261, 261)",
        "pheno (261, 26) with 45 values missing",
        "beta 1413.98691 -28.17931",
        "sigmasq 276158.5",
        "largest at hsq = 0.76: -2332.840",
        "hsq 0.764297",
        "traits fitted: 26 of 26",
    ):
        assert figure in text
    assert pictures(committed) == 1


def test_committed_notebook_was_run_once_from_top_to_bottom_without_warnings(committed):
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    names = {output.get("name", "stdout") for cell in cells for output in cell.outputs}
    assert names == {"stdout"}


def test_fresh_run_prints_what_is_committed(committed, fresh):
    assert printed(fresh) == printed(committed)
    assert pictures(fresh) == pictures(committed)
