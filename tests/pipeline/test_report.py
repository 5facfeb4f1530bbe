"""One page of what ``map`` or ``herit`` has written, and pictures of loci."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from pictures import assert_refused, dashed
from typer.testing import CliRunner

import lmmlite_jax as lmm
from lmmlite_jax.cli import app
from lmmlite_jax.data import write_table
from lmmlite_jax.plot import plot_credible_sets, plot_run

MODES = {
    "cis": ["--permutations", 20],
    "cis_susie": [],
    "cis_nominal": [],
    "trans": ["--pval-threshold", 0.5, "--window", 100],
}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def prefix(small, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("runs") / "run"
    for mode, options in MODES.items():
        files = [small / "g", small / "y.bed", prefix, "--kinship", "none"]
        outcome = run("map", *files, "--mode", mode, *options)
        assert outcome.exit_code == 0, outcome.output
        if mode == "cis_susie":  # before there is cis_nominal
            (axes,) = plot_run(prefix, "cis_susie").values()
            assert axes.get_ylabel() == "probability of an effect (PIP)"
    return prefix


class Page(HTMLParser):
    """Addresses of a page, its headings and its tables."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.headings, self.rows, self.inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.addresses += [v for name, v in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.inside == "h2":
            self.headings.append(data.strip())
        elif self.inside in ("td", "button"):
            self.rows[-1].append(data.strip())


def test_a_report_has_every_mode_and_needs_nothing_else(prefix):
    pytest.importorskip("jinja2")
    outcome = run("report", prefix, "--rows", 2)
    assert outcome.exit_code == 0, outcome.output
    path = prefix.with_name("run.report.html")
    assert outcome.output.strip() == str(path)
    page = Page(path.read_text())
    assert [one for one in page.headings if one] == ["cis", "cis_nominal", "cis_susie", "trans"]
    assert all(re.match("data:|#", one) for one in page.addresses)
    assert sum(one.startswith("data:image/svg") for one in page.addresses) == 2 + 2 + 1 + 2
    assert "1 feature: without a variant near" in path.read_text()
    assert "the best 2 of " in path.read_text()
    # Its first row is what the mode cis has found.
    best = pd.read_csv(f"{prefix}.cis_qtl.txt.gz", sep="\t").sort_values("qval").iloc[0]
    assert page.rows[1][:4] == [best["phenotype_id"], best["variant_id"], "1", "20001"]


def test_a_report_opens_in_a_browser_without_a_word_on_its_console(prefix):
    pytest.importorskip("jinja2")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    run("report", prefix)
    # The button of the best column is pressed, and the tables are filtered.
    page = prefix.with_name("run.report.html")
    pressed = prefix.with_name("pressed.html")
    script = """<script>
      document.querySelectorAll("th button")[0].click();
      const filter = document.querySelector(".filter input");
      filter.value = "n<41 rs"; filter.dispatchEvent(new Event("input"));
    </script></body>"""
    pressed.write_text(page.read_text().replace("</body>", script))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", pressed.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    assert 'aria-sort="ascending"' in done.stdout
    assert "2 of 2 rows shown;" in done.stdout


def test_a_report_of_heritabilities(tmp_path):
    pytest.importorskip("jinja2")
    cohort = lmm.simulate_cohort(n=40, m=3, seed=2)
    Y = np.column_stack([cohort.pheno[:, :2], np.ones(40)])
    fits = lmm.fit_traits(cohort.kinship, pd.DataFrame(Y, columns=["<b>", "b", "flat"]))
    write_table(fits.to_pandas(), tmp_path / "fits.tsv")
    outcome = run("report", "fits.tsv", "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    text = (tmp_path / "fits.report.html").read_text()
    assert "<b>" not in text
    assert f"1 trait: {fits.reasons[2]}" in text.replace("&#39;", "'")
    write_table(pd.DataFrame({"hsq": [0.5]}, index=["a"]), tmp_path / "other.tsv")
    other = run("report", tmp_path / "other.tsv")
    assert other.exit_code == 2
    assert "other.tsv has no column n and no lrt" in other.output
    absent = run("report", tmp_path / "absent")
    assert absent.exit_code == 2
    assert "no finished run of map with this prefix, and no table" in absent.output


def test_fine_mapping_is_drawn_below_p_values_where_there_are_some(prefix):
    upper = plot_run(prefix, "cis_susie", "a")["locus"]
    lower = upper.get_figure(root=True).axes[1]
    assert upper.get_title(loc="left") == "run, cis_susie: a, chromosome 1"
    assert lower.get_ylabel() == "probability of an effect (PIP)"
    label = lower.get_legend().get_texts()[0].get_text()
    assert re.fullmatch(r"set 1 \(\d+ variants?\)", label)
    lost = run("plot", prefix, "--mode", "cis_susie", "--feature", "z")
    assert "no credible set of the feature 'z'" in lost.output


def test_what_is_above_the_line_of_cis_is_significant(prefix):
    best = pd.read_csv(f"{prefix}.cis_qtl.txt.gz", sep="\t")
    axes = plot_run(prefix, "cis")["manhattan"]
    significant = -np.log10(best["pval_beta"][best["qval"] <= 0.05])
    assert 0 < significant.size < len(best)
    np.testing.assert_allclose(dashed(axes), significant.min())


def test_best_pairs_of_an_interaction_have_no_locus(small, tmp_path):
    bed = pd.read_csv(small / "y.bed", sep="\t")
    term = pd.Series(np.random.default_rng(1).standard_normal(40), bed.columns[4:], name="e")
    term.to_csv(tmp_path / "e.tsv", sep="\t", header=False)
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", "none"]
    options = ["--mode", "cis_nominal", "--interaction", tmp_path / "e.tsv", "--best-only"]
    assert run("map", *files, *options).exit_code == 0
    written = sorted(path.name for path in tmp_path.glob("run.*"))
    assert written == ["run.cis_nominal.summary.json", "run.cis_qtl_top_assoc.txt.gz"]
    (axes,) = plot_run(tmp_path / "run", "cis_nominal").values()
    assert axes.get_title(loc="left") == "run, cis_nominal: best pairs of 2 features"
    lost = run("plot", tmp_path / "run", "--mode", "cis_nominal", "--feature", "a")
    assert "has only the best pair of each feature" in lost.output


def test_a_file_of_another_run_is_refused(prefix, tmp_path):
    for path in prefix.parent.glob("run.cis*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "run.cis_qtl.txt.gz").write_bytes(b"other")
    refused = run("plot", tmp_path / "run")
    assert refused.exit_code == 2
    assert "is not as this run has left it" in refused.output
    (tmp_path / "run.cis_qtl.txt.gz").unlink()
    assert "this file of the run is gone" in run("plot", tmp_path / "run").output


def test_credible_sets_that_cannot_be_drawn():
    position = [10.0, 20.0]
    assert_refused(
        plot_credible_sets,
        {"pip": [0.5, 1.5], "position": position, "credible_set": [0, 1]},
        r"pip has values outside 0 to 1 \(1\), such as 1.5",
    )
    axes = plot_credible_sets([0.5, 0.2], position, [0, 0])
    assert axes.get_legend() is None
