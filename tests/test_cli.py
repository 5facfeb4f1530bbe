import errno
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from genotype_files import SAMPLES, example_dosages, example_variants, write_plink1
from typer.testing import CliRunner

import lmmlite_jax as lmm
from lmmlite_jax import __main__, cli
from lmmlite_jax.data import read_kinship, read_loco_kinship, simulate_cohort, write_table

COHORT = simulate_cohort(60, 5, seed=3).to_pandas()


@pytest.fixture
def files(tmp_path):
    """Write the cohort's three tables, and return the options that name them."""
    options = []
    for name in ("pheno", "kinship", "covar"):
        write_table(getattr(COHORT, name), tmp_path / f"{name}.tsv")
        options += [f"--{name}", str(tmp_path / f"{name}.tsv")]
    return options


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def results_of(stdout):
    return pd.read_csv(io.StringIO(stdout), sep="\t", index_col=0, keep_default_na=False)


def test_herit_writes_what_fit_traits_says(files, tmp_path):
    outcome = run("herit", *files, "--out", tmp_path / "fits.parquet")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == ""
    assert "60 samples matched" in outcome.stderr
    assert "all 5 traits fitted" in outcome.stderr
    fits = pd.read_parquet(tmp_path / "fits.parquet")
    expected = lmm.fit_traits(COHORT.kinship, COHORT.pheno, COHORT.covar)
    assert tuple(fits.index) == COHORT.phenotypes
    np.testing.assert_allclose(fits["hsq"], expected.hsq, atol=1e-6)
    np.testing.assert_allclose(fits["beta_sex"], expected.beta[1], rtol=1e-5)
    assert "hsq_se" not in fits


def test_results_alone_go_to_stdout_and_reports_to_stderr(files):
    outcome = run("herit", *files)
    fits = results_of(outcome.stdout)
    assert list(fits.index) == list(COHORT.phenotypes)
    assert "matched" in outcome.stderr


def test_quiet_reports_nothing(files):
    outcome = run("herit", *files, "--quiet")
    assert outcome.exit_code == 0
    assert outcome.stderr == ""
    assert len(results_of(outcome.stdout)) == 5


def test_ml_and_standard_errors_are_options(files):
    fits = results_of(run("herit", *files, "--ml", "--se").stdout)
    expected = lmm.fit_traits(COHORT.kinship, COHORT.pheno, COHORT.covar, reml=False)
    np.testing.assert_allclose(fits["loglik"], expected.loglik, rtol=1e-8)
    assert "hsq_se" in fits


def test_intervals_are_an_option(files):
    fits = results_of(run("herit", *files, "--interval", "0.9").stdout)
    expected = lmm.fit_traits(COHORT.kinship, COHORT.pheno, COHORT.covar, interval=0.9)
    np.testing.assert_allclose(fits["hsq_low"], expected.hsq_low, atol=1e-8)
    assert "lrt_pvalue_simulated" in fits


def test_a_simulated_pvalue_is_an_option(files):
    fits = results_of(run("herit", *files, "--simulate-pvalue").stdout)
    expected = lmm.fit_traits(
        COHORT.kinship, COHORT.pheno, COHORT.covar, simulate_pvalue=True
    ).lrt_pvalue_simulated
    np.testing.assert_allclose(fits["lrt_pvalue_simulated"], expected)
    assert "hsq_low" not in fits


def test_without_covariates_the_model_is_an_intercept(files):
    fits = results_of(run("herit", *files[:4]).stdout)
    assert [name for name in fits if name.startswith("beta_")] == ["beta_intercept"]


def test_an_intercept_is_added_where_no_covariate_is_constant(files, tmp_path):
    with_intercept = results_of(run("herit", *files).stdout)
    write_table(COHORT.covar[["sex", "age"]], tmp_path / "covar.tsv")
    pd.testing.assert_frame_equal(
        results_of(run("herit", *files).stdout), with_intercept, rtol=1e-9
    )


def test_an_intercept_that_varies_is_refused(files, tmp_path):
    write_table(COHORT.covar[["age"]].set_axis(["intercept"], axis=1), tmp_path / "covar.tsv")
    outcome = run("herit", *files)
    assert outcome.exit_code == 2
    assert "covariate 'intercept' is not constant" in outcome.stderr


def test_samples_in_another_order_give_the_same_fits(files, tmp_path):
    ordered = results_of(run("herit", *files).stdout)
    write_table(COHORT.pheno.iloc[::-1], tmp_path / "pheno.tsv")
    shuffled = results_of(run("herit", *files).stdout)
    pd.testing.assert_frame_equal(shuffled, ordered, rtol=1e-5, atol=1e-6)


