import gzip
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lmmlite_jax.data import read_table, write_table

TABLE = pd.DataFrame(
    {"weight": [21.5, np.nan], "length": [9.0, 1 / 3]}, index=pd.Index(["m1", "m2"], name="id")
)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "name", ["t.csv", "t.tsv", "t.csv.gz", "t.tsv.gz", "t.parquet", "T.CSV", "a.b.tsv"]
)
def test_what_is_written_is_read_back_exactly(tmp_path, name):
    write_table(TABLE, tmp_path / name)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), TABLE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "id,weight,length\nm1,21.5,9\nm2,NA,0.25\n"),
        ("t.csv", "id,weight,length\r\nm1,21.5,9\r\nm2,,0.25\r\n"),
        ("t.csv", '\ufeff"id","weight","length"\n"m1","21.5",9\n"m2", NaN ,2.5e-1'),
        ("t.tsv", "id\tweight\tlength\nm1\t21.5\t9\nm2\tnan\t0.25\n\n"),
        ("t.txt", "id\tweight\tlength\nm1\t21.5\t9\nm2\t\t0.25\n"),
        ("t.txt", "id  weight length\r\nm1 21.5   9 \r\nm2 NA 0.25\r\n"),
        ("t.txt.gz", gzip.compress(b"id weight length\nm1 21.5 9\nm2 NA 0.25\n", mtime=0)),
        ("t.txt", "FID IID weight length\nf1 m1 21.5 9\nf1 m2 NA 0.25\n"),
        ("t.tsv", "#FID\tIID\tweight\tlength\n1\tm1\t21.5\t9\n1\tm2\tNA\t0.25\n"),
    ],
)
def test_the_ways_people_write_tables_give_the_same_numbers(file, name, content):
    table = read_table(file(name, content))
    assert list(table.index) == ["m1", "m2"]
    assert list(table.columns) == ["weight", "length"]
    np.testing.assert_array_equal(table, [[21.5, 9], [np.nan, 0.25]])


def test_ids_stay_text_with_their_leading_zeros(file):
    assert list(read_table(file("t.csv", "id,x\n007,1\n1e3,2\n")).index) == ["007", "1e3"]


def test_columns_may_be_named_by_whole_numbers(file):
    assert list(read_table(file("t.tsv", "\t1\t2\ns1\t0.5\t1\n")).columns) == ["1", "2"]


def test_a_column_without_any_value_is_missing_throughout(file):
    assert read_table(file("t.csv", "id,x,y\na,NA,1\nb,,2\n"))["x"].isna().all()


def test_parquet_from_polars_has_its_ids_in_the_first_column(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"mouse": ["m1", "m2"], "weight": [1, None]}).write_parquet(path)
    table = read_table(path)
    assert list(table.index) == ["m1", "m2"]
    np.testing.assert_array_equal(table["weight"], [1, np.nan])


def test_parquet_from_pandas_has_its_ids_in_the_index(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"weight": [1.0]}, index=["m1"]).to_parquet(path)
    assert list(read_table(path).index) == ["m1"]
    pd.DataFrame({"mouse": ["m1"], "weight": [1.0]}).to_parquet(path)
    assert list(read_table(path).index) == ["m1"]


def test_expression_of_geuvadis_keeps_its_four_missing_values(data_dir):
    table = read_table(data_dir / "geuvadis" / "Geuvadis_CEU_YRI_Expr.txt")
    assert table.shape == (805, 178)
    assert int(table.isna().sum().sum()) == 4


