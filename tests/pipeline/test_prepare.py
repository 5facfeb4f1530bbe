"""Expression from counts of reads and a GTF, as mapping reads it."""

import gzip

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import lmmlite_jax as lmm
from lmmlite_jax.cli import app
from lmmlite_jax.data import read_phenotypes

GENES = [  # in another order than their places
    ("chr2", 500, 900, "+", "E1"),
    ("chr1", 700, 800, "+", "E2"),
    ("chr1", 100, 600, "-", "E3"),
    ("chr1", 50, 60, "+", "rare"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reads")
    rng = np.random.default_rng(3)
    counts = pd.DataFrame(
        rng.poisson(100, (5, 20)),
        pd.Index(["E1", "E2", "E3", "elsewhere", "rare"], name="id"),
        [f"s{i}" for i in range(20)],
    )
    counts.loc["rare"] = 0
    counts.loc["rare", ["s1", "s2", "s3"]] = 9  # too few samples
    counts.to_csv(folder / "counts.tsv", sep="\t")
    lines = [
        f'{chrom}\tX\t{what}\t{start}\t{end}\t.\t{strand}\t.\tgene_id "{name}"; level 1;\n'
        for chrom, start, end, strand, name in GENES
        for what in ("gene", "transcript")
    ]
    with gzip.open(folder / "genes.gtf.gz", "wt") as stream:
        stream.write("#!genome-build\n" + "".join(lines))
    return folder, counts


def run(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


@pytest.mark.parametrize("ending", [".bed", ".bed.gz", ".bed.parquet"])
def test_expressed_genes_have_normal_quantiles_where_transcription_starts(files, tmp_path, ending):
    folder, counts = files
    out = tmp_path / f"e{ending}"
    done = run(folder / "counts.tsv", folder / "genes.gtf.gz", out)
    assert done.exit_code == 0, done.output
    assert "4 genes expressed in enough samples" in done.stderr
    assert "left out (elsewhere)" in done.stderr
    values, positions = read_phenotypes(out)
    assert values.index.tolist() == ["E1", "E3", "E2"]  # chromosomes as in the GTF
    assert positions["end"].tolist() == positions["start"].tolist() == [500, 600, 700]
    size = counts.sum() * lmm.tmm_factors(counts.T)
    expected = lmm.inverse_normal((counts / size).T.to_numpy())[:, [0, 2, 1]].T
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def test_genes_are_chosen_by_transcripts_per_million_too_and_may_stay_as_they_are(files, tmp_path):
    folder, counts = files
    tpm = (counts / counts).fillna(0.0)
    tpm.loc["E2"] = 0.01
    tpm.to_csv(tmp_path / "tpm.tsv", sep="\t")
    options = ["--tpm", tmp_path / "tpm.tsv", "--normalize", "none"]
    out = tmp_path / "e.bed"
    assert run(folder / "counts.tsv", folder / "genes.gtf.gz", out, *options).exit_code == 0
    values, _ = read_phenotypes(out)
    assert values.index.tolist() == ["E1", "E3"]
    size = counts.sum() * lmm.tmm_factors(counts.T) / 1e6
    np.testing.assert_allclose(values, np.log2(counts.loc[values.index] / size + 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "e.txt"}, "the name of a BED file ends in .bed, .bed.gz, .bed.parquet"),
        ({"more": ["--count-threshold", "1e9"]}, "No gene is left: 0 of 5 genes are expressed"),
        ({"more": ["--sample-fraction", "2"]}, "sample_fraction must be at least 0 and at most 1"),
        ({"genes": "counts.tsv"}, "has no line of a gene"),
        ({"genes": "cut.gtf.gz"}, "cut.gtf.gz is named .gz and is not a whole gzip file"),
        ({"out": "absent/e.bed"}, "there is no folder"),
        ({"counts": "without.tsv"}, "without.tsv: no gene has reads in"),
        ({"more": ["--tpm", "tpm.tsv"]}, "tpm.tsv has no gene rare: give those that have counts"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(files, tmp_path, change, message):
    folder, counts = files
    counts.drop(index="rare").to_csv(folder / "tpm.tsv", sep="\t")
    counts.assign(**{counts.columns[1]: 0}).to_csv(folder / "without.tsv", sep="\t")
    (folder / "cut.gtf.gz").write_bytes((folder / "genes.gtf.gz").read_bytes()[:-9])
    genes, out = folder / change.get("genes", "genes.gtf.gz"), tmp_path / change.get("out", "e.bed")
    more = [folder / one if one == "tpm.tsv" else one for one in change.get("more", [])]
    done = run(folder / change.get("counts", "counts.tsv"), genes, out, *more)
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())