def test_samples_left_out_are_reported(files, tmp_path):
    write_table(COHORT.pheno.iloc[:50], tmp_path / "pheno.tsv")
    outcome = run("herit", *files)
    assert "50 samples matched" in outcome.stderr
    assert "kinship: 10 not in the phenotypes" in outcome.stderr
    assert (results_of(outcome.stdout)["n"] == 50).all()


def test_phenotypes_are_read_whichever_way_round(files, tmp_path):
    expected = results_of(run("herit", *files).stdout)
    turned = COHORT.pheno.T.rename_axis("trait").rename_axis(None, axis=1)
    write_table(turned, tmp_path / "pheno.tsv")
    outcome = run("herit", *files)
    assert "pheno.tsv: its columns are samples, and are taken as rows" in outcome.stderr
    pd.testing.assert_frame_equal(results_of(outcome.stdout), expected)


def test_a_map_of_samples_goes_from_phenotypes_to_kinship(files, tmp_path):
    expected = results_of(run("herit", *files).stdout)
    write_table(COHORT.pheno.add_prefix("rna_", axis=0), tmp_path / "pheno.tsv")
    pairs = [f"{sample}\trna_{sample}\n" for sample in COHORT.pheno.index]
    (tmp_path / "map.tsv").write_text("".join(pairs))
    outcome = run("herit", *files, "--samples-map", tmp_path / "map.tsv")
    assert "60 samples matched" in outcome.stderr
    pd.testing.assert_frame_equal(results_of(outcome.stdout), expected)


def test_the_kinship_may_come_from_genotypes(tmp_path):
    calls, variants = example_dosages(), example_variants()
    write_plink1(tmp_path / "g", calls, variants)
    traits = np.random.default_rng(3).normal(size=(11, 5))
    pheno = pd.DataFrame(traits, SAMPLES, list("abcde")).iloc[1:]
    sites = pd.DataFrame({"site": [*"ABABABABABA"]}, SAMPLES)
    for name, table in (("pheno", pheno), ("covar", sites)):
        table.rename_axis("id").to_csv(tmp_path / f"{name}.csv")
    files = ["--pheno", tmp_path / "pheno.csv", "--covar", tmp_path / "covar.csv"]
    outcome = run("herit", *files, "--kinship", "auto", "--genotypes", tmp_path / "g")
    assert outcome.exit_code == 0, outcome.stderr
    assert "genotypes: 1 not in the phenotypes (s1)" in outcome.stderr
    fits = results_of(outcome.stdout)
    X = np.column_stack([np.ones(10), sites["site"].iloc[1:] == "B"])
    expected = lmm.fit_traits(lmm.kinship(calls[1:]), pheno.to_numpy(), X)
    np.testing.assert_allclose(fits["hsq"], expected.hsq, atol=1e-6)
    assert "beta_site_B" in fits
    lacking = run("herit", *files, "--kinship", "auto")
    assert lacking.exit_code == 2
    assert "give --kinship auto and --genotypes together" in lacking.stderr


def test_traits_that_cannot_be_fitted_are_counted_with_their_reason(files, tmp_path):
    pheno = COHORT.pheno.copy()
    pheno["trait0002"] = 1.0
    pheno["trait0004"] = np.nan
    write_table(pheno, tmp_path / "pheno.tsv")
    outcome = run("herit", *files)
    assert outcome.exit_code == 0
    assert "2 of 5 traits without a regular fit" in outcome.stderr
    assert "(trait0002)" in outcome.stderr
    assert "(trait0004)" in outcome.stderr
    fits = results_of(outcome.stdout)
    assert fits.loc["trait0002", "hsq"] == "NA"
    assert fits.loc["trait0002", "reason"] != ""


def test_negative_kinship_is_refused_unless_clipped(files, tmp_path):
    kinship = COHORT.kinship - 0.5 * np.eye(60)
    write_table(kinship, tmp_path / "kinship.tsv")
    outcome = run("herit", *files)
    assert outcome.exit_code == 2
    assert "give --clip-kinship to set negative eigenvalues to zero" in outcome.stderr
    assert run("herit", *files, "--clip-kinship").exit_code == 0


def test_bad_input_is_one_sentence_and_status_2(files, tmp_path):
    cases = {
        "no such file": ["herit", "--pheno", tmp_path / "none.csv", *files[2:]],
        "ends in .csv": ["herit", *files, "--out", tmp_path / "fits.xlsx"],
        "there is no folder": ["herit", *files, "--out", tmp_path / "nowhere" / "fits.tsv"],
    }
    for message, arguments in cases.items():
        outcome = run(*arguments)
        assert outcome.exit_code == 2
        assert message in outcome.stderr
        assert outcome.stderr.startswith("Error: ")
        assert outcome.stderr.count("\n") == 1
        assert outcome.stdout == ""


