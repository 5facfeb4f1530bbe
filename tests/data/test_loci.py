"""Loci of features from files."""

import pandas as pd
import pytest

from lmmlite_jax.data import read_loci

ROWS = pd.DataFrame({"phenotype_id": ["a", "b"], "chr": ["1", "X"], "pos": [5, 70]})


@pytest.mark.parametrize("ending", ["tsv", "csv", "txt.gz", "parquet"])
def test_every_format_and_name_of_columns(tmp_path, ending):
    path = tmp_path / f"loci.{ending}"
    renamed = ROWS.rename(columns={"chr": "chrom", "pos": "position"})
    if ending == "parquet":
        renamed.to_parquet(path)
    else:
        renamed.to_csv(path, sep="," if ending == "csv" else "\t", index=False)
    found = read_loci(path)
    assert found.to_dict("list") == {
        "phenotype_id": ["a", "b"],
        "chrom": ["1", "X"],
        "start": [5, 70],
        "end": [5, 70],
    }


def test_starts_and_ends_are_taken_before_positions(tmp_path):
    path = tmp_path / "loci.tsv"
    ROWS.assign(start=[1, 60], end=[9, 80]).to_csv(path, sep="\t", index=False)
    found = read_loci(path)
    assert found["start"].tolist() == [1, 60]
    assert found["end"].tolist() == [9, 80]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (ROWS.drop(columns="pos"), "no column pos"),
        (ROWS.drop(columns=["chr", "phenotype_id"]).assign(x=1), "phenotype_id and no chr"),
        (ROWS.assign(chr=["1", ""]), "row 2 below the header has no chr"),
        (ROWS.assign(pos=["5", "here"]), "holds 'here' for feature 'b'"),
        (ROWS.assign(pos=[5.5, 7]), "the pos of a locus of 'a' is 5.5"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, table, message):
    path = tmp_path / "loci.tsv"
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match=message):
        read_loci(path)


def test_a_file_that_is_no_parquet(tmp_path):
    path = tmp_path / "loci.parquet"
    path.write_text("phenotype_id\n")
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        read_loci(path)
