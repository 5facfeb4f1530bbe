import gzip

import numpy as np
import pandas as pd
import pytest
from genotype_files import example_dosages, example_variants, write_qtl2

from lmmlite_jax.data import (
    match_chromosomes,
    match_ids,
    open_genotypes,
    read_annotation,
    read_covariates,
    read_interaction,
    read_kinship,
    read_phenotypes,
    read_samples_map,
)
from lmmlite_jax.data.covariates import noted_covariates

BED = (
    "#chr\tstart\tend\tgene_id\ts1\ts2\ts3\n"
    "chr1\t99\t100\tg1\t0.5\tNA\t-2\n"
    "chrX\t199\t200\tg2\t1e-3\t4\t5\n"
)
PLACES = pd.DataFrame(
    {"chrom": ["chr1", "chrX"], "start": [100, 200], "end": [100, 200]},
    index=pd.Index(["g1", "g2"], name="gene_id"),
)
VALUES = pd.DataFrame(
    [[0.5, np.nan, -2], [1e-3, 4, 5]],
    index=pd.Index(["g1", "g2"], name="gene_id"),
    columns=["s1", "s2", "s3"],
)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_index_type=False, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.bed", BED),
        ("x.bed", BED.replace("\n", "\r\n")),
        ("x.bed", BED.replace("#chr", "#Chr")),
        ("x.bed.gz", gzip.compress(BED.encode(), mtime=0)),
    ],
)
def test_bed_starts_count_from_zero_as_tensorqtl_takes_them(file, name, content):
    values, positions = read_phenotypes(file(name, content))
    same(values, VALUES)
    same(positions, PLACES)


@pytest.mark.parametrize("as_index", [True, False])
def test_bed_in_parquet_with_ids_in_a_column_or_in_the_index(tmp_path, as_index):
    frame = PLACES.rename(columns={"chrom": "#chr"}).join(VALUES).assign(start=[99, 199])
    if not as_index:
        ids = frame.index.to_series()
        frame = frame.reset_index(drop=True)
        frame.insert(3, "gene_id", ids.to_numpy())
        frame = frame[frame["gene_id"] != ""]
    frame.to_parquet(tmp_path / "x.bed.parquet")
    values, positions = read_phenotypes(tmp_path / "x.bed.parquet")
    same(values, VALUES)
    same(positions, PLACES)


def test_bed_agrees_with_pandas_on_what_tensorqtl_computes(file):
    # The steps of tensorQTL's documentation, in pandas: column 4 is the index, start + 1.
    path = file("x.bed", BED.replace("\t99\t", "\t49\t"))
    table = pd.read_csv(path, sep="\t", index_col=3)
    values, positions = read_phenotypes(path)
    same(values, table.iloc[:, 3:])
    np.testing.assert_array_equal(positions["start"], table["start"] + 1)
    np.testing.assert_array_equal(positions["end"], table["end"])


def test_a_table_takes_places_from_the_annotation(file):
    path = file("x.tsv", "id\ts1\ts2\ng1\t0.5\tNA\ng9\t1\t2\ng2\t3\t4\n")
    annotation = file(
        "a.txt", "feature_id\tstart\tend\tname\tchromosome\r\ng2\t5\t9\tb\t2\r\ng1\t7\t7\ta\t1\r\n"
    )
    values, positions = read_phenotypes(path, annotation)
    assert list(values.index) == ["g1", "g9", "g2"]
    assert list(values.columns) == ["s1", "s2"]
    expected = pd.DataFrame(
        {"chrom": ["1", "2"], "start": [7, 5], "end": [7, 9]}, index=["g1", "g2"]
    )
    same(positions, expected.rename_axis("feature_id"))
    assert read_phenotypes(path).positions is None


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.txt", "\t"), ("a.txt", "  ")]
)
def test_annotations_may_be_separated_as_other_tables(file, name, separator):
    rows = [("feature_id", "chromosome", "start", "end"), ("g1", "X", "5", "9")]
    places = read_annotation(file(name, "\n".join(separator.join(row) for row in rows)))
    assert places.loc["g1"].tolist() == ["X", 5, 9]