def test_options_out_of_range_are_refused_before_anything_is_read(tmp_path):
    files = ["--pheno", tmp_path / "none.csv", "--kinship", tmp_path / "none.csv"]
    cases = {
        "interval must be at least 0.5 and at most 0.999, got 1.0": ["herit", "--interval", 1],
        "restricted likelihood-ratio test": ["herit", "--interval", 0.9, "--ml"],
        "seed must be at least 0, got -1": ["demo", "--out", tmp_path / "demo", "--seed", -1],
        "--feature is for the modes cis_nominal, cis_susie, trans_susie, not for cis": [
            "plot",
            tmp_path,
            "--feature",
            "g",
        ],
    }
    for message, (name, *arguments) in cases.items():
        outcome = run(name, *arguments, *(files if name == "herit" else []))
        assert outcome.exit_code == 2
        assert outcome.stderr.startswith("Error: ")
        assert message in outcome.stderr
    assert list(tmp_path.iterdir()) == []
    assert run("plot", tmp_path / "run", "--suffix", "gif").exit_code == 2


def _collinear(folder):
    twice = COHORT.covar.assign(years=2 * COHORT.covar["age"])
    write_table(twice, folder / "twice.tsv")
    files = ["--pheno", folder / "pheno.tsv", "--kinship", folder / "kinship.tsv"]
    return ["herit", *files, "--covar", folder / "twice.tsv"]


def _one_chromosome(folder):
    variants = example_variants().assign(chrom="7")
    write_plink1(folder / "one", example_dosages(), variants)
    return ["kinship", folder / "one", "--loco", "--out", folder / "k.npz"]


def _no_launcher(folder):
    files = [folder / "g", folder / "pheno.tsv", folder / "run"]
    return ["map", *files, "--kinship", "none", "--distributed"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            _collinear,
            "The covariates are collinear: 'years' is a linear combination of those before it; "
            "leave it out.",
        ),
        (
            _one_chromosome,
            "No variant varies outside chromosome '7': give genotypes of several chromosomes, or "
            "compute one kinship of all variants.",
        ),
        (_no_launcher, "give --num-processes and --process-id."),
    ],
)
def test_messages_say_what_a_command_can_do(files, tmp_path, arguments, sentence):
    outcome = run(*arguments(tmp_path))
    assert outcome.exit_code == 2
    assert outcome.stderr.splitlines()[-1].endswith(sentence)


def test_modes_are_spelled_with_underscores_and_hyphens_are_taken(tmp_path):
    for command in ("map", "plot"):
        said = run(command, "--help").output
        assert "cis-nominal" not in said
        assert "cis_nominal" in said
    lost = run("plot", tmp_path / "run", "--mode", "cis-nominal")
    assert "there is no finished run of the mode cis_nominal" in lost.stderr
    unknown = run("plot", tmp_path / "run", "--mode", "cys")
    assert unknown.exit_code == 2
    assert "'cys' is not one of cis, cis_nominal, " in unknown.stderr.replace("\n", " ")


def test_missing_options_are_a_usage_error():
    outcome = run("herit")
    assert outcome.exit_code == 2
    assert "--pheno" in outcome.stderr


def test_kinship_of_a_genotype_file_is_written_with_its_samples(tmp_path):
    calls, variants = example_dosages(), example_variants()
    write_plink1(tmp_path / "g", calls, variants.rename({"rs0": "."}), space=" ", end="\r\n")
    outcome = run("kinship", tmp_path / "g", "--out", tmp_path / "k.tsv", "--method", "centered")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == ""
    assert "11 samples, 23 variants" in outcome.stderr
    assert "1 variant without an id is named chrom_pos_a0_a1" in outcome.stderr
    found = read_kinship(tmp_path / "k.tsv")
    assert tuple(found.index) == SAMPLES
    np.testing.assert_allclose(found, lmm.kinship(calls, "centered"), atol=1e-13)


def test_kinships_without_one_chromosome_each_go_into_one_file(tmp_path):
    calls, variants = example_dosages(), example_variants()
    write_plink1(tmp_path / "g", calls, variants)
    arguments = ["kinship", tmp_path / "g.bed", "--loco", "--out"]
    outcome = run(*arguments, tmp_path / "k.npz", "--quiet")
    assert outcome.exit_code == 0
    assert outcome.stderr == outcome.stdout == ""
    found = read_loco_kinship(tmp_path / "k.npz")
    expected = lmm.kinship(calls, chromosome=variants["chrom"], loco=True)
    assert list(found) == list(expected)
    np.testing.assert_allclose(found["2"], expected["2"], atol=1e-13)
    outcome = run(*arguments, tmp_path / "k.tsv")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("Error: ")


