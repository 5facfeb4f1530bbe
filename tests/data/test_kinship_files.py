import numpy as np
import pandas as pd
import pytest
from genotype_files import SAMPLES, example_dosages, example_variants, write_plink1

import lmmlite_jax as lmm
from lmmlite_jax.data import (
    open_genotypes,
    read_kinship,
    read_loco_kinship,
    write_kinship,
    write_table,
)
from lmmlite_jax.pipeline import genotype_kinship

KINSHIP = np.array([[1.0, 0.5, 0.25], [0.5, 1.0, 0.0], [0.25, 0.0, 1.5]])
IDS = ["a", "b", "c"]


def write_gcta(folder, ids=IDS, kinship=KINSHIP):
    path = folder / "mice.grm.bin"
    kinship[np.tril_indices(len(kinship))].astype("<f4").tofile(path)
    (folder / "mice.grm.id").write_text("".join(f"family\t{name}\n" for name in ids))
    return path


def labelled(ids=IDS, columns=IDS):
    return pd.DataFrame(KINSHIP, index=list(ids), columns=list(columns))


@pytest.mark.parametrize("name", ["k.csv", "k.tsv.gz", "k.parquet"])
def test_a_square_table_names_its_samples(tmp_path, name):
    write_table(labelled(), tmp_path / name)
    kinship = read_kinship(tmp_path / name)
    assert list(kinship.index) == list(kinship.columns) == IDS
    np.testing.assert_array_equal(kinship, KINSHIP)


def test_columns_of_a_table_may_come_in_another_order(tmp_path):
    write_table(labelled()[["c", "a", "b"]], tmp_path / "k.csv")
    kinship = read_kinship(tmp_path / "k.csv")
    assert list(kinship.index) == list(kinship.columns) == IDS
    np.testing.assert_array_equal(kinship, KINSHIP)


def test_gcta_stores_the_lower_triangle_and_iid(tmp_path):
    kinship = read_kinship(write_gcta(tmp_path))
    assert list(kinship.index) == list(kinship.columns) == IDS
    np.testing.assert_array_equal(kinship, KINSHIP)


@pytest.mark.parametrize("name", ["k.cXX.txt", "k.sXX.txt"])
def test_gemma_has_numbers_only(tmp_path, name):
    np.savetxt(tmp_path / name, KINSHIP, delimiter="\t")
    kinship = read_kinship(tmp_path / name, ids=IDS)
    assert list(kinship.columns) == IDS
    np.testing.assert_array_equal(kinship, KINSHIP)


def test_a_matrix_without_ids_gets_row_numbers(tmp_path):
    np.save(tmp_path / "k.npy", KINSHIP)
    kinship = read_kinship(tmp_path / "k.npy")
    assert isinstance(kinship.index, pd.RangeIndex)
    assert isinstance(kinship.columns, pd.RangeIndex)
    np.testing.assert_array_equal(kinship, KINSHIP)
    assert list(read_kinship(tmp_path / "k.npy", ids=IDS).index) == IDS


def test_npz_may_name_its_samples(tmp_path):
    np.savez(tmp_path / "k.npz", anything=KINSHIP, ids=np.array(IDS))
    assert list(read_kinship(tmp_path / "k.npz").index) == IDS
    np.savez(tmp_path / "k.npz", anything=KINSHIP)
    assert isinstance(read_kinship(tmp_path / "k.npz").index, pd.RangeIndex)


def test_published_kinship_files_are_read(data_dir):
    geuvadis = read_kinship(data_dir / "geuvadis" / "Geuvadis_chr1_kinship.normalized.txt")
    assert geuvadis.shape == (178, 178)
    assert geuvadis.loc["NA06985", "NA07346"] == 0.374663063806807
    bxd = read_kinship(data_dir / "bxd" / "kinship_x2.npz")
    assert list(bxd.index[:3]) == ["BXD1", "BXD2", "BXD5"]
    synth = read_kinship(data_dir / "synth500" / "gemma_centered_kinship.npz")
    assert synth.shape == (500, 500)
    assert isinstance(synth.index, pd.RangeIndex)


def test_a_truncated_grm_says_how_many_bytes_are_missing(tmp_path):
    path = write_gcta(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"holds 20 bytes and its .grm.id names 3 samples.* 24"):
        read_kinship(path)


def test_a_grm_without_its_ids_is_refused(tmp_path):
    path = write_gcta(tmp_path)
    (tmp_path / "mice.grm.id").unlink()
    with pytest.raises(FileNotFoundError, match=r"mice.grm.id: there is no such file"):
        read_kinship(path)


