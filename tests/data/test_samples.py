import numpy as np
import pandas as pd
import pytest

from lmmlite_jax.data import match_samples, read_kinship, read_table


def pheno(*ids):
    return pd.DataFrame({"x": np.arange(len(ids), dtype=float)}, index=list(ids))


def kinship(*ids):
    n = len(ids)
    return pd.DataFrame(np.arange(n * n).reshape(n, n) * 1.0, index=list(ids), columns=list(ids))


def test_tables_come_out_in_the_order_of_the_phenotypes():
    covar = pd.DataFrame({"sex": [0.0, 1.0, 0.0]}, index=["b", "a", "c"])
    matched = match_samples(pheno("c", "a", "b"), kinship("a", "b", "c"), covar)
    for table in (matched.pheno, matched.kinship, matched.covar):
        assert list(table.index) == ["c", "a", "b"]
    assert list(matched.kinship.columns) == ["c", "a", "b"]
    assert matched.kinship.loc["a", "c"] == kinship("a", "b", "c").loc["a", "c"]
    assert matched.covar.loc["a", "sex"] == 1
    assert matched.report.kept == 3
    assert matched.report.dropped == ()
    assert str(matched.report) == "3 samples matched"


def test_samples_left_out_are_counted_by_table_and_reason():
    covar = pd.DataFrame({"sex": [0, 1, np.nan, 1]}, index=["a", "b", "c", "z"])
    report = match_samples(
        pheno("a", "b", "c", "p1", "p2", "p3", "p4"), kinship("a", "b", "c", "k"), covar
    ).report
    assert str(report).splitlines() == [
        "2 samples matched",
        "  phenotypes: 1 with a missing covariate (c)",
        "  phenotypes: 4 not in the kinship or the covariates (p1, p2, p3, …)",
        "  kinship: 1 with a missing covariate (c)",
        "  kinship: 1 not in the phenotypes or the covariates (k)",
        "  covariates: 1 with a missing covariate (c)",
        "  covariates: 1 not in the phenotypes or the kinship (z)",
    ]


def test_without_covariates_none_come_back():
    assert match_samples(pheno("a"), kinship("a")).covar is None


def test_kinship_without_ids_is_taken_in_the_order_of_the_phenotypes():
    matched = match_samples(pheno("b", "a"), pd.DataFrame(np.eye(2)))
    assert list(matched.kinship.index) == list(matched.kinship.columns) == ["b", "a"]
    assert matched.report.order_assumed
    assert "no ids, its rows are taken in the phenotypes' order" in str(matched.report)


def test_kinship_without_ids_needs_as_many_rows_as_phenotypes():
    with pytest.raises(ValueError, match="no sample ids and 3 rows, the phenotypes have 2"):
        match_samples(pheno("a", "b"), pd.DataFrame(np.eye(3)))


def test_nothing_in_common_shows_ids_of_both_sides():
    with pytest.raises(ValueError, match=r"No sample .*phenotypes: ERR1.*kinship: NA1.*same ids"):
        match_samples(pheno("ERR1"), kinship("NA1"))


def test_phenotypes_with_samples_in_columns_are_recognised():
    with pytest.raises(ValueError, match="samples in columns, transpose them"):
        match_samples(pheno("a", "b").T.set_axis(["gene1"]), kinship("a", "b"))


def test_covariates_missing_for_everyone_are_the_reason_given():
    covar = pd.DataFrame({"sex": [np.nan, np.nan]}, index=["a", "b"])
    with pytest.raises(
        ValueError, match=r"Each of the 2 samples in common has a missing covariate"
    ):
        match_samples(pheno("a", "b"), kinship("a", "b"), covar)


@pytest.mark.parametrize("table", ["phenotypes", "kinship", "covariates"])
def test_repeated_ids_are_refused(table):
    ids = {"phenotypes": ["a"], "kinship": ["a"], "covariates": ["a"]} | {table: ["a", "a"]}
    with pytest.raises(ValueError, match=rf"The {table} repeat sample ids \(a\)"):
        match_samples(
            pheno(*ids["phenotypes"]), kinship(*ids["kinship"]), pheno(*ids["covariates"])
        )


def test_geuvadis_samples_go_by_other_names_in_each_file(data_dir):
    folder = data_dir / "geuvadis"
    expression = read_table(folder / "Geuvadis_CEU_YRI_Expr.txt").T
    genetic = read_kinship(folder / "Geuvadis_chr1_kinship.normalized.txt")
    with pytest.raises(ValueError, match=r"ERR188278.*NA06985"):
        match_samples(expression, genetic)
