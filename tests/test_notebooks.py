"""The notebooks run from top to bottom, and print what is committed in them."""

import base64
import os
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.long

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


def pictures(notebook) -> list[bytes]:
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module", params=sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fresh(name, data_dir, tmp_path_factory):
    client = nbclient.NotebookClient(
        read(name),
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
    )
    return client.execute(env={**os.environ, "LMMLITE_JAX_DATA": str(data_dir.resolve())})


def test_the_user_guide_holds_the_figures_of_the_guide():
    text = "\n".join(line for cell in printed(read("user_guide")) for line in cell)
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
    assert len(pictures(read("user_guide"))) == 1


def test_committed_notebooks_were_run_once_from_top_to_bottom_without_warnings(name):
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    streams = {output.get("name", "stdout") for cell in cells for output in cell.outputs}
    assert streams == {"stdout"}


def test_fresh_run_prints_what_is_committed(name, fresh):
    assert printed(fresh) == printed(read(name))
    assert len(pictures(fresh)) == len(pictures(read(name)))


def test_the_picture_of_the_readme_is_that_of_its_notebook():
    picture = NOTEBOOKS.parent / "docs" / "pictures" / "eqtl_in_families.png"
    assert picture.read_bytes() == pictures(read("eqtl_in_families"))[-1]
