"""Small genotype files, written without the packages that read them."""

from __future__ import annotations

import gzip
import json
from zipfile import ZipFile

import numpy as np
import pandas as pd

SAMPLES = tuple(f"s{i}" for i in range(1, 12))


def example_variants():
    """Twenty-three variants on chromosomes 1, 2 and X."""
    number = np.arange(23)
    return pd.DataFrame(
        {
            "chrom": np.repeat(["1", "2", "X"], [9, 10, 4]),
            "pos": 100 + 7 * number,
            "a1": np.where(number % 2, "A", "C"),
            "a0": np.where(number % 2, "G", "T"),
        },
        index=pd.Index([f"rs{j}" for j in number], name="variant_id"),
    )


def example_dosages(seed=0):
    """Calls of `SAMPLES`: variant 4 is missing in all, and variant 5 does not vary."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 3, (len(SAMPLES), 23)).astype(np.float32)
    calls[rng.random(calls.shape) < 0.1] = np.nan
    calls[:, 4] = np.nan
    calls[:, 5] = 1
    return calls


def write_plink1(prefix, calls, variants, samples=SAMPLES, space="\t", end="\n"):
    """Write .bed, .bim and .fam; calls are copies of a1."""
    bits = np.select([np.isnan(calls), calls == 2, calls == 1], [1, 0, 2], 3).astype(np.uint8)
    bits = np.pad(bits, ((0, -len(bits) % 4), (0, 0))).reshape(-1, 4, bits.shape[1])
    rows = (bits << np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8)
    prefix.with_name(f"{prefix.name}.bed").write_bytes(b"\x6c\x1b\x01" + rows.T.tobytes())
    bim = [
        space.join([v.chrom, str(v.Index), "0", str(v.pos), v.a1, v.a0])
        for v in variants.itertuples()
    ]
    fam = [space.join(["0", sample, "0", "0", "0", "-9"]) for sample in samples]
    for name, lines in (("bim", bim), ("fam", fam)):
        text = "".join(line + end for line in lines)
        prefix.with_name(f"{prefix.name}.{name}").write_bytes(text.encode())


def vcf_text(cells, variants, samples=SAMPLES, fields="GT"):
    """Text of a VCF whose cells (n, M) are written already."""
    lines = [
        "##fileformat=VCFv4.2",
        *(f"##contig=<ID={chrom}>" for chrom in dict.fromkeys(variants["chrom"])),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
    ]
    if "DS" in fields:
        lines.append('##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">')
    fixed = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*fixed, *samples]))
    for j, v in enumerate(variants.itertuples()):
        site = [v.chrom, str(v.pos), str(v.Index), v.a0, v.a1, ".", ".", ".", fields]
        lines.append("\t".join([*site, *(row[j] for row in cells)]))
    return "\n".join(lines) + "\n"


def write_vcf(path, calls, variants, samples=SAMPLES):
    """Write hard calls as a VCF, packed if its name ends in .gz."""
    words = {0: "0/0", 1: "0/1", 2: "1|1"}
    cells = [["./." if np.isnan(x) else words[int(x)] for x in row] for row in calls]
    text = vcf_text(cells, variants, samples).encode()
    path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)


def write_parquet(path, calls, variants, samples=SAMPLES, rows=5):
    """Write dosages as Parquet, some rows in a group."""
    frame = pd.concat([variants, pd.DataFrame(calls.T, variants.index, list(samples))], axis=1)
    frame.to_parquet(path, row_group_size=rows)


def write_qtl2(path, calls, variants, samples=SAMPLES, control=None, **tables):
    """Write an R/qtl2 zip; more tables by their name in the control file."""
    labels = {0: "CC", 1: "CT", 2: "TT"}
    cells = [["-" if np.isnan(x) else labels[int(x)] for x in row] for row in calls]
    geno = pd.DataFrame(cells, samples, variants.index)
    pmap = pd.DataFrame({"chr": variants["chrom"], "pos": variants["pos"] / 1e6})
    gmap = pmap.assign(pos=variants["pos"] / 10)
    files = {"geno": geno.T, "pmap": pmap, "gmap": gmap, **tables}
    settings = {
        "crosstype": "f2",
        "na.strings": ["-", "NA"],
        "genotypes": {"CC": 1, "CT": 2, "TT": 3},
        "geno_transposed": True,
        **{name: f"x_{name}.csv" for name in files},
        **(control or {}),
    }
    with ZipFile(path, "w") as archive:
        archive.writestr("x.json", json.dumps(settings))
        for name, table in files.items():
            text = "# a comment\n" + table.rename_axis("id").to_csv(lineterminator="\n")
            archive.writestr(f"x_{name}.csv", text)
