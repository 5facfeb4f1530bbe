import shutil
import subprocess
import sys
import threading
import tracemalloc
from zipfile import ZipFile

import bgen
import numpy as np
import pandas as pd
import pgenlib
import pytest
from genotype_files import (
    SAMPLES,
    example_dosages,
    example_variants,
    vcf_text,
    write_parquet,
    write_plink1,
    write_qtl2,
    write_vcf,
)

from lmmlite_jax.data import open_genotypes

CALLS = example_dosages()
VARIANTS = example_variants()
NO_PLINK2 = "plink2 is not installed (apt-get install plink2)"


def write_pgen(prefix):
    """pgenlib writes the calls, and this function the lists of variants and samples."""
    calls = np.where(np.isnan(CALLS), -9, CALLS).astype(np.int8)
    writer = pgenlib.PgenWriter(f"{prefix}.pgen".encode(), len(SAMPLES), variant_ct=len(VARIANTS))
    for column in calls.T:
        writer.append_biallelic(np.ascontiguousarray(column))
    writer.close()
    lines = [f"{v.chrom}\t{v.pos}\t{v.Index}\t{v.a0}\t{v.a1}" for v in VARIANTS.itertuples()]
    prefix.with_name(f"{prefix.name}.pvar").write_text(
        "\n".join(["##source=test", "#CHROM\tPOS\tID\tREF\tALT", *lines, ""])
    )
    prefix.with_name(f"{prefix.name}.psam").write_text(
        "\n".join(["#FID\tIID\tSEX", *(f"0\t{sample}\tNA" for sample in SAMPLES), ""])
    )