def test_a_grm_with_repeated_or_broken_ids_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sample ids are repeated \(a\)"):
        read_kinship(write_gcta(tmp_path, ids=["a", "b", "a"]))
    path = write_gcta(tmp_path)
    (tmp_path / "mice.grm.id").write_text("f a\nf\nf c\n")
    with pytest.raises(ValueError, match="line 2 has one cell, expected FID and IID"):
        read_kinship(path)


def test_rows_and_columns_must_name_the_same_samples(tmp_path):
    write_table(labelled(columns=["a", "b", "z"]), tmp_path / "k.csv")
    with pytest.raises(ValueError, match=r"name different samples \(c, z in one"):
        read_kinship(tmp_path / "k.csv")


def test_a_matrix_that_is_not_square_is_refused(tmp_path):
    write_table(labelled().iloc[:2], tmp_path / "k.csv")
    with pytest.raises(ValueError, match="is not square: 2 rows and 3 columns"):
        read_kinship(tmp_path / "k.csv")
    np.save(tmp_path / "k.npy", KINSHIP[:2])
    with pytest.raises(ValueError, match=r"is not square: its shape is \(2, 3\)"):
        read_kinship(tmp_path / "k.npy")
    np.savetxt(tmp_path / "k.cXX.txt", KINSHIP[:2])
    with pytest.raises(ValueError, match="is not square"):
        read_kinship(tmp_path / "k.cXX.txt")


def test_ids_must_be_needed_enough_and_distinct(tmp_path):
    path = tmp_path / "k.npy"
    np.save(path, KINSHIP)
    with pytest.raises(ValueError, match="has 3 rows and 2 ids"):
        read_kinship(path, ids=["a", "b"])
    with pytest.raises(ValueError, match=r"sample ids are repeated \(a\)"):
        read_kinship(path, ids=["a", "b", "a"])
    with pytest.raises(ValueError, match="names its samples itself: leave ids out"):
        read_kinship(write_gcta(tmp_path), ids=IDS)


def test_a_missing_kinship_value_names_its_pair(tmp_path):
    broken = labelled()
    broken.loc["b", "c"] = np.nan
    write_table(broken, tmp_path / "k.csv")
    with pytest.raises(ValueError, match="the kinship of b and c is nan"):
        read_kinship(tmp_path / "k.csv")
    np.save(tmp_path / "k.npy", broken.to_numpy())
    with pytest.raises(ValueError, match="the kinship of rows 2 and 3 is nan"):
        read_kinship(tmp_path / "k.npy")


def test_gemma_files_with_words_or_ragged_rows_are_refused(tmp_path):
    path = tmp_path / "k.cXX.txt"
    path.write_text("1 0\n0 NA\n")
    with pytest.raises(ValueError, match="not a GEMMA kinship matrix of numbers only"):
        read_kinship(path)
    path.write_text("1 0\n0\n")
    with pytest.raises(ValueError, match="not a GEMMA kinship matrix of numbers only"):
        read_kinship(path)
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_kinship(path)