def test_covariates_of_geuvadis_end_their_lines_in_crlf(data_dir):
    table = read_table(data_dir / "geuvadis" / "Geuvadis_CEU_YRI_covariates.txt")
    assert list(table.columns) == ["1", "2", "3", "4", "5"]
    assert table.loc["ERR188278", "5"] == -0.027896349463


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "\r\n\r\n", "t.csv is empty"),
        ("t.csv", "id,x\n", "there is a header and no row below it"),
        ("t.xlsx", "id,x\na,1\n", r"ends in .csv, .tsv, .txt .* or .parquet"),
        ("t", "id,x\na,1\n", "the name of a table ends in"),
        ("t.parquet.gz", "id", "the name of a table ends in"),
        ("t.parquet", "id,x\na,1\n", "named .parquet and is not a whole Parquet file"),
        ("t.csv.gz", "id,x\na,1\n", "named .gz and is not a whole gzip file"),
        ("t.csv.gz", gzip.compress(b"id,x\na,1\n", mtime=0)[:-9], "not a whole gzip file"),
        ("t.csv", gzip.compress(b"id,x\na,1\n", mtime=0), "is a gzip file: end its name in .gz"),
        ("t.csv", b"PAR1\x00\x01\x02", "holds binary data: a text table was expected"),
        ("t.csv", b"id,caf\xe9\na,1\n", r"is not UTF-8 text \(byte 6\)"),
        ("t.csv", "id\tx\na\t1\n", "wrong delimiter, .* by commas .* holds tabs"),
        ("t.csv", "id;x\na;1\n", "wrong delimiter, .* by commas .* holds semicolons"),
        ("t.tsv", "id,x\na,1\n", "wrong delimiter, .* by tabs .* holds commas"),
        ("t.tsv", "id x\na 1\n", "wrong delimiter, .* by tabs .* holds spaces"),
        ("t.txt", "id,x\na,1\n", "wrong delimiter, .* by spaces .* holds commas"),
        ("t.csv", "id\na\n", "the first line has one column, expected ids and at least one more"),
        ("t.txt", "FID IID\n1 2\n", "no column besides FID and IID"),
        ("t.csv", "id,x\na,1\nb,2\na,3\n", r"more than once \(1 of them: a\)"),
        ("t.csv", "id,x,y,x\na,1,2,3\n", r"column names are repeated \(x\)"),
        ("t.csv", "id,x,\na,1,\n", "column 3 has no name"),
        ("t.csv", "id,x\n,1\n", "row 1 below the header has no sample id"),
        ("t.csv", "id,x,y\na,1,2\nb,1\n", "header has 3 cells and the row of 'b' has 2"),
        ("t.csv", f"id,x\n{'1 ' * 90}\n", "the row of '(1 ){20}…' has 1"),
        ("t.txt", "x y\na 1 2\n", "header has 2 cells and the row of 'a' has 3"),
        ("t.csv", "s1,0.25,1.5\ns2,1,2\n", r"first line holds numbers \(0.25, 1.5\)"),
        ("t.csv", "id,x,y\na,1,2\nb,3,high\nc,3,low\n", "column 'y' holds 'high' for sample 'b'"),
        ("t.csv", 'id,x\na,"1,5"\n', "column 'x' holds '1,5' for sample 'a'"),
        ("t.csv", "id,x\na,TRUE\n", "column 'x' holds 'TRUE' for sample 'a'"),
        ("t.csv", "id,x\na,2024-01-01\n", "column 'x' holds '2024-01-01' for sample 'a'"),
    ],
)
def test_a_file_that_is_not_such_a_table_says_why(file, name, content, message):
    with pytest.raises(ValueError, match=message) as raised:
        read_table(file(name, content))
    assert "\n" not in str(raised.value)
    assert name in str(raised.value)


def test_ids_may_be_decimal_numbers(file):
    table = read_table(file("t.csv", "id,100.10,100.20\n100.10,1,0\n100.20,0,1\n"))
    assert [*table.index] == [*table.columns] == ["100.10", "100.20"]


def test_a_parquet_column_of_text_or_dates_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"id": ["a", "b"], "arm": [None, "left"]}).write_parquet(path)
    with pytest.raises(ValueError, match="column 'arm' holds 'left' for sample 'b'"):
        read_table(path)
    dates = pd.DataFrame({"born": pd.to_datetime(["2024-01-01"])}, index=["a"])
    dates.to_parquet(path)
    with pytest.raises(ValueError, match="column 'born' holds '2024-01-01"):
        read_table(path)


def test_a_parquet_table_with_two_index_columns_is_refused(tmp_path):
    index = pd.MultiIndex.from_tuples([("f", "i")], names=["FID", "IID"])
    pd.DataFrame({"x": [1.0]}, index=index).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="2 index columns: keep the one that holds the ids"):
        read_table(tmp_path / "t.parquet")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv: there is no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path)


def test_a_name_of_another_format_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"the name of a table ends in \.csv, \.tsv"):
        write_table(TABLE, tmp_path / "t.xlsx")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_table(TABLE, tmp_path / "nowhere" / "t.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["t.csv", "t.tsv.gz", "t.parquet"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name):
    path = tmp_path / name
    write_table(TABLE, path)
    before = path.read_bytes()

    def disk_full(self, stream, **_):
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", disk_full)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_table(TABLE * 2, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv.gz", "t.parquet"])
def test_the_same_table_gives_the_same_bytes(tmp_path, name):
    write_table(TABLE, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    write_table(TABLE, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_text_beside_numbers_can_be_written(tmp_path):
    frame = pd.DataFrame({"hsq": [0.5, np.nan], "reason": ["", "constant"]}, index=["t1", "t2"])
    write_table(frame, tmp_path / "fits.tsv")
    lines = (tmp_path / "fits.tsv").read_text().splitlines()
    assert lines == ["id\thsq\treason", "t1\t0.5\t", "t2\tNA\tconstant"]


def test_without_pyarrow_the_extra_to_install_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pyarrow is needed .* 'lmmlite-jax\[io\]'"):
        read_table(file("t.csv", "id,x\na,1\n"))