def write_bgen(path):
    with bgen.BgenWriter(str(path), len(SAMPLES), list(SAMPLES)) as writer:
        for j, v in enumerate(VARIANTS.itertuples()):
            probabilities = np.full((len(SAMPLES), 3), np.nan)
            for copies in range(3):
                probabilities[~np.isnan(CALLS[:, j]), copies] = 0
                probabilities[CALLS[:, j] == copies, copies] = 1
            writer.add_variant(v.Index, v.Index, v.chrom, v.pos, [v.a0, v.a1], probabilities)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same calls in every format, by the name that `open_genotypes` is given."""
    folder = tmp_path_factory.mktemp("genotypes")
    write_plink1(folder / "one.x", CALLS, VARIANTS, space=" ", end="\r\n")
    write_pgen(folder / "two")
    write_vcf(folder / "v.vcf", CALLS, VARIANTS)
    write_vcf(folder / "v.vcf.gz", CALLS, VARIANTS)
    write_bgen(folder / "b.bgen")
    shutil.copy(folder / "b.bgen", folder / "unindexed.bgen")
    write_parquet(folder / "p.parquet", CALLS, VARIANTS)
    write_qtl2(folder / "q.zip", CALLS, VARIANTS)
    return folder


FORMATS = [
    "one.x",
    "one.x.bed",
    "one.x.fam",
    "two",
    "two.pgen",
    "two.pvar",
    "v.vcf",
    "v.vcf.gz",
    "b.bgen",
    "p.parquet",
    "q.zip",
]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_calls_that_were_written(written, name):
    with open_genotypes(written / name) as genotypes:
        assert genotypes.samples == SAMPLES
        if name == "q.zip":
            expected = VARIANTS.assign(a1="TT", a0="CC", cM=VARIANTS["pos"] / 10)
        else:
            expected = VARIANTS
        pd.testing.assert_frame_equal(
            genotypes.variants.astype(object), expected.astype(object), check_index_type=False
        )
        dosages = genotypes.read()
        assert dosages.dtype == np.float32
        np.testing.assert_array_equal(dosages, CALLS)
        assert genotypes.notes == ()


@pytest.mark.parametrize("name", ["one.x", "two", "v.vcf.gz", "b.bgen", "p.parquet", "q.zip"])
def test_variants_and_samples_may_be_chosen_in_any_order(written, name):
    some, variants = np.array([7, 2, 10]), np.array([22, 3, 4, 3, 0])
    with open_genotypes(written / name) as genotypes:
        np.testing.assert_array_equal(genotypes.read(variants, some), CALLS[np.ix_(some, variants)])
        np.testing.assert_array_equal(genotypes.read(slice(3, 9, 2)), CALLS[:, 3:9:2])
        np.testing.assert_array_equal(genotypes.read(slice(20, None), some), CALLS[some, 20:])
        assert genotypes.read([], some).shape == (3, 0)


@pytest.mark.parametrize(
    "name", ["one.x", "two", "v.vcf.gz", "b.bgen", "unindexed.bgen", "p.parquet", "q.zip"]
)
@pytest.mark.parametrize("width", [1, 6, 100])
def test_blocks_together_are_the_whole(written, name, width):
    assert (written / f"{name}.bgi").exists() == (name == "b.bgen")
    some = np.array([7, 2, 10])
    with open_genotypes(written / name) as genotypes:
        blocks = list(genotypes.blocks(slice(2, 21), width, some))
    assert all(len(block.variants) == width for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate([b.variants for b in blocks]), np.arange(2, 21))
    np.testing.assert_array_equal(
        np.concatenate([b.dosages for b in blocks], axis=1), CALLS[some, 2:21]
    )


def test_whole_copies_come_as_small_integers_where_a_file_has_no_others(written):
    with open_genotypes(written / "one.x") as genotypes:
        packed = genotypes.read(slice(2, 9), packed=True)
    assert packed.dtype == np.int8
    np.testing.assert_array_equal(np.where(packed == -127, np.nan, packed), CALLS[:, 2:9])


def test_one_block_is_read_ahead_and_no_more(written, monkeypatch):
    with open_genotypes(written / "one.x") as genotypes:
        read, started, reader = [], threading.Event(), genotypes._load

        def slow(variants, samples):
            read.append((variants[0], threading.current_thread().name))
            if len(read) == 2:
                started.set()
            return reader(variants, samples)

        monkeypatch.setattr(genotypes, "_load", slow)
        blocks = genotypes.blocks(width=5)
        next(blocks)
        assert started.wait(10)
        blocks.close()
    assert [first for first, _ in read] == [0, 5]
    assert all("genotypes" in thread for _, thread in read)
    assert not any("genotypes" in thread.name for thread in threading.enumerate())


def test_a_file_streams_through_the_memory_of_a_few_blocks(tmp_path):
    n, M, width = 200, 8000, 200
    calls = np.random.default_rng(3).integers(0, 3, (n, M)).astype(np.float32)
    number = np.arange(M).astype(str)
    variants = pd.DataFrame(
        {"chrom": "1", "pos": np.arange(M), "a1": "A", "a0": "C"}, index=np.char.add("rs", number)
    )
    write_plink1(tmp_path / "x", calls, variants, [f"s{i}" for i in range(n)])
    sums = []
    with open_genotypes(tmp_path / "x") as genotypes:
        tracemalloc.start()
        for block in genotypes.blocks(width=width):
            sums.append(block.dosages.sum())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sum(sums) == calls.sum(dtype=float)
    # One block in use, one read, one being read, and what is small beside them.
    assert peak < 5 * n * width * 4 < calls.nbytes / 5


def test_an_error_in_the_thread_reaches_the_caller(written, monkeypatch):
    with open_genotypes(written / "v.vcf") as genotypes:
        monkeypatch.setattr(genotypes, "_dosages", lambda record: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(genotypes.blocks())


def test_variants_and_samples_outside_the_file_are_refused(written):
    with open_genotypes(written / "one.x") as genotypes:
        with pytest.raises(IndexError, match="variants: 23 is not among the 23"):
            genotypes.read([23])
        with pytest.raises(IndexError, match="samples: -1 is not among the 11"):
            genotypes.read([0], [-1])
        with pytest.raises(IndexError, match="whole numbers"):
            genotypes.read([0.5])
        with pytest.raises(ValueError, match="width is 0"):
            next(genotypes.blocks(width=0))


# What plink2, an independent program, makes of the same calls.


@pytest.fixture(scope="module")
def plink2(written, tmp_path_factory):
    """Run plink2 on the PLINK 1 files, and return the prefix of what it wrote."""
    program = shutil.which("plink2")
    if program is None:
        pytest.skip(NO_PLINK2)
    folder = tmp_path_factory.mktemp("plink2")

    def run(*options, source=("--bfile", str(written / "one.x"))):
        out = folder / "_".join(options).replace("-", "").replace("=", "")
        command = [program, *source, "--threads", "1", *options, "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return out

    return run


def raw_copies(prefix, variants):
    """Copies of a1 from plink2's text export, which counts the allele in the column's name."""
    raw = pd.read_csv(f"{prefix}.raw", sep="\t", index_col="IID").iloc[:, 5:]
    counted = raw.columns.str.rsplit("_", n=1).str[1]
    return np.where(counted == variants["a1"], raw, 2 - raw)


def test_plink1_agrees_with_plink2s_text_export(written, plink2):
    exported = raw_copies(plink2("--export", "A"), VARIANTS)
    np.testing.assert_array_equal(open_genotypes(written / "one.x").read(), exported)


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        (("--make-pgen",), ".pgen"),
        (("--make-pgen", "vzs"), ".pgen"),
        (("--export", "vcf"), ".vcf"),
        (("--export", "vcf", "bgz"), ".vcf.gz"),
        (("--export", "bcf"), ".bcf"),
        (("--export", "bgen-1.2", "ref-first"), ".bgen"),
        (("--export", "bgen-1.3", "bits=8", "ref-first"), ".bgen"),
    ],
)
def test_files_that_plink2_converts_read_as_its_source(plink2, options, ending):
    with open_genotypes(f"{plink2(*options)}{ending}") as genotypes:
        assert genotypes.samples == SAMPLES
        pd.testing.assert_frame_equal(
            genotypes.variants.astype(object), VARIANTS.astype(object), check_index_type=False
        )
        np.testing.assert_array_equal(genotypes.read(), CALLS)


def test_dosages_agree_with_plink2s_text_export(tmp_path, plink2):
    rng = np.random.default_rng(1)
    dosages = rng.integers(0, 2 * 2**14 + 1, (len(SAMPLES), len(VARIANTS))) / 2**14
    dosages[0, 0] = np.nan
    cells = [[".:." if np.isnan(x) else f"0/1:{x:.8f}" for x in row] for row in dosages]
    variants = VARIANTS.assign(chrom="1")
    vcf = tmp_path / "ds.vcf"
    vcf.write_text(vcf_text(cells, variants, fields="GT:DS"))
    source = ("--vcf", str(vcf), "dosage=DS")
    exported = raw_copies(plink2("--export", "A", source=source), variants)
    with open_genotypes(vcf) as genotypes:
        assert genotypes.notes == ("dosages are read from DS",)
        np.testing.assert_allclose(genotypes.read(), exported, atol=1e-4)
    with open_genotypes(f"{plink2('--make-pgen', source=source)}.pgen") as genotypes:
        np.testing.assert_allclose(genotypes.read(), exported, atol=1e-4)
    written = plink2("--export", "bgen-1.2", "ref-first", "bits=16", source=source)
    with open_genotypes(f"{written}.bgen") as genotypes:
        np.testing.assert_allclose(genotypes.read(), exported, atol=1e-4)


def test_haploid_calls_are_the_same_in_all_of_plink2s_files(tmp_path, plink2):
    path = tmp_path / "x.vcf"
    cells, samples = [["0"], ["1"], ["0/1"], ["1/1"]], ("m1", "m2", "f1", "f2")
    variant = VARIANTS.iloc[:1].assign(chrom="X", pos=5_000_000)
    path.write_text(vcf_text(cells, variant, samples))
    (tmp_path / "x.psam").write_text("#IID\tSEX\nm1\t1\nm2\t1\nf1\t2\nf2\t2\n")
    source = ("--vcf", str(path), "--psam", str(tmp_path / "x.psam"))
    bgen_options = ("--export", "bgen-1.2", "ref-first")
    for options, ending in (
        (("--make-bed",), "bed"),
        (("--make-pgen",), "pgen"),
        (bgen_options, "bgen"),
    ):
        prefix = plink2(*options, source=source)
        np.testing.assert_array_equal(
            open_genotypes(f"{prefix}.{ending}").read(), [[0], [2], [1], [2]]
        )


def test_geuvadis_as_it_is_agrees_with_plink2(data_dir, tmp_path):
    if shutil.which("plink2") is None:
        pytest.skip(NO_PLINK2)
    given = data_dir / "geuvadis" / "Geuvadis"
    prefix = tmp_path / "tidy"
    for end in ("bed", "bim", "fam"):
        content = given.with_suffix(f".{end}").read_bytes()
        prefix.with_suffix(f".{end}").write_bytes(
            content if end == "bed" else content.replace(b"\r\n", b"\n")
        )
    command = ["plink2", "--bfile", str(prefix), "--threads", "1", "--export", "A"]
    subprocess.run([*command, "--out", str(prefix)], check=True, capture_output=True)
    with open_genotypes(given) as genotypes:
        assert len(genotypes.samples) == 178
        exported = raw_copies(prefix, genotypes.variants)
        np.testing.assert_array_equal(genotypes.read(), exported)
        assert np.isnan(exported).any()


# Details of single formats.


def test_vcf_dosages_stand_before_calls_and_calls_fill_in(tmp_path):
    variants = VARIANTS.iloc[:4]
    cells = [["0/1:0.25"] * 4, ["./.:."] * 4, ["1:1.5"] * 4]
    path = tmp_path / "x.vcf"
    path.write_text(vcf_text(cells, variants, ("a", "b", "c"), "GT:DS"))
    np.testing.assert_array_equal(
        open_genotypes(path).read(), np.repeat([[0.25], [np.nan], [1.5]], 4, axis=1)
    )


def test_vcf_calls_that_are_half_missing_or_haploid(tmp_path):
    calls = ["0/0", "0|1", "./1", "1", "0", ".", "1/1"]
    path = tmp_path / "x.vcf"
    path.write_text(vcf_text([[call] for call in calls], VARIANTS.iloc[:1], list("abcdefg")))
    np.testing.assert_array_equal(
        open_genotypes(path).read()[:, 0], [0, 1, np.nan, 2, 0, np.nan, 2]
    )


def test_a_vcf_call_of_an_allele_that_there_is_not_is_refused(tmp_path):
    path = tmp_path / "x.vcf"
    path.write_text(vcf_text([["0/0", "0/1"], ["0/1", "0/2"]], VARIANTS.iloc[:2], ("a", "b")))
    with open_genotypes(path) as genotypes:
        np.testing.assert_array_equal(genotypes.read([0])[:, 0], [0, 1])
        with pytest.raises(ValueError, match=r"'rs1' has one alternate allele.*'b' names allele 2"):
            genotypes.read([1])


def test_variants_with_more_alleles_are_left_out_and_counted(tmp_path):
    path = tmp_path / "x.vcf"
    cells = [["0/0", "1/2", "0/1"], ["0/1", "0/0", "1/1"]]
    variants = VARIANTS.iloc[:3].assign(a1=["C", "A,T", "G"])
    path.write_text(vcf_text(cells, variants, ("a", "b")))
    with open_genotypes(path) as genotypes:
        assert list(genotypes.variants.index) == ["rs0", "rs2"]
        np.testing.assert_array_equal(genotypes.read([1, 0]), [[1, 0], [2, 1]])
        assert "1 variant that has not exactly two alleles" in genotypes.notes[0]
    (tmp_path / "y.pvar").write_text(
        "#CHROM\tPOS\tID\tREF\tALT\n1\t1\ta\tA\tC\n1\t2\tb\tA\tC,G\n1\t3\tc\tA\tT\n"
    )
    (tmp_path / "y.psam").write_text("#IID\na\nb\n")
    writer = pgenlib.PgenWriter(
        str(tmp_path / "y.pgen").encode(), 2, variant_ct=3, allele_ct_limit=3
    )
    for codes, alleles in (([0, 1, 1, 1], 2), ([1, 2, 0, 0], 3), ([0, 0, 0, 1], 2)):
        writer.append_alleles(np.array(codes, dtype=np.int32), allele_ct=alleles)
    writer.close()
    with open_genotypes(tmp_path / "y") as genotypes:
        assert list(genotypes.variants.index) == ["a", "c"]
        np.testing.assert_array_equal(genotypes.read(), [[1, 0], [2, 1]])


def test_variants_without_an_id_are_named_by_their_place(tmp_path):
    write_plink1(tmp_path / "x", CALLS, VARIANTS.rename({"rs0": ".", "rs3": "."}))
    genotypes = open_genotypes(tmp_path / "x")
    assert list(genotypes.variants.index[:4]) == ["1_100_T_C", "rs1", "rs2", "1_121_G_A"]
    assert genotypes.notes == ("2 variants without an id are named chrom_pos_a0_a1",)


def test_bgen_takes_samples_from_the_file_beside_it(tmp_path):
    path = tmp_path / "x.bgen"
    probabilities = np.eye(3)
    with bgen.BgenWriter(str(path), 3, []) as writer:
        writer.add_variant("v", "rs1", "01", 5, ["A", "G"], probabilities)
    with pytest.raises(ValueError, match=r"no file x\.sample beside it"):
        open_genotypes(path)
    (tmp_path / "x.sample").write_text("ID_1 ID_2 missing\n0 0 0\na a 0\nb b 0\nc c 0\n")
    with open_genotypes(path) as genotypes:
        assert genotypes.samples == ("a", "b", "c")
        np.testing.assert_array_equal(genotypes.read()[:, 0], [0, 1, 2])


def test_bgen_phased_and_haploid(tmp_path):
    path = tmp_path / "x.bgen"
    with bgen.BgenWriter(str(path), 2, ["a", "b"]) as writer:
        phased = np.array([[1.0, 0, 0, 1], [0, 1, 0, 1]])
        writer.add_variant("v", "rs1", "1", 5, ["A", "G"], phased, phased=True)
        writer.add_variant("w", "rs2", "X", 6, ["A", "G"], np.array([[1.0, 0], [0, 1]]), ploidy=1)
    with open_genotypes(path) as genotypes:
        np.testing.assert_array_equal(genotypes.read(), [[1, 0], [2, 2]])


@pytest.mark.parametrize(
    ("crosstype", "copies"),
    [
        *((name, [0, 1, 2]) for name in ("f2", "do", "hs", "ail", "risib8", "genril9", "magic19")),
        ("bc", [0, 1, np.nan]),
        *((name, [0, 2, np.nan]) for name in ("riself", "risib", "dh", "haploid")),
    ],
)
def test_qtl2_codes_become_copies(tmp_path, crosstype, copies):
    calls = np.repeat(np.arange(3.0)[:, None], len(VARIANTS), axis=1)
    write_qtl2(tmp_path / "x.zip", calls, VARIANTS, ("a", "b", "c"), {"crosstype": crosstype})
    np.testing.assert_array_equal(open_genotypes(tmp_path / "x.zip").read()[:, 0], copies)


def test_qtl2_says_what_it_takes_as_missing_and_leaves_out(tmp_path):
    control = {"genotypes": {"CC": 1, "CT": 2}}
    on_map = pd.DataFrame({"chr": VARIANTS["chrom"], "pos": VARIANTS["pos"] / 1e6}).iloc[1:]
    write_qtl2(
        tmp_path / "x.zip", CALLS, VARIANTS, control=control, pmap=on_map, gmap=on_map.iloc[:-1]
    )
    genotypes = open_genotypes(tmp_path / "x.zip")
    assert list(genotypes.variants.index) == [f"rs{j}" for j in range(1, 23)]
    assert np.isnan(genotypes.variants["cM"].iloc[-1])
    unlisted = (CALLS[:, 1:] == 2).sum()
    assert genotypes.notes == (
        f"{unlisted} genotypes 'TT' are taken as missing",
        "1 marker on no map is left out (rs0)",
    )
    np.testing.assert_array_equal(genotypes.read(), np.where(CALLS == 2, np.nan, CALLS)[:, 1:])


def test_qtl2_control_file_in_yaml_beside_its_tables(tmp_path):
    (tmp_path / "g.csv").write_text("id;m1;m2\n1;A;H\n2;B;-\n")
    (tmp_path / "m.csv").write_text("marker;chr;pos\nm1;1;10.5\nm2;X;3\n")
    (tmp_path / "x.yaml").write_text(
        "# control\ncrosstype: f2\nsep: ';'\nna.strings: '-'\ngeno: g.csv\ngmap: m.csv\n"
    )
    genotypes = open_genotypes(tmp_path / "x.yaml")
    assert genotypes.samples == ("1", "2")
    np.testing.assert_array_equal(genotypes.read(), [[0, 1], [2, np.nan]])
    assert list(genotypes.variants["pos"]) == [0, 0]
    assert list(genotypes.variants["cM"]) == [10.5, 3]


def test_qtl2_tables_in_several_files_in_a_folder_of_the_zip(tmp_path):
    files = {
        "cross/x.json": '{"crosstype": "f2", "geno": ["g1.csv", "g2.csv"],'
        ' "gmap": ["m1.csv", "m2.csv"], "na.strings": ["-"]}',
        "cross/g1.csv": "id,a,b\n1,A,H\n2,B,-\n",
        "cross/g2.csv": "id,c\n2,H\n1,A\n",
        "cross/m1.csv": "marker,chr,pos\na,1,1.5\nb,1,2\n",
        "cross/m2.csv": "marker,chr,pos\nc,X,3\n",
        "__MACOSX/cross/._x.json": "",
    }
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    genotypes = open_genotypes(tmp_path / "x.zip")
    np.testing.assert_array_equal(genotypes.read(), [[0, 1, 0], [2, np.nan, 1]])
    assert list(genotypes.variants["chrom"]) == ["1", "1", "X"]
    assert list(genotypes.variants["cM"]) == [1.5, 2, 3]


def test_recla_is_read_whole_from_its_zip(data_dir, tmp_path):
    path = data_dir / "recla" / "recla.zip"
    genotypes = open_genotypes(path)
    shutil.unpack_archive(path, tmp_path)
    table = pd.read_csv(tmp_path / "recla_geno.csv", index_col=0, dtype=str)
    calls = table.loc[genotypes.variants.index].to_numpy(dtype=object).T
    expected = np.select([calls == "A", calls == "H", calls == "B"], [0.0, 1, 2], np.nan)
    assert genotypes.samples == tuple(table.columns)
    np.testing.assert_array_equal(genotypes.read(), expected)
    place = pd.read_csv(tmp_path / "recla_pmap.csv", index_col=0).loc[genotypes.variants.index]
    np.testing.assert_allclose(genotypes.variants["pos"], place["pos"] * 1e6, atol=0.5)
    assert list(genotypes.variants["chrom"]) == list(place["chr"])


# Damaged files.


def damaged(written, tmp_path, name, change):
    """Copy the files of a format, and change one of them."""
    for file in written.glob(f"{name.split('.')[0]}.*"):
        shutil.copy(file, tmp_path / file.name)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))


def half(content):
    return content[: len(content) // 2]


def without_last_line(content):
    return content.rstrip().rpartition(b"\n")[0] + b"\n"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("one.x.bed", half, r"one\.x\.bed should hold 11 samples .*holds 11 whole variants: it is"),
        ("one.x.bed", lambda content: content[:-1], "22 whole variants: it is truncated"),
        ("one.x.bed", lambda content: b"", "is empty"),
        ("one.x.bed", lambda content: b"#CHROM\n" + content, "is not a PLINK 1 file"),
        ("one.x.bed", lambda c: c[:2] + b"\x00" + c[3:], "one row a sample"),
        ("one.x.bim", without_last_line, r"23 variants: one\.x\.bim has lost lines"),
        ("one.x.bim", lambda content: content.replace(b" ", b","), "columns separated by spaces"),
        (
            "one.x.bim",
            lambda content: content.replace(b" ", b",", 1),
            "expected 6 columns|Expected 5",
        ),
        ("one.x.bim", lambda content: content.replace(b"rs7 ", b"rs3 "), "more than once .*rs3"),
        ("one.x.bim", lambda content: content.replace(b" 107 ", b" here "), "variant 2 is 'here'"),
        ("one.x.bim", lambda c: c.replace(b" 107 ", b" inf "), "variant 2 is 'inf'"),
        ("one.x.bim", lambda c: c.replace(b" 107 ", b" 1e19 "), "variant 2 is '1e19'"),
        ("one.x.bim", lambda content: b"", "is empty"),
        ("one.x.fam", lambda content: content.replace(b"s7", b"s3"), "more than once .*s3"),
        ("one.x.fam", lambda content: content.replace(b" ", b","), "columns separated by spaces"),
        ("one.x.fam", lambda content: content[:90], "has fewer cells|belongs to other"),
        ("one.x.fam", lambda content: content * 2, "more than once|belongs to other samples"),
        ("two.pgen", half, "truncated|cannot be read"),
        ("two.pgen", lambda content: b"", "is empty"),
        ("two.pgen", lambda content: b"nonsense" * 50, "not a .pgen file"),
        ("two.pvar", without_last_line, "22"),
        ("two.pvar", lambda content: content.replace(b"\t", b","), "No variants"),
        ("two.psam", without_last_line, "10"),
        ("two.psam", lambda content: content.replace(b"IID", b"ID"), "no column IID"),
        ("two.psam", lambda content: content.replace(b"s7", b"s3"), "more than once .*s3"),
        ("v.vcf", lambda content: b"", "is empty"),
        ("v.vcf", lambda content: b"id,a\nx,1\n", "not a VCF"),
        ("v.vcf", lambda c: c.replace(b"\t107\t", b"\there\t"), "variant 2 cannot be read"),
        ("v.vcf", lambda c: c.replace(b"\trs7\t", b"\trs3\t"), "more than once .*rs3"),
        ("v.vcf", lambda c: c.replace(b"\ts7\t", b"\ts3\t"), "more than once|not a VCF"),
        ("v.vcf.gz", half, "cannot be read|not a VCF"),
        ("b.bgen", half, "truncated"),
        ("b.bgen", lambda content: b"", "is empty"),
        ("b.bgen", lambda content: b"nonsense" * 50, "doesn't appear to be a bgen"),
        ("p.parquet", half, "not a whole Parquet file"),
        ("p.parquet", lambda content: b"", "is empty"),
        ("q.zip", half, "not a whole zip file"),
        ("q.zip", lambda content: b"", "is empty"),
    ],
)
def test_damaged_files_are_named_with_what_is_wrong(written, tmp_path, name, change, message):
    damaged(written, tmp_path, name, change)
    stem = tmp_path / name
    with pytest.raises(ValueError, match=message) as raised:
        open_genotypes(stem).read()
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [("one.x", "one.x.fam", r"one\.x\.fam"), ("two", "two.psam", r"two\.psam")],
)
def test_a_file_that_is_not_there_is_named(written, tmp_path, name, missing, message):
    damaged(written, tmp_path, missing, lambda content: content)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        open_genotypes(tmp_path / name)


def test_names_that_say_no_format_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nor x\.pgen or \.bed"):
        open_genotypes(tmp_path / "x")
    (tmp_path / "x.txt").write_text("1")
    with pytest.raises(ValueError, match=r"ends in \.bed, \.pgen, \.vcf"):
        open_genotypes(tmp_path / "x.txt")


def test_a_reader_that_is_not_installed_is_named(written, monkeypatch):
    for module, name in (("bed_reader", "one.x"), ("pgenlib", "two"), ("cyvcf2", "v.vcf")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=rf"{module} is needed.*lmmlite-jax\[genot"):
            open_genotypes(written / name)


def test_parquet_needs_to_know_where_variants_are(tmp_path):
    frame = pd.DataFrame({"a": [0.0, 1.0]}, index=["rs1", "rs2"])
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="no column chrom and pos"):
        open_genotypes(tmp_path / "x.parquet")
    frame = frame.assign(chrom="1", pos=[1, 2], b=[2.0, -9.0])
    frame.to_parquet(tmp_path / "y.parquet")
    with pytest.raises(ValueError, match=r"dosage -9 of variant 'rs2' is not from 0 to 2"):
        open_genotypes(tmp_path / "y.parquet").read()
    frame.assign(b="AA").to_parquet(tmp_path / "z.parquet")
    with pytest.raises(ValueError, match="column 'b' holds"):
        open_genotypes(tmp_path / "z.parquet").read()


def test_qtl2_control_files_that_name_too_little(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="names no crosstype"):
        open_genotypes(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"crosstype": "f2", "pheno": "p.csv"}')
    with pytest.raises(ValueError, match="names no geno"):
        open_genotypes(tmp_path / "x.json")
    write_qtl2(tmp_path / "x.zip", CALLS, VARIANTS, control={"pmap": "other.csv"})
    with pytest.raises(FileNotFoundError, match=r"'other\.csv', which is not in the zip"):
        open_genotypes(tmp_path / "x.zip")
    write_qtl2(tmp_path / "x.zip", CALLS, VARIANTS, control={"sep": ";"})
    with pytest.raises(ValueError, match="wrong delimiter"):
        open_genotypes(tmp_path / "x.zip")
    write_qtl2(tmp_path / "x.zip", CALLS, VARIANTS, control={"genotypes": {"CC": 7}})
    with pytest.raises(ValueError, match="codes a genotype as 7"):
        open_genotypes(tmp_path / "x.zip")