def test_phenotypes_and_covariates_of_an_rqtl2_zip(tmp_path):
    pheno = pd.DataFrame({"weight": ["20.5", "NA"], "length": ["9", "8"]}, index=["s1", "s2"])
    covar = pd.DataFrame(
        {"Sex": ["M", "F"], "diet": ["hi", "lo"], "age": ["7", "NA"]}, index=["s1", "s2"]
    )
    path = tmp_path / "x.zip"
    sex = {"sex": {"covar": "Sex", "M": "male", "F": "female"}}
    write_qtl2(path, example_dosages(), example_variants(), control=sex, pheno=pheno, covar=covar)
    values, positions = read_phenotypes(path)
    assert positions is None
    np.testing.assert_array_equal(values, [[20.5, np.nan], [9, 8]])
    assert list(values.index) == ["weight", "length"]
    covariates = read_covariates(path, ["s1"])
    assert list(covariates.columns) == ["Sex", "age"]
    assert noted_covariates(path, ["s1"])[1] == ["1 covariate of text is left out (diet)"]
    np.testing.assert_array_equal(covariates, [[1, 7], [0, np.nan]])
    write_qtl2(path, example_dosages(), example_variants(), pheno=covar)
    with pytest.raises(ValueError, match="pheno holds 'M' for 's1' in column 'Sex'"):
        read_phenotypes(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.bed", "", "is empty"),
        ("x.bed", BED.replace("\t", ","), "wrong delimiter, columns separated by tabs"),
        ("x.bed", BED.replace("\t", " "), "wrong delimiter, columns separated by tabs"),
        ("x.bed", b"\x6c\x1b\x01\x00\x00", "holds binary data"),
        ("x.bed", BED.replace("g2", "g1"), "feature ids appear more than once .*g1"),
        ("x.bed", BED.replace("s3", "s2"), "sample ids appear more than once .*s2"),
        ("x.bed", BED.replace("\t99\t", "\t100\t"), "'g1' ends at 100, before its start at 101"),
        ("x.bed", BED.replace("\t99\t", "\t9.5\t"), "start of feature 'g1' is 9.5"),
        ("x.bed", BED.replace("\t99\t", "\tNA\t"), "start of feature 'g1' is nan"),
        ("x.bed", BED.replace("\t99\t", "\t-inf\t"), "start of feature 'g1' is -inf"),
        ("x.bed", BED.replace("\t200\t", "\t1e19\t"), r"end of feature 'g2' is 1e\+19"),
        ("x.bed", BED.replace("chrX", ""), "'g2' has no chromosome"),
        ("x.bed", BED.replace("1e-3", "low"), "column 's1' holds 'low' for feature 'g2'"),
        ("x.bed", BED.replace("start", "begin"), "the first line begins #chr, begin, end"),
        ("x.bed", BED.split("\n")[0] + "\n", "no row below it"),
        ("x.bed.gz", gzip.compress(BED.encode(), mtime=0)[:60], "not a whole gzip file"),
        ("x.bed.parquet", b"PAR1", "not a whole Parquet file"),
        ("x.tsv", "id,s1\ng1,2\n", "wrong delimiter"),
        ("x.tsv", "id\ts1\ng1\t2\ng1\t2\n", "feature ids appear more than once"),
        ("x.xlsx", "1", "the name of a table ends in"),
    ],
)
def test_phenotypes_that_cannot_be_right_are_refused(file, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_phenotypes(file(name, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("feature_id\tchromosome\tstart\ng1\t1\t5\n", "no column end"),
        ("feature_id\tchromosome\tstart\tend\ng1\t1\t5\tlate\n", "holds 'late' for feature 'g1'"),
        ("feature_id\tchromosome\tstart\tend\ng1\t1\t5\t4\n", "ends at 4, before its start at 5"),
        ("feature_id\tchromosome\tstart\tend\ng1\t1\t5\tinf\n", "end of feature 'g1' is inf"),
        ("feature_id\tchromosome\tstart\tend\ng9\t1\t5\t6\n", "none of the 1 feature of"),
        ("feature_id,chromosome,start,end\ng1,1,5,6\n", "wrong delimiter"),
        ("feature_id\tchromosome\tstart\tend\ng1\t1\t5\t6\ng1\t1\t5\t6\n", "more than once"),
        ("", "is empty"),
    ],
)
def test_annotations_that_cannot_be_right_are_refused(file, content, message):
    with pytest.raises(ValueError, match=message):
        read_phenotypes(file("x.tsv", "id\ts1\ng1\t2\n"), file("a.tsv", content))


def test_a_bed_file_needs_no_annotation(file):
    with pytest.raises(ValueError, match="leave the annotation out"):
        read_phenotypes(file("x.bed", BED), file("a.tsv", "1"))


COVARIATES = pd.DataFrame({"PC1": [0.5, -1], "sex": [0.0, 1]}, index=["s1", "s2"])


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("name", ["c.tsv", "c.csv", "c.parquet"])
def test_covariates_either_way_round(tmp_path, name, transposed):
    from lmmlite_jax.data import write_table

    write_table(COVARIATES.T if transposed else COVARIATES, tmp_path / name)
    same(read_covariates(tmp_path / name, ["s2", "s1", "s7"]), COVARIATES)


FACTORS = pd.DataFrame(
    {"age": [*"56", "NA", *"879"], "sex": [*"mf", "NA", *"mfm"], "site": [*"BACABC"]},
    index=["s1", "s2", "s3", "s4", "s5", "s6"],
)


@pytest.mark.parametrize("transposed", [False, True])
def test_covariates_of_text_become_columns_of_their_levels(tmp_path, transposed):
    table = FACTORS.T if transposed else FACTORS
    table.to_csv(tmp_path / "c.csv")
    found, notes = noted_covariates(tmp_path / "c.csv", FACTORS.index)
    expected = {
        "age": [5, 6, np.nan, 8, 7, 9],
        "sex_m": [1, 0, np.nan, 1, 0, 1],
        "site_B": [1, 0, 0, 0, 1, 0],
        "site_C": [0, 0, 1, 0, 0, 1],
    }
    same(found, pd.DataFrame(expected, FACTORS.index, dtype=float))
    assert notes == ["sex: m against f", "site: B, C against A"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([*"56x879"], "column 'age' holds 'x' for sample 's3': numbers are expected"),
        ([*"abcdaa"], "covariate 'age' holds 4 different texts for 6 samples"),
        ([5.0, 6.0, np.inf, 8.0, 7.0, 9.0], "covariate 'age' is infinite for sample 's3'"),
    ],
)
def test_covariates_of_text_that_are_no_factors_are_refused(tmp_path, column, message):
    FACTORS.assign(age=column).to_csv(tmp_path / "c.csv")
    with pytest.raises(ValueError, match=message):
        read_covariates(tmp_path / "c.csv", FACTORS.index)