def test_numpy_files_that_are_something_else_are_refused(tmp_path):
    for name in ("k.npy", "k.npz"):
        (tmp_path / name).write_text("1 0\n0 1\n")
        with pytest.raises(ValueError, match="is not a whole NumPy file"):
            read_kinship(tmp_path / name)
    np.savez(tmp_path / "k.npz", KINSHIP)
    truncated = (tmp_path / "k.npz").read_bytes()[:-30]
    (tmp_path / "k.npz").write_bytes(truncated)
    with pytest.raises(ValueError, match="is not a whole NumPy file"):
        read_kinship(tmp_path / "k.npz")
    np.save(tmp_path / "k.npy", np.array(IDS, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is not a whole NumPy file"):
        read_kinship(tmp_path / "k.npy")
    np.save(tmp_path / "k.npy", np.full((2, 2), "x"))
    with pytest.raises(ValueError, match="holds values of type <U1: numbers are expected"):
        read_kinship(tmp_path / "k.npy")


def test_bytes_after_the_array_of_a_numpy_file_are_refused(tmp_path):
    np.save(tmp_path / "k.npy", KINSHIP)
    whole = (tmp_path / "k.npy").read_bytes()
    (tmp_path / "k.npy").write_bytes(whole + whole)
    size = len(whole)
    with pytest.raises(ValueError, match=f"holds {2 * size} bytes and its array .* after {size}"):
        read_kinship(tmp_path / "k.npy")


def test_an_npz_needs_one_square_array_and_a_list_of_ids(tmp_path):
    path = tmp_path / "k.npz"
    np.savez(path, additive=KINSHIP, dominance=KINSHIP)
    with pytest.raises(ValueError, match=r"2 two-dimensional arrays \(additive, dominance\)"):
        read_kinship(path)
    np.savez(path, ids=np.array(IDS))
    with pytest.raises(ValueError, match=r"0 two-dimensional arrays \(none\)"):
        read_kinship(path)
    np.savez(path, kinship=KINSHIP, ids=np.array([IDS, IDS]))
    with pytest.raises(ValueError, match=r"ids has shape \(2, 3\), expected one dimension"):
        read_kinship(path)


def test_one_array_and_several_are_not_confused(tmp_path):
    np.savez(tmp_path / "k.npz", KINSHIP)
    (tmp_path / "k.npz").rename(tmp_path / "k.npy")
    with pytest.raises(ValueError, match=r"holds several arrays: end its name in \.npz"):
        read_kinship(tmp_path / "k.npy")
    np.save(tmp_path / "k.npy", KINSHIP)
    (tmp_path / "k.npy").rename(tmp_path / "k.npz")
    with pytest.raises(ValueError, match=r"holds one bare array: end its name in \.npy"):
        read_kinship(tmp_path / "k.npz")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"k.npy: there is no such file"):
        read_kinship(tmp_path / "k.npy")
    with pytest.raises(ValueError, match="is a folder"):
        read_kinship(tmp_path)


@pytest.mark.parametrize("method", ["standardized", "centered", "allele_probs"])
def test_kinship_of_a_file_is_that_of_its_dosages(tmp_path, method, monkeypatch):
    # Variant 4 is missing in all samples and variant 5 does not vary: both are left out.
    calls, variants = example_dosages(), example_variants()
    write_plink1(tmp_path / "g", calls, variants)
    monkeypatch.setattr("lmmlite_jax.mapping.kinship._FEWEST", 7)
    monkeypatch.setattr("lmmlite_jax.mapping.kinship._BLOCK", 1)
    some, seen = np.array([3, 0, 7, 9]), []
    copies = calls[some].astype(float)
    G = np.stack([1 - copies / 2, copies / 2], axis=-1) if method == "allele_probs" else copies
    with open_genotypes(tmp_path / "g") as file:
        found = genotype_kinship(file, method, samples=some, progress=seen.append)
        without = genotype_kinship(file, method, samples=some, loco=True)
    assert seen == [7, 7, 7, 2]
    assert list(found.index) == list(found.columns) == [SAMPLES[i] for i in some]
    np.testing.assert_allclose(found, lmm.kinship(G, method), atol=1e-13)
    expected = lmm.kinship(G, method, chromosome=variants["chrom"], loco=True)
    assert list(without) == ["1", "2", "X"]
    for name, matrix in without.items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-13)


def test_kinship_of_a_plink_file_is_gemmas(data_dir):
    folder = data_dir / "synth500"
    with np.load(folder / "gemma_centered_kinship.npz") as stored:
        expected = next(array for array in stored.values() if array.ndim == 2)
    with open_genotypes(folder / "synth500.bed") as file:
        found = genotype_kinship(file, "centered")
    # GEMMA prints ten digits.
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["k.npz", "k.tsv", "k.parquet"])
def test_a_kinship_that_is_written_is_read_back_exactly(tmp_path, name):
    write_kinship(labelled(), tmp_path / name)
    kinship = read_kinship(tmp_path / name)
    np.testing.assert_array_equal(kinship, KINSHIP)
    assert list(kinship.index) == list(kinship.columns) == IDS
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_kinships_without_one_chromosome_each_are_written_and_read(tmp_path):
    path = tmp_path / "loco.npz"
    write_kinship({"1": labelled(), "X": 2 * labelled()}, path)
    kinships = read_loco_kinship(path)
    assert list(kinships) == ["1", "X"]
    np.testing.assert_array_equal(kinships["X"], 2 * KINSHIP)
    assert list(kinships["1"].index) == IDS
    with pytest.raises(ValueError, match="one kinship of the whole genome is expected"):
        read_kinship(path)
    write_kinship(labelled(), path)
    with pytest.raises(ValueError, match="holds no kinships without one chromosome each"):
        read_loco_kinship(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_loco_kinship(tmp_path / "other.npz")


def test_kinships_cannot_be_written_just_anywhere(tmp_path):
    with pytest.raises(ValueError, match=r"go into a file named \.npz"):
        write_kinship({"1": labelled()}, tmp_path / "k.tsv")
    with pytest.raises(ValueError, match="the name of a table ends in"):
        write_kinship(labelled(), tmp_path / "k.doc")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_kinship(labelled(), tmp_path / "none" / "k.npz")
    (tmp_path / "k.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        write_kinship(labelled(), tmp_path / "k.npz")