def test_kinship_of_a_damaged_file_is_one_sentence_and_leaves_nothing(tmp_path):
    write_plink1(tmp_path / "g", example_dosages(), example_variants())
    bed = tmp_path / "g.bed"
    bed.write_bytes(bed.read_bytes()[:-5])
    outcome = run("kinship", bed, "--out", tmp_path / "k.npz")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith(f"Error: {bed} should hold 11 samples (g.fam)")
    assert len(outcome.stderr.splitlines()) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bed", ".bim", ".fam"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_plink1(tmp_path / "g", example_dosages(), example_variants())
    (tmp_path / "out").mkdir()

    def fill(stream, **arrays):
        stream.write(b"half a file")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", fill)
    outcome = run("kinship", tmp_path / "g", "--out", tmp_path / "out" / "k.npz")
    assert outcome.exit_code == 2
    assert "No space left on device" in outcome.stderr.splitlines()[-1]
    assert "k.npz" in outcome.stderr.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


def test_the_version_is_shown():
    assert run("--version").stdout == f"lmmlite-jax {lmm.__version__}\n"


def test_the_command_can_be_piped_into_one_that_stops_reading(files):
    command = [sys.executable, "-c", "from lmmlite_jax.cli import app; app()", "herit"]
    with subprocess.Popen(
        [*command, *files, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_the_demo_recovers_heritabilities_and_maps_eqtl_with_and_without_kinship(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cli.demo, "_DEMO_INDIVIDUALS", 200)
    monkeypatch.setattr(cli.demo, "_DEMO_TRAITS", 100)
    monkeypatch.setattr(cli.demo, "_DEMO_GENES", 60)
    monkeypatch.setattr(cli.demo, "_DEMO_MARKERS", 40)
    outcome = run("demo", "--out", tmp_path / "demo", "--seed", 1)
    assert outcome.exit_code == 0, outcome.stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "demo_fits.parquet",
        "demo_fits.tsv",
        "eqtl_map.png",
        "eqtl_qq.png",
        "hsq_estimates.png",
        "loglik_profiles.png",
    ]
    summary = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert float(summary["correlation"].split()[0]) > 0.8
    assert summary["individuals"] == "200 in families"
    assert "all 100 traits fitted" in outcome.stdout
    assert summary["eQTL"].startswith("60 genes × 200 markers, mapped twice in ")
    inflation = {key: float(summary[key].split()[3].rstrip(",")) for key in ("with", "without")}
    assert 0.9 < inflation["with"] < 1.1 < inflation["without"]
    assert summary["your"].startswith("own files   lmmlite-jax map GENOTYPES EXPRESSION.bed PREFIX")
    assert len(pd.read_parquet(tmp_path / "demo" / "demo_fits.parquet")) == 100


def test_a_demo_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    outcome = run("demo", "--out", tmp_path / "taken")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("flags", "jaxlib", "then"),
    [
        (None, "0.10.2", "--xla_cpu_use_fusion_emitters=false"),
        (None, "0.11.0", None),  # it may not know the flag, and end the process
        ("--xla_cpu_max_isa=AVX2", "0.10.2", "--xla_cpu_max_isa=AVX2"),
        ("", "0.10.2", ""),
    ],
)
def test_programs_compile_soon_unless_the_user_has_flags_of_xla(flags, jaxlib, then, monkeypatch):
    monkeypatch.setattr(__main__, "version", lambda _: jaxlib)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if flags is not None:
        monkeypatch.setenv("XLA_FLAGS", flags)
    __main__.start_soon()
    assert os.environ.get("XLA_FLAGS") == then


def test_help_does_not_wait_for_jax():
    code = "import sys; from lmmlite_jax.__main__ import main\ntry: main()\n"
    code += "except SystemExit: sys.exit('jax' in sys.modules or 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "herit" in done.stdout


@pytest.mark.parametrize(
    ("app", "status", "said"),
    [("sys.exit(3)", 3, ""), ("sys.exit('why')", 1, "why"), ("1 / 0", 1, "ZeroDivisionError")],
)
def test_process_ends_after_all_is_written_and_what_imports_registered(app, status, said):
    code = "import atexit, sys\nfrom lmmlite_jax import __main__, cli\n"
    code += f"cli.app = lambda: (atexit.register(print, 'closed'), print('written'), {app})\n"
    code += "__main__.command()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout == "written\nclosed\n"
    assert said in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="permissions are lists there")
@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_compilation_cache_that_others_may_write_to_is_refused(files, tmp_path, by, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    if by == "variable":
        monkeypatch.setenv("LMMLITE_JAX_COMPILATION_CACHE", str(tmp_path / "cache"))
    option = ["--compilation-cache", tmp_path / "cache"] if by == "option" else []
    outcome = run("herit", *files, *option)
    assert outcome.exit_code == 2
    assert "others may write" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