def test_covariates_of_unknown_samples_are_refused(file):
    path = file("c.tsv", "id\ta\tb\nPC1\t1\t2\n")
    with pytest.raises(ValueError, match=r"rows \(PC1\) or its columns \(a, b\); theirs are s1"):
        read_covariates(path, ["s1"])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("s1\t0.5\ns2\tNA\n", ["interaction"]),
        ("s1 0.5\ns2 NA\n", ["interaction"]),
        ("s2\tNA\ns1\t0.5\n", ["interaction"]),
        ("id\tmono\ns1\t0.5\ns2\tNA\n", ["mono"]),
        ("id\ts1\ts2\nmono\t0.5\tNA\n", ["mono"]),
    ],
)
def test_interaction_with_and_without_a_header(file, content, names):
    table = read_interaction(file("i.txt", content), ["s1", "s2", "s3"])
    assert list(table.columns) == names
    np.testing.assert_array_equal(table.loc[["s1", "s2"]], [[0.5], [np.nan]])


def test_several_interactions(file):
    table = read_interaction(file("i.tsv", "id\ta\tb\ns1\t1\t2\ns2\t3\t4\n"), ["s1", "s2"])
    same(table, pd.DataFrame({"a": [1.0, 3], "b": [2.0, 4]}, index=["s1", "s2"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("NA1\tERR1\nNA2\n", "line 2 has 1 cells"),
        ("NA1,ERR1\n", "line 1 has 1 cells"),
        ("NA1\tERR1\nNA1\tERR2\n", r"ids of the genotypes appear more than once \(NA1\)"),
        ("NA1\tERR1\nNA2\tERR1\n", r"ids of the phenotypes appear more than once \(ERR1\)"),
        ("", "is empty"),
    ],
)
def test_maps_of_samples_that_cannot_be_right_are_refused(file, content, message):
    with pytest.raises(ValueError, match=message):
        read_samples_map(file("map.tsv", content))


def test_matching_keeps_what_all_have_and_says_what_it_drops():
    matched = match_ids(
        {
            "genotypes": ["a", "b", "c", "d", "e"],
            "phenotypes": ["e", "x", "c", "b", "a"],
            "kinship": ["a", "b", "c", "e"],
            "covariates": ["e", "c", "b", "a"],
        },
        incomplete={"covariates": ["c", "x"]},
    )
    assert matched.samples == ("a", "b", "e")
    assert {name: rows.tolist() for name, rows in matched.rows.items()} == {
        "genotypes": [0, 1, 4],
        "phenotypes": [4, 3, 0],
        "kinship": [0, 1, 3],
        "covariates": [3, 2, 0],
    }
    assert str(matched.report).splitlines() == [
        "3 samples matched",
        "  genotypes: 1 with a missing value in the covariates (c)",
        "  genotypes: 1 not in the phenotypes or the kinship or the covariates (d)",
        "  phenotypes: 1 not in the genotypes or the kinship or the covariates (x)",
        "  phenotypes: 1 with a missing value in the covariates (c)",
        "  kinship: 1 with a missing value in the covariates (c)",
        "  covariates: 1 with a missing value in the covariates (c)",
    ]


def test_ids_that_mean_one_thing_here_and_another_there_are_not_confused():
    # Both files number their samples, in different orders; sample 4 is not in the map.
    ids = {"genotypes": ["1", "2", "3", "4"], "phenotypes": ["1", "2", "3", "4"]}
    matched = match_ids(ids, samples_map={"1": "3", "2": "1", "3": "2"})
    assert matched.samples == ("1", "2", "3")
    assert matched.rows["phenotypes"].tolist() == [1, 2, 0]
    assert "phenotypes: 1 not in the map of samples (4)" in str(matched.report)
    with pytest.raises(ValueError, match="kinship have as many ids of the genotypes as of the"):
        match_ids({**ids, "kinship": ["1", "2", "3"]}, {"1": "3", "2": "1", "3": "2"})


def test_files_with_the_phenotypes_ids_are_translated_with_what_they_lack():
    ids = {"genotypes": ["a", "b", "c"], "phenotypes": ["p3", "p2", "p1"]}
    ids |= {"kinship": ["c", "b", "a"], "covariates": ["p1", "p3", "p2", "p9"]}
    matched = match_ids(
        ids, {"p1": "a", "p2": "b", "p3": "c"}, incomplete={"covariates": ["p2", "p9"]}
    )
    assert matched.samples == ("a", "c")
    assert matched.rows["kinship"].tolist() == [2, 0]
    assert matched.rows["covariates"].tolist() == [0, 1]


def test_samples_that_cannot_be_matched_are_refused():
    with pytest.raises(ValueError, match=r"phenotypes repeat sample ids \(p\)"):
        match_ids({"genotypes": ["a"], "phenotypes": ["p", "p"]})
    with pytest.raises(ValueError, match=r"genotypes: a; phenotypes: p.*give a map of samples"):
        match_ids({"genotypes": ["a"], "phenotypes": ["p"]})
    with pytest.raises(ValueError, match=r"genotypes: a; phenotypes: p.*in its first column ids"):
        match_ids({"genotypes": ["a"], "phenotypes": ["p"]}, {"a": "p"})
    with pytest.raises(
        ValueError, match="Each of the 1 sample in common has a missing value in the cov"
    ):
        match_ids({"genotypes": ["a"], "phenotypes": ["a"]}, incomplete={"cov": ["a"]})


def test_chromosomes_with_and_without_chr_are_one():
    genes = pd.DataFrame({"chrom": ["chr1", "chrM", "chr2"], "start": 1, "end": 2})
    positions, notes = match_chromosomes(["01", "MT", "02"], genes)
    assert list(positions["chrom"]) == ["01", "MT", "02"]
    assert notes == (
        "chromosomes of features are renamed as those of variants are "
        "(chr1 to 01, chrM to MT, chr2 to 02)",
    )
    positions, notes = match_chromosomes(["chr1", "chrM", "chr2"], genes)
    assert list(positions["chrom"]) == ["chr1", "chrM", "chr2"]
    assert notes == ()


@pytest.mark.parametrize(
    ("variants", "features", "renamed"),
    [
        (["1", "23", "26"], ["chr1", "chrX", "chrM"], ["1", "23", "26"]),
        (["chr1", "chrX", "chrY"], ["1", "23", "24"], ["chr1", "chrX", "chrY"]),
        (["1", "23", "X"], ["1", "X", "23"], ["1", "X", "23"]),  # two chromosomes
        (["1", "23", "29"], ["1", "X", "29"], ["1", "X", "29"]),  # cattle
    ],
)
def test_plinks_numbers_of_sex_chromosomes_are_their_letters(variants, features, renamed):
    genes = pd.DataFrame({"chrom": features, "start": 1, "end": 2})
    positions, _ = match_chromosomes(variants, genes)
    assert list(positions["chrom"]) == renamed


def test_a_chromosome_on_one_side_only_is_said():
    genes = pd.DataFrame({"chrom": ["1", "X", "X"], "start": 1, "end": 2})
    positions, notes = match_chromosomes(["1", "2", "23", "30"], genes)
    assert list(positions["chrom"]) == ["1", "X", "X"]
    assert notes[0].startswith("2 features are on chromosomes without variants (X: 2)")
    assert notes[1] == "chromosomes without features: 2, 23, 30"
    with pytest.raises(ValueError, match=r"No chromosome has both variants \(2\) and features"):
        match_chromosomes(["2"], genes)
    with pytest.raises(ValueError, match="variants have two names for one chromosome, 1 and chr1"):
        match_chromosomes(["1", "chr1"], genes)


def test_geuvadis_as_it_is_is_matched_and_read_as_pandas_reads_it(data_dir):
    folder = data_dir / "geuvadis"
    expression = folder / "Geuvadis_CEU_YRI_Expr.txt"
    values, positions = read_phenotypes(expression, folder / "Geuvadis_CEU_Annot.txt")
    table = pd.read_csv(expression, sep="\t", index_col=0)
    np.testing.assert_array_equal(values, table)
    assert np.isnan(values.to_numpy()).sum() == 4
    places = pd.read_csv(folder / "Geuvadis_CEU_Annot.txt", sep="\t", index_col=0)
    known = table.index[table.index.isin(places.index)]
    assert list(positions.index) == list(known)
    np.testing.assert_array_equal(positions["start"], places.loc[known, "start"])
    samples_map = read_samples_map(folder / "Geuvadis_CEU_gte.txt")
    genotypes = open_genotypes(folder / "Geuvadis.bim")
    covariates = read_covariates(folder / "Geuvadis_CEU_YRI_covariates.txt", values.columns)
    kinship = read_kinship(folder / "Geuvadis_chr1_kinship.normalized.txt")
    matched = match_ids(
        {
            "genotypes": genotypes.samples,
            "phenotypes": list(values.columns),
            "kinship": list(kinship.index),
            "covariates": list(covariates.index),
        },
        samples_map,
    )
    assert len(matched.samples) == len(samples_map) == 90
    back = {genotype: phenotype for phenotype, genotype in samples_map.items()}
    assert [back[sample] for sample in matched.samples] == list(
        values.columns[matched.rows["phenotypes"]]
    )
    assert list(kinship.index[matched.rows["kinship"]]) == list(matched.samples)
    _, notes = match_chromosomes(genotypes.variants["chrom"], positions)
    assert any("without variants" in note for note in notes)
