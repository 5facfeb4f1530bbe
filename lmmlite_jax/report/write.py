"""A report: one HTML file, which needs no network."""

from __future__ import annotations

import os
from pathlib import Path

import lmmlite_jax as lmm
from lmmlite_jax._optional import require
from lmmlite_jax.data.tables import whole_file
from lmmlite_jax.plot.results import modes_of, read_results
from lmmlite_jax.report.fitted import section_of_fits
from lmmlite_jax.report.mapped import section_of_run

__all__ = ["write_report"]


def write_report(prefix: str | os.PathLike[str], *, rows: int = 1000) -> Path:
    """Write tables, pictures and a summary of a command's results to one HTML file.

    It has a section for each mode in which a run of this prefix has finished, or one for a table of
    heritabilities. Tables are sorted and filtered in the browser, without a network.

    Parameters
    ----------
    prefix : path
        As given to `lmmlite_jax.pipeline.map_files`, whose genotypes and phenotypes must still be
        there; or the table that ``lmmlite-jax herit --out`` has written.
    rows : int
        Most rows of each table, the best first.

    Returns
    -------
    pathlib.Path
        The file: ``PREFIX.report.html``, or beside a table that of its name.

    Raises
    ------
    FileNotFoundError
        If there is no such run or table, or a file of it is gone.
    ValueError
        If ``rows`` is not above 0, or a file is not as the run has left it, or no such table.
    ModuleNotFoundError
        If matplotlib or jinja2 is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import lmmlite_jax as lmm
    >>> from lmmlite_jax.data import write_table
    >>> from lmmlite_jax.report import write_report
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cohort = lmm.simulate_cohort(n=120, m=5, seed=1)
    >>> fit = lmm.fit_traits(cohort.kinship, cohort.pheno, cohort.covar)
    >>> write_table(fit.to_pandas(), folder / "fits.tsv")
    >>> write_report(folder / "fits.tsv").name
    'fits.report.html'
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}.")
    jinja2 = require("jinja2", "report")
    prefix = Path(prefix)
    if prefix.is_file():
        name = prefix.name.removesuffix(".gz").rpartition(".")[0]
        sections = [section_of_fits(prefix, rows)]
    else:
        name = prefix.name
        modes = modes_of(prefix)
        if not modes:
            raise FileNotFoundError(
                f"{prefix}: there is no finished run of map with this prefix, and no table of this "
                "name."
            )
        sections = [section_of_run(read_results(prefix, mode), rows) for mode in modes]
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("lmmlite_jax.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("page.html")
    path = prefix.with_name(f"{name}.report.html")
    with whole_file(path) as stream:
        text = page.render(name=name, sections=sections, version=lmm.__version__)
        stream.write(text.encode())
    return path
