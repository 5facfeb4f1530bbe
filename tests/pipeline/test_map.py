"""``lmmlite-jax map`` and ``plot`` from files to files."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
from pictures import dashed
from typer.testing import CliRunner

import lmmlite_jax as lmm
from lmmlite_jax.cli import app
from lmmlite_jax.pipeline import parts
from lmmlite_jax.pipeline.options import RANGES
from lmmlite_jax.plot import plot_run
from lmmlite_jax.plot.results import read_results


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def geuvadis(data_dir, tmp_path_factory):
    """Arguments for the raw files as they are, and the prefix of what is written."""
    folder = data_dir / "geuvadis"
    prefix = tmp_path_factory.mktemp("geuvadis") / "run"
    options = {
        "covariates": "Geuvadis_CEU_YRI_covariates.txt",
        "samples-map": "Geuvadis_CEU_gte.txt",
        "annotation": "Geuvadis_CEU_Annot.txt",
        "kinship": "Geuvadis_chr1_kinship.normalized.txt",
    }
    files = [folder / "Geuvadis", folder / "Geuvadis_CEU_YRI_Expr.txt", prefix]
    return [*files, *(x for k, v in options.items() for x in (f"--{k}", folder / v))], prefix


def test_cis_nominal_of_geuvadis_is_gemmas_where_windows_and_table_meet(geuvadis, oracle_dir):
    arguments, prefix = geuvadis
    options = ["--mode", "cis_nominal", "--variance", "refit", "--asymptotic"]
    said = succeed("map", *arguments, *options)
    assert "90 samples matched" in said
    found = pd.read_parquet(f"{prefix}.cis_qtl_pairs.1.parquet")
    found["phenotype_id"] = found["phenotype_id"].str.split(".").str[0]
    gemma = pd.read_csv(oracle_dir / "geuvadis_gemma_lmm4.csv.gz")
    both = found.merge(gemma, left_on=["phenotype_id", "variant_id"], right_on=["gene", "rs"])
    assert both["gene"].nunique() == 6
    assert len(both) > 1200
    # GEMMA's optimiser stops at these errors.
    np.testing.assert_allclose(both["slope"], both["beta"], rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(both["slope_se"], both["se"], rtol=2e-5)
    np.testing.assert_allclose(both["pval_nominal"], both["p_wald"], rtol=1e-3)


def test_cis_and_trans_of_geuvadis_and_their_pictures(geuvadis):
    arguments, prefix = geuvadis
    said = succeed("map", *arguments, "--permutations", 200)
    assert "features without a variant in their window: " in said
    best = pd.read_csv(f"{prefix}.cis_qtl.txt.gz", sep="\t", index_col=0)
    assert len(best) == 428
    assert best["qval"].between(0, 1).all()
    summary = json.loads(prefix.with_name("run.cis.summary.json").read_text())
    assert summary["samples"]["kept"] == 90
    assert {"lmmlite-jax", "jax", "jaxlib", "numpy", "scipy"} <= summary["versions"].keys()
    assert summary["results"]["significant"] == (best["qval"] <= 0.05).sum()
    said = succeed("map", *arguments, "--mode", "trans", "--pval-threshold", 1e-4)
    assert "5,000,000 base pairs are left out" in said
    pairs = pd.read_parquet(f"{prefix}.trans_qtl_pairs.parquet")
    assert pairs["pval"].max() <= 1e-4
    drawn = succeed("plot", prefix) + succeed("plot", prefix, "--mode", "trans")
    pictures = plot_run(prefix, "trans")
    titles = {name: axes.get_title(loc="left") for name, axes in pictures.items()}
    with_pairs = pairs["phenotype_id"].nunique()
    assert titles["manhattan"] == f"run, trans: {len(pairs)} pairs with p of at most 0.0001"
    assert titles["hsq"] == f"run, trans: {with_pairs} features with a pair of p of at most 0.0001"
    assert dashed(pictures["manhattan"]) == [4.0]
    names = [os.path.basename(line) for line in drawn.split()]
    of_cis = [f"run.cis.{name}.png" for name in ("manhattan", "qq", "hsq")]
    assert names == [
        *of_cis,
        *(f"run.trans.{name}.png" for name in ("manhattan", "eqtl_map", "hsq")),
    ]
    assert all(prefix.with_name(name).stat().st_size > 10_000 for name in names)


def test_recla_from_its_zip_alone(data_dir, tmp_path):
    recla = data_dir / "recla" / "recla.zip"
    limit = ["--pval-threshold", "1e-5", "--kinship", "loco"]
    said = succeed("map", recla, recla, tmp_path / "recla", "--mode", "trans", *limit)
    assert "kinship computed from the genotypes, each chromosome's from all others" in said
    assert "the features have no positions" in said
    assert said.count("recla.zip: its covariates (Sex") == 1
    pairs = pd.read_parquet(tmp_path / "recla.trans_qtl_pairs.parquet")
    assert len(pairs) > 0
    assert pairs["log10p"].min() >= 5


def changed(folder, tmp_path):
    """Copy of the small cohort, to be damaged."""
    copy = tmp_path / "inputs"
    copy.mkdir()
    for path in folder.iterdir():
        if path.suffix in (".bed", ".bim", ".fam", ".csv"):
            (copy / path.name).write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize(
    ("chromosomes", "advice"), [("12", "a kinship loco"), ("1", "from variants on other chrom")]
)
def test_a_kinship_of_the_variants_tested_is_pointed_out(small, tmp_path, chromosomes, advice):
    """Not one of a file, whose variants are not known, nor one that leaves a chromosome out."""
    folder = changed(small, tmp_path)
    bim = [line.split("\t") for line in (folder / "g.bim").read_text().splitlines()]
    halves = [[chromosomes[j // 30 % len(chromosomes)], *line[1:]] for j, line in enumerate(bim)]
    (folder / "g.bim").write_text("\n".join("\t".join(line) for line in halves) + "\n")

    def said(kinship):
        options = ["--kinship", kinship, "--permutations", 20]
        return succeed("map", folder / "g", folder / "y.bed", tmp_path / "run", *options)

    warning = "part of this kinship"
    auto = said("auto")
    assert auto.count(warning) == 1
    assert advice in auto
    assert warning not in said(folder / "kinship.csv")
    if len(chromosomes) > 1:
        assert warning not in said("loco")


def test_the_folder_of_the_results_is_made_and_removed_where_a_run_fails(small, tmp_path):
    folder = tmp_path / "results" / "first"
    arguments = [small / "g", small / "y.bed", "run", "--kinship", "none", "--permutations", 20]
    failed = run("map", *arguments, "--window", 10, "--output-dir", folder)
    assert failed.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    succeed("map", *arguments, "--output-dir", folder)
    assert (folder / "run.cis_qtl.txt.gz").exists()


def test_few_features_are_said_without_advice_for_python(small, tmp_path):
    arguments = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", "none"]
    said = succeed("map", *arguments, "--permutations", 20)
    assert "is above 0.95: q-values are Benjamini and Hochberg's adjusted p-values\n" in said
    assert "pi0" not in said


def test_what_a_newcomer_would_look_for_is_in_the_log(small, tmp_path):
    """A table of phenotypes with samples in rows, a covariate of text, and the allele counted."""
    bed = pd.read_csv(small / "y.bed", sep="\t", index_col="gene_id")
    values = bed.drop(columns=["#chr", "start", "end"])
    values.T.to_csv(tmp_path / "y.csv")
    sex = pd.Series(np.where(np.arange(40) % 2, "male", "female"), values.columns, name="sex")
    sex.to_csv(tmp_path / "sex.csv")
    options = ["--kinship", "none", "--mode", "trans", "--covariates", tmp_path / "sex.csv"]
    said = succeed("map", small / "g", tmp_path / "y.csv", tmp_path / "run", *options)
    assert "dosages are copies of allele 1, the fifth column of the .bim" in said
    assert "y.csv: its rows are samples, and are taken as columns" in said
    assert "y.csv: 3 features, 40 samples" in said
    assert "sex: male against female" in said
    summary = json.loads((tmp_path / "run.trans.summary.json").read_text())
    assert summary["covariates"] == ["intercept", "sex_male"]


def truncate_bed(folder):
    path = folder / "g.bed"
    path.write_bytes(path.read_bytes()[:-20])


def shorten_bim(folder):
    path = folder / "g.bim"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def repeat_sample(folder):
    path = folder / "g.fam"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[:1], *lines[2:]]))


def repeat_gene(folder):
    path = folder / "y.bed"
    path.write_text(path.read_text().replace("\tb\t", "\ta\t"))


def empty_phenotypes(folder):
    (folder / "y.bed").write_text("")


def wrong_delimiter(folder):
    path = folder / "y.bed"
    path.write_text(path.read_text().replace("\t", ","))


def other_samples(folder):
    path = folder / "y.bed"
    header, rest = path.read_text().split("\n", 1)
    names = header.split("\t")
    path.write_text("\t".join([*names[:4], *(f"x{name}" for name in names[4:])]) + "\n" + rest)


def other_chromosomes(folder):
    path = folder / "y.bed"
    path.write_text(path.read_text().replace("chr1\t", "chr8\t"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate_bed, "g.bed"),
        (shorten_bim, "g.bed"),
        (repeat_sample, "sample ids appear more than once"),
        (repeat_gene, "feature ids appear more than once"),
        (empty_phenotypes, "y.bed is empty"),
        (wrong_delimiter, "wrong delimiter"),
        (other_samples, "no sample"),
        (other_chromosomes, "chromosome"),
    ],
)
def test_inputs_that_cannot_be_used_leave_nothing_behind(small, tmp_path, damage, message):
    inputs = changed(small, tmp_path)
    damage(inputs)
    out = tmp_path / "out"
    out.mkdir()
    result = run("map", inputs / "g", inputs / "y.bed", out / "run", "--kinship", "none")
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith("Error: ")
    assert message.lower() in result.output.splitlines()[-1].lower()
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kinship", "absent.csv"], "absent.csv"),
        (
            ["--kinship", "none", "--variance", "refit"],
            "--variance refit is for the modes cis_nominal and trans",
        ),
        (["--kinship", "none", "--asymptotic"], "--asymptotic is for --variance refit alone"),
        (["--kinship", "none", "--mode", "trans_susie"], "give --susie-loci"),
        (
            ["--kinship", "none", "--susie-loci", "y.tsv"],
            "--susie-loci is for the mode trans_susie, not cis",
        ),
        (["--kinship", "none", "--best-only"], "is for an interaction"),
        (
            [
                "--kinship",
                "none",
                *["--mode", "trans", "--interaction", "y.tsv", "--maf-threshold", "0.1"],
            ],
            "give --maf-threshold-interaction",
        ),
        (["--kinship", "none", "--cis-output", "y.tsv"], "for the modes cis_susie and cis_nominal"),
        (
            ["--kinship", "none", "--mode", "trans", "--disable-beta-approx"],
            "is for the mode cis, not trans",
        ),
        (["--kinship", "none", "--window", "10"], "has a variant within 10 base pairs"),
        (["--kinship", "none", "--maf-threshold", "0.5"], "maf_threshold must be"),
        (["--kinship", "none", "-o", "/proc/absent"], "/proc/absent cannot be made ("),
    ],
)
def test_options_that_cannot_be_used_leave_nothing_behind(small, tmp_path, options, message):
    prefix = "run" if "-o" in options else tmp_path / "run"
    result = run("map", small / "g", small / "y.bed", prefix, *options)
    assert result.exit_code == 2
    assert message in result.output.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("fdr", "0", "fdr must be above 0 and below 1, got 0.0."),
        ("fdr", "1", "fdr must be above 0 and below 1, got 1.0."),
        ("fdr", "nan", "fdr must be above 0 and below 1, got nan."),
        ("permutations", "5", "permutations must be at least 20, got 5."),
        ("maf-threshold", "0.5", "maf_threshold must be at least 0 and below 0.5, got 0.5."),
        ("maf-threshold-interaction", "-1", "maf_threshold_interaction must be at least 0 and"),
        ("pval-threshold", "0", "pval_threshold must be above 0 and at most 1, got 0.0."),
        ("qvalue-lambda", "1", "qvalue_lambda must be at least 0 and below 1, got 1.0."),
        ("max-effects", "0", "max_effects must be at least 1, got 0."),
        ("coverage", "1", "coverage must be above 0 and below 1, got 1.0."),
        ("min-abs-corr", "2", "min_abs_corr must be at least 0 and at most 1, got 2.0."),
        ("phenotype-pcs", "-1", "phenotype_pcs must be at least 0, got -1."),
        ("seed", "-1", "seed must be at least 0, got -1."),
        ("window", "-5", "window must be at least 0 and at most 1,000,000,000,000, got -5."),
        ("kinship", "absent.csv", "absent.csv: there is no such file."),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(
    tmp_path, option, value, sentence
):
    (tmp_path / "y.bed").write_text("to be refused if it is read")
    files = [tmp_path / "no genotypes", tmp_path / "y.bed", tmp_path / "run"]
    result = run("map", *files, "--kinship", "none", f"--{option}", value)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {sentence}")
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["y.bed"]


def test_the_help_names_the_ranges(tmp_path):
    said = " ".join(run("map", "--help").output.replace("│", " ").split())
    for name in ("fdr", "permutations", "maf_threshold", "pval_threshold", "seed"):
        assert f"; {RANGES[name]}." in said, name


@pytest.mark.skipif(not os.path.isdir("/sys"), reason="no folder that not even root can write to")
def test_a_folder_that_cannot_be_written_to(small):
    result = run("map", small / "g", small / "y.bed", "/sys/run", "--kinship", "none")
    assert result.exit_code == 2
    assert "/sys/run.cis.lock cannot be made" in result.output.splitlines()[-1]


def test_genes_without_variants_and_variants_without_calls_are_said(small, tmp_path):
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    said = succeed("map", *files, "--mode", "cis_nominal")
    assert "features without a variant in their window: 1 (elsewhere)" in said
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    assert sorted(pairs["phenotype_id"].unique()) == ["a", "b"]
    lost = pairs["variant_id"] == "rs7"
    assert lost.sum() == 2
    assert pairs.loc[lost, "pval_nominal"].isna().all()
    assert pairs.loc[~lost, "pval_nominal"].notna().all()
    assert pairs.loc[pairs["pval_nominal"].idxmin(), "variant_id"] == "rs20"
    drawn = succeed("plot", tmp_path / "run", "--mode", "cis_nominal", "--feature", "b")
    assert "run.cis_nominal.locus.png" in drawn
    lost = run("plot", tmp_path / "run", "--mode", "cis_nominal", "--feature", "z")
    assert lost.exit_code == 2
    assert "no pair of the feature 'z'" in lost.output
    never = run("plot", tmp_path / "run", "--mode", "trans")
    assert never.exit_code == 2
    assert "there is no finished run of the mode trans" in never.output


def test_a_constant_feature_has_its_reason_where_its_pairs_are_missing(small, tmp_path):
    bed = pd.read_csv(small / "y.bed", sep="\t")
    bed.iloc[bed.index[bed["gene_id"] == "b"], 4:] = 3.0
    bed.to_csv(tmp_path / "y.bed", sep="\t", index=False)
    files = [small / "g", tmp_path / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    said = succeed("map", *files, "--mode", "cis_nominal")
    assert "1 feature: the trait is constant, or a linear combination of the covariates (b)" in said
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    assert pairs.loc[pairs["phenotype_id"] == "b", "pval_nominal"].isna().all()


SUSIE_FILES = ["features.txt.gz", "lbf.1.parquet", "sets.txt.gz", "summary.parquet"]


def test_fine_mapping_near_features_is_that_of_arrays(small, tmp_path):
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    said = succeed("map", *files, "--mode", "cis_susie", "--max-effects", 3, "--min-abs-corr", 0.2)
    assert "1 credible set of 1 of 3 features" in said
    prefix = tmp_path / "run.SuSiE"
    members = pd.read_parquet(f"{prefix}_summary.parquet")
    assert list(members.columns) == ["phenotype_id", "variant_id", "pip", "af", "cs_id"]
    bed = pd.read_csv(small / "y.bed", sep="\t")
    K = pd.read_csv(small / "kinship.csv", index_col=0)
    values = bed.set_index("gene_id")[K.index].T
    with lmm.data.open_genotypes(small / "g") as file:
        G = file.read(np.arange(60), np.arange(40)).astype(float)
    windows = np.array([[0, 60], [0, 60], [0, 0]])
    options = {"max_effects": 3, "min_abs_corr": 0.2}
    expected = lmm.map_cis_susie(lmm.NullModel(K, values), G, windows, **options).to_pandas()
    np.testing.assert_allclose(members["pip"], expected["pip"], atol=1e-9)
    np.testing.assert_allclose(members["af"], expected["af"], atol=1e-9)
    lbf = pd.read_parquet(f"{prefix}_lbf.1.parquet")
    assert list(lbf.columns) == ["phenotype_id", "variant_id", "cs_id", "pip", "posterior", "lbf"]
    assert lbf.loc[lbf["lbf"].idxmax(), "variant_id"] == "rs20"
    assert len(lbf) == 59  # one variant has no call
    (sets,) = pd.read_csv(f"{prefix}_sets.txt.gz", sep="\t").to_dict("records")
    assert (sets["phenotype_id"], sets["variant_id"], sets["size"]) == ("a", "rs20", len(members))
    features = pd.read_csv(f"{prefix}_features.txt.gz", sep="\t", index_col=0)
    assert features["sets"].to_dict() == {"a": 1, "b": 0, "elsewhere": 0}
    assert features.loc["elsewhere", "reason"] == "no variant in the window"


def test_fine_mapping_of_loci_has_those_of_a_feature_apart(small, tmp_path):
    loci = tmp_path / "loci.tsv"
    loci.write_text("phenotype_id\tchr\tpos\na\tchr1\t50000\na\tchr1\t20000\nz\tchr1\t1\n")
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    options = ["--mode", "trans_susie", "--susie-loci", loci, "--window", 8000]
    said = succeed("map", *files, *options)
    assert "1 locus is of a feature without a phenotype and left out (z)" in said
    members = pd.read_parquet(tmp_path / "run.SuSiE_summary.parquet")
    assert list(members.columns[:4]) == ["phenotype_id", "locus", "locus_id", "variant_id"]
    assert {*members["locus_id"]} == {"a_2"}
    assert "rs20" in {*members["variant_id"]}
    features = pd.read_csv(tmp_path / "run.SuSiE_features.txt.gz", sep="\t")
    assert list(features["locus"]) == [1, 2]
    assert list(features["num_var"]) == [16, 16]
    summary = json.loads((tmp_path / "run.trans_susie.summary.json").read_text())
    assert any(one["path"].endswith("loci.tsv") for one in summary["inputs"])


@pytest.fixture(scope="module")
def best(small, tmp_path_factory):
    """What the mode cis writes of the small cohort, by permutations alone or not."""
    folder = tmp_path_factory.mktemp("best")
    files = [small / "g", small / "y.bed"]
    options = ["--kinship", small / "kinship.csv", "--permutations", 40, "--qvalue-lambda", 0.0]
    said = succeed("map", *files, folder / "usual", *options)
    assert "Benjamini" not in said
    succeed("map", *files, folder / "alone", *options, "--disable-beta-approx")
    return folder


def test_permutations_alone_decide_where_they_should(best):
    usual, alone = (
        pd.read_csv(best / f"{name}.cis_qtl.txt.gz", sep="\t", index_col=0)
        for name in ("usual", "alone")
    )
    assert list(alone.columns) == [c for c in usual if c != "pval_nominal_threshold"]
    approximated = ["pval_beta", "beta_shape1", "beta_shape2", "true_df", "pval_true_df"]
    assert alone[approximated].isna().all(axis=None)
    pd.testing.assert_series_equal(alone["pval_perm"], usual["pval_perm"])
    # With λ = 0 all null hypotheses may be true.
    for table, column in ((usual, "pval_beta"), (alone, "pval_perm")):
        np.testing.assert_allclose(table["qval"], lmm.q_values(table[column], 1).qvalue, rtol=1e-5)


def test_modes_go_on_from_what_cis_has_written(small, best, tmp_path):
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    output = ["--cis-output", best / "usual.cis_qtl.txt.gz"]
    succeed("map", *files, "--mode", "cis_nominal", *output)
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    found = pd.read_parquet(tmp_path / "run.cis_qtl.signif_pairs.parquet")
    table = pd.read_csv(output[1], sep="\t", index_col=0)
    limit = pairs["phenotype_id"].map(table["pval_nominal_threshold"])
    significant = pairs["phenotype_id"].map(table["qval"] <= 0.05)
    expected = pairs[significant & (pairs["pval_nominal"] < limit)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[list(pairs)], expected)
    assert list(found)[len(list(pairs)) :] == [
        "pval_nominal_threshold",
        "min_pval_nominal",
        "pval_beta",
    ]
    said = succeed("map", *files, "--mode", "cis_susie", *output)
    assert "1 of 3 features are significant, and are fine-mapped" in said
    features = pd.read_csv(tmp_path / "run.SuSiE_features.txt.gz", sep="\t", index_col=0)
    assert features.loc["b", "reason"] == "not significant in the cis output"
    refused = run("map", *files, "--mode", "cis_susie", "--cis-output", small / "kinship.csv")
    assert refused.exit_code == 2
    assert "has no column phenotype_id" in refused.output


def test_phenotypes_are_prepared_as_arrays_are(small, tmp_path):
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    files += ["--mode", "cis_nominal", "--normalize", "inverse-normal"]
    said = succeed("map", *files, "--phenotype-pcs", 1)
    assert "phenotypes are brought to normal quantiles by their ranks" in said
    assert "1 principal component of the phenotypes is a covariate, with " in said
    summary = json.loads((tmp_path / "run.cis_nominal.summary.json").read_text())
    assert summary["covariates"] == ["intercept", "phenotype_pc1"]
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    with lmm.data.open_genotypes(small / "g") as file:
        G = file.read(np.arange(60), np.arange(40)).astype(float)
    K = pd.read_csv(small / "kinship.csv", index_col=0)
    Y = lmm.inverse_normal(
        pd.read_csv(small / "y.bed", sep="\t").set_index("gene_id")[K.index].T.to_numpy()
    )
    X = np.column_stack([np.ones(40), lmm.phenotype_components(Y, 1).values])
    null = lmm.NullModel(K.to_numpy(), Y[:, :2], X)
    (expected,) = lmm.map_cis_nominal(null, G, np.array([[0, 60], [0, 60]]))
    by_gene = pairs.set_index("phenotype_id")["slope"]
    np.testing.assert_allclose(by_gene.loc["a"], expected.slope[expected.gene == 0], rtol=1e-6)
    refused = run("map", *files, "--phenotype-pcs", 4)
    assert "--phenotype-pcs can be 1 to 3 for 3 features of 40 samples" in refused.output


def test_groups_of_features_in_every_mode_that_has_them(small, tmp_path):
    (tmp_path / "groups.tsv").write_text("a\tA\nb\tA\nelsewhere\tB\n")
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    files += ["--permutations", 40, "--phenotype-groups", tmp_path / "groups.tsv"]
    options = ["--mode", "cis_independent", "--qvalue-lambda", 0.0, "--conditional-pairs"]
    said = succeed("map", *files, *options)
    assert "groups.tsv: 3 features in 2 groups" in said
    assert "1 independent signal of 1 group" in said
    best = pd.read_csv(tmp_path / "run.cis_qtl.txt.gz", sep="\t", index_col=0)
    assert best.index.tolist() == ["a"]
    assert best[["group_id", "group_size"]].to_numpy().tolist() == [["A", 2]]
    assert "qval" in list(best)[list(best).index("group_size") + 1]
    signals = pd.read_csv(tmp_path / "run.cis_independent_qtl.txt.gz", sep="\t")
    assert signals["group_id"].tolist() == ["A"]
    given = pd.read_parquet(tmp_path / "run.cis_independent_pairs.1.parquet")
    assert len(given) == 60
    assert {*given["phenotype_id"]} == {"a"}
    assert given[["signal_id", "rank"]].drop_duplicates().to_numpy().tolist() == [["rs20", 1]]
    np.testing.assert_allclose(given["slope"].iloc[20], best.loc["a", "slope"], rtol=1e-5)
    best["pval_nominal_threshold"] = 1e-4
    best.to_csv(tmp_path / "cis.tsv", sep="\t")
    output = ["--cis-output", tmp_path / "cis.tsv"]
    succeed("map", *files, "--mode", "cis_nominal", *output)
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl.signif_pairs.parquet")
    assert list(pairs)[:3] == ["phenotype_id", "group_id", "variant_id"]
    assert {*pairs["group_id"]} == {"A"}
    assert (pairs["pval_nominal"] < 1e-4).all()
    said = succeed("map", *files, "--mode", "cis_susie", *output)
    assert "2 of 3 features are significant, and are fine-mapped" in said
    (tmp_path / "groups.tsv").write_text("a\tA\nb\tA\n")
    refused = run("map", *files)
    assert refused.exit_code == 2
    assert "groups.tsv: 1 feature has no group (elsewhere)" in refused.output
    refused = run("map", *files, "--mode", "trans")
    assert "--phenotype-groups is for the modes cis and cis_independent" in refused.output


def test_trans_with_permutations_has_the_best_of_each_feature(small, tmp_path):
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    files += ["--mode", "trans", "--window", 5000]
    options = ["--trans-permutations", 40, "--pval-threshold", 0.5, "--qvalue-lambda", 0.0]
    said = succeed("map", *files, *options)
    assert "of 3 features at a false discovery rate of 0.05" in said
    best = pd.read_csv(tmp_path / "run.trans_qtl.txt.gz", sep="\t", index_col=0)
    assert best.index.tolist() == ["a", "b", "elsewhere"]
    assert {"qval", "pval_nominal_threshold", "pval_perm"} <= {*best}
    pairs = pd.read_parquet(tmp_path / "run.trans_qtl_pairs.parquet")
    top = pairs.loc[pairs.groupby("phenotype_id")["pval"].idxmin()].set_index("phenotype_id")
    assert best["variant_id"].tolist() == top["variant_id"].tolist()
    np.testing.assert_allclose(best["pval_nominal"], top["pval"], rtol=1e-5)
    # The best pair's p-value among all variants is the feature's.
    np.testing.assert_allclose(best["pval_beta"], top["pval_beta"], rtol=1e-4)
    np.testing.assert_allclose(best["qval"], top["qval"], rtol=1e-5)
    assert best.loc["elsewhere", "num_var"] == 59  # of 60 variants one has no call
    refused = run("map", *files, "--trans-permutations", 40, "--variance", "refit")
    assert "--trans-permutations is for the mode trans, without --variance" in refused.output


def test_interactions_in_trans_are_those_of_the_pairs_near_and_beyond(small, tmp_path):
    bed = pd.read_csv(small / "y.bed", sep="\t")
    term = pd.Series(np.random.default_rng(1).standard_normal(40), bed.columns[4:], name="e")
    term.to_csv(tmp_path / "e.tsv", sep="\t", header=False)
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    files += ["--interaction", tmp_path / "e.tsv"]
    succeed("map", *files, "--mode", "cis_nominal", "--window", 100_000)
    succeed("map", *files, "--mode", "trans", "--window", 0, "--pval-threshold", 0.05)
    near = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    far = pd.read_parquet(tmp_path / "run.trans_qtl_pairs.parquet")
    tensorqtl = ["variant_id", "phenotype_id", "pval_g", "pval_i", "pval_gi", "af"]
    assert list(far)[:6] == tensorqtl
    key = ["variant_id", "phenotype_id"]
    both = far.merge(near[near["pval_gi"] <= 0.05], on=key, suffixes=("", "_near"))
    assert {*both["phenotype_id"]} == {"a", "b"}
    assert len(both) == (far["phenotype_id"] != "elsewhere").sum() < len(far)
    for name in tensorqtl[2:]:
        np.testing.assert_allclose(both[name], both[f"{name}_near"], rtol=1e-9)
    succeed("plot", tmp_path / "run", "--mode", "trans")
    refused = run("map", *files, "--mode", "trans", "--trans-permutations", 20)
    assert "--trans-permutations is for pairs without an interaction" in refused.output


def test_a_paired_covariate_is_one_more_for_its_feature_alone(small, tmp_path):
    samples = pd.read_csv(small / "y.bed", sep="\t").columns[4:]
    own = pd.DataFrame(np.random.default_rng(1).standard_normal((1, 40)), ["a"], samples)
    own = own.drop(columns=samples[3])
    own.rename_axis("id").to_csv(tmp_path / "own.tsv", sep="\t")
    files = [small / "g", small / "y.bed"]
    options = ["--kinship", small / "kinship.csv", "--mode", "cis_nominal"]
    found = {}
    for name in ("paired-covariate", "covariates"):
        line = succeed("map", *files, tmp_path / name, *options, f"--{name}", tmp_path / "own.tsv")
        found[name] = pd.read_parquet(tmp_path / f"{name}.cis_qtl_pairs.1.parquet")
        assert ("1 phenotype is left out" in line) == (name == "paired-covariate")
    paired, shared = (table[table["phenotype_id"] == "a"] for table in found.values())
    pd.testing.assert_frame_equal(paired, shared, rtol=1e-7)
    assert {*found["paired-covariate"].query("phenotype_id == 'b'")["n"]} == {40}
    for change, message in (
        (["--mode", "trans"], "--paired-covariate is for the modes that begin with cis"),
        (["--paired-covariate", small / "kinship.csv"], "has none of the 3 features"),
    ):
        given = [*options, "--paired-covariate", tmp_path / "own.tsv", *change]
        assert message in run("map", *files, tmp_path / "run", *given).output


def test_several_interactions_in_one_file(small, tmp_path):
    with open(small / "g.fam") as stream:
        names = [line.split()[1] for line in stream]
    terms = np.random.default_rng(1).standard_normal((len(names), 2))
    table = pd.DataFrame(terms, pd.Index(names, name="id"), ["age", "bmi"])
    table.to_csv(tmp_path / "e.tsv", sep="\t")
    files = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", small / "kinship.csv"]
    succeed("map", *files, "--mode", "cis_nominal", "--interaction", tmp_path / "e.tsv")
    summary = json.loads((tmp_path / "run.cis_nominal.summary.json").read_text())
    assert summary["covariates"] == ["intercept"]
    pairs = pd.read_parquet(tmp_path / "run.cis_qtl_pairs.1.parquet")
    top = pd.read_csv(tmp_path / "run.cis_qtl_top_assoc.txt.gz", sep="\t", index_col=0)
    assert {"pval_g", "pval_age", "pval_g-age", "pval_g-bmi"} <= {*pairs}
    smallest = pairs.set_index("phenotype_id")[["pval_g-age", "pval_g-bmi"]].min(axis=1)
    for gene, row in top.iterrows():
        least = smallest.loc[gene].min()
        assert min(row["pval_g-age"], row["pval_g-bmi"]) == pytest.approx(least, rel=1e-4)
        assert row["pval_emt"] == pytest.approx(min(2 * row["tests_emt"] * least, 1), rel=1e-4)
    succeed("plot", tmp_path / "run", "--mode", "cis_nominal")
    assert (tmp_path / "run.cis_nominal.qq.png").stat().st_size > 10_000
    drawn = read_results(tmp_path / "run", "cis_nominal").log10p
    tested = pairs[pairs["pval_g"].notna()]
    smallest = tested[["pval_g-age", "pval_g-bmi"]].min(axis=1)
    np.testing.assert_allclose(10 ** -drawn[tested.index], 1 - (1 - smallest) ** 2, rtol=1e-8)


def test_a_file_that_is_something_else_now_is_not_resumed_with(small, tmp_path, monkeypatch):
    bed = pd.read_csv(small / "y.bed", sep="\t")
    term = pd.Series(np.random.default_rng(1).standard_normal(40), bed.columns[4:], name="e")
    term.to_csv(tmp_path / "e.tsv", sep="\t")
    arguments = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", "none"]
    arguments += ["--mode", "trans", "--covariates", tmp_path / "e.tsv"]
    with monkeypatch.context() as patch:
        patch.delattr(parts.Parts, "place")  # once results are there
        assert isinstance(run("map", *arguments).exception, AttributeError)
    refused = run("map", *arguments, "--interaction", tmp_path / "e.tsv", "--resume")
    assert refused.exit_code == 2
    assert "roles" in refused.output


@pytest.mark.parametrize(
    ("mode", "written"),
    [
        ("cis_nominal", ["cis_qtl_pairs.1.parquet"]),
        ("cis_susie", [f"SuSiE_{name}" for name in SUSIE_FILES]),
    ],
)
def test_a_full_disk_ends_the_run_and_what_is_done_can_be_resumed(
    small, tmp_path, monkeypatch, mode, written
):
    """Writing fails once results are there: the parts stay, and no result is half written."""
    arguments = [small / "g", small / "y.bed", tmp_path / "run", "--kinship", "none"]
    arguments += ["--mode", mode]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "run.cis_qtl_pairs.1.parquet")

    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "place", full)
        result = run("map", *arguments)
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [f"run.{mode}.parts"]
    assert "pieces of the work are done" in succeed("map", *arguments, "--resume")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(f"run.{name}" for name in (f"{mode}.summary.json", *written))
