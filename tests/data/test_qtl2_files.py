"""R/qtl2's format: whatever its control files may say, and damages that must not go by unseen."""

import json
from zipfile import ZipFile

import numpy as np
import pytest

from lmmlite_jax.data import open_genotypes, read_covariates, read_phenotypes

CONTROL = {
    "crosstype": "f2",
    "geno": "geno.csv",
    "pmap": "pmap.csv",
    "gmap": "gmap.csv",
    "pheno": "pheno.csv",
    "covar": "covar.csv",
    "sex": {"covar": "sex", "F": "female", "M": "male"},
    "na.strings": ["-", "NA"],
}
FILES = {
    "geno.csv": "id,a,b,c\ni1,A,H,B\ni2,B,-,H\ni3,H,A,A\n",
    "pmap.csv": "marker,chr,pos\na,1,1.5\nb,1,2\nc,X,3\n",
    "gmap.csv": "marker,chr,pos\na,1,10\nb,1,20.5\nc,X,30\n",
    "pheno.csv": "id,weight,length\ni1,20.5,1\ni2,NA,2\ni3,30,3\n",
    "covar.csv": "id,sex,diet\ni1,F,1\ni2,M,0\ni3,F,1\n",
}


def write_cross(folder, control=(), files=(), name="cross.json"):
    """Zip the cross above with what is changed; a file that is None is left out."""
    if not isinstance(control, str):
        control = json.dumps(CONTROL | dict(control))
    files = {key: text for key, text in (FILES | dict(files)).items() if text is not None}
    path = folder / "cross.zip"
    with ZipFile(path, "w") as archive:
        for file, text in {name: control, **files}.items():
            archive.writestr(file, text)
    return path


YAML = """
# a control file
crosstype: f2
geno: geno.csv
pmap: pmap.csv
gmap: gmap.csv
pheno: pheno.csv
pheno_transposed: no
covar: covar.csv
genotypes:
  01: 1
  NO: 2
  1e1: 3
sex:
  covar: sex
  F: female
  M: male
na.strings:
- '-'
- NA
"""
TURNED = {
    "geno.csv": "id,i1,i2,i3\na,A,B,H\nb,H,-,A\nc,B,H,A\n",
    "pheno.csv": "id,i1,i2,i3\nweight,20.5,NA,30\nlength,1,2,3\n",
    "covar.csv": "id,i1,i2,i3\nsex,F,M,F\ndiet,1,0,1\n",
    "pmap.csv": "marker,a,b,c\nchr,1,1,X\npos,1.5,2,3\n",
}
SEVERAL = {
    "geno": ["geno1.csv", "array/genoX.csv"],
    "pmap": ["array/pmap1.csv", "array/pmapX.csv"],
    "gmap": ["array/gmap1.csv", "./array/gmapX.csv"],
    "pheno": ["pheno1.csv", "pheno2.csv"],
}
SEVERAL_FILES = {
    "geno1.csv": "id,a,b\ni1,A,H\ni2,B,-\ni3,H,A\n",
    "array/genoX.csv": "id,c\ni3,A\ni1,B\ni2,H\n",
    "array/pmap1.csv": "marker,chrom,bp_mm10\na,1,1.5\nb,1,2\n",
    "array/pmapX.csv": "marker,chromosome,Mbp,tier\nc,X,3,1\n",
    "array/gmap1.csv": "marker,chr,cM\na,1,10\nb,1,20.5\n",
    "array/gmapX.csv": "marker,chr,cM_g2f1\nc,X,30\n",
    "pheno1.csv": "id,weight\ni1,20.5\ni3,30\ni2,NA\n",
    "pheno2.csv": "id,length\ni1,1\ni2,2\ni3,3\n",
}
FEATURES = {
    "JSON": {},
    "JSON with nulls": {"control": {"sep": None, "genotypes": None, "pheno_transposed": None}},
    "YAML, in which labels stay as they are written": {
        "control": YAML,
        "name": "cross.yaml",
        "files": {"geno.csv": "id,a,b,c\ni1,01,NO,1e1\ni2,1e1,-,NO\ni3,NO,01,01\n"},
    },
    "YAML stands before other JSON files": {
        "control": YAML,
        "name": "cross.yaml",
        "files": {
            "other.json": "{}",
            "geno.csv": "id,a,b,c\ni1,01,NO,1e1\ni2,1e1,-,NO\ni3,NO,01,01\n",
        },
    },
    "transposed": {
        "control": {f"{file[:-4]}_transposed": True for file in TURNED},
        "files": TURNED,
    },
    "several files, subfolders, and maps by position": {
        "control": SEVERAL,
        "files": SEVERAL_FILES | dict.fromkeys(("geno.csv", "pmap.csv", "gmap.csv")),
    },
    "all in a subfolder": {
        "name": "DO/cross.json",
        "files": {f"DO/{name}": text for name, text in FILES.items()}
        | dict.fromkeys(FILES)
        | {"__MACOSX/DO/._cross.json": "", "DO/._cross.json": ""},
    },
    "separator, comment mark and the numbers of rows and columns": {
        "control": {"sep": "\t", "comment.char": "%"},
        "files": {
            name: f"% of a cross\n% nrow 3\n% ncol {text.split()[0].count(',') + 1}\n"
            + text.replace(",", "\t")
            for name, text in FILES.items()
        },
    },
    "quotes, spaces, a byte order mark and Windows' line ends": {
        "files": {
            name: "\ufeff" + text.replace("i1,", '"i1" , ').replace("\n", "\r\n")
            for name, text in FILES.items()
        }
    },
    "codes as text, and labels that are numbers": {
        "control": {"genotypes": {"1": "1", "2": "2", "3": "3"}},
        "files": {"geno.csv": "id,a,b,c\ni1,1,2,3\ni2,3,-,2\ni3,2,1,1\n"},
    },
    "sex in capitals": {
        "control": {"sex": {"covar": "sex", "Female": "Female", "Male": "Male"}},
        "files": {"covar.csv": "id,sex,diet\ni1,Female,1\ni2,Male,0\ni3,Female,1\n"},
    },
    "sex in a file of its own": {
        "control": {"sex": {"file": "sex.csv", "f": "female", "m": "male"}},
        "files": {
            "sex.csv": "id,s\ni2,m\ni1,f\ni3,f\n",
            "covar.csv": "id,diet\ni1,1\ni2,0\ni3,1\n",
        },
    },
    "founders, alleles and cross information": {
        "control": {
            "crosstype": "do",
            "founder_geno": "founders.csv",
            "founder_geno_transposed": True,
            "alleles": list("ABCDEFGH"),
            "x_chr": "X",
            "cross_info": {"covar": "diet"},
            "description": ["two", "lines"],
        },
    },
}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_cross_is_the_same_however_it_is_written(tmp_path, feature):
    path = write_cross(tmp_path, **FEATURES[feature])
    with open_genotypes(path) as genotypes:
        assert genotypes.samples == ("i1", "i2", "i3")
        assert list(genotypes.variants.index) == ["a", "b", "c"]
        np.testing.assert_array_equal(genotypes.read(), [[0, 1, 2], [2, np.nan, 1], [1, 0, 0]])
        assert list(genotypes.variants["chrom"]) == ["1", "1", "X"]
        assert list(genotypes.variants["pos"]) == [1_500_000, 2_000_000, 3_000_000]
        assert list(genotypes.variants["cM"]) == [10, 20.5, 30]
        assert genotypes.notes == ()
    pheno = read_phenotypes(path).values[["i1", "i2", "i3"]]
    assert list(pheno.index) == ["weight", "length"]
    np.testing.assert_array_equal(pheno, [[20.5, np.nan, 30], [1, 2, 3]])
    covar = read_covariates(path, ["i1", "i2", "i3"]).loc[["i1", "i2", "i3"], ["sex", "diet"]]
    np.testing.assert_array_equal(covar, [[0, 1], [1, 0], [0, 1]])


def test_an_id_may_begin_with_the_comment_mark(tmp_path):
    path = write_cross(tmp_path, files={"pheno.csv": "# mice\nid,weight\n#1,2\n#2,3\n"})
    assert list(read_phenotypes(path).values.columns) == ["#1", "#2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"files": {"geno.csv": "# f2\n" + FILES["geno.csv"].replace("i2,B,", "i2,")}},
            r"geno\.csv: line 4 \('i2'\) has 3 cells and the header has 4",
        ),
        (
            {"files": {"pheno.csv": FILES["pheno.csv"].replace("20.5,", "")}},
            r"pheno\.csv: line 2 \('i1'\) has 2 cells and the header has 3",
        ),
        (
            {"files": {"pheno.csv": FILES["pheno.csv"].replace("i3,", "i3,4,")}},
            r"pheno\.csv: line 4 \('i3'\) has 4 cells",
        ),
        (
            {"files": {"pheno.csv": FILES["pheno.csv"].replace("length", "weight")}},
            r"pheno\.csv has columns of the same name \(weight\)",
        ),
        (
            {"files": {"geno.csv": FILES["geno.csv"].replace("a,b", "b,b")}},
            r"geno\.csv has columns of the same name \(b\)",
        ),
        (
            {"files": {"geno.csv": FILES["geno.csv"].replace("i3", "i1")}},
            r"geno\.csv has rows of the same name \(i1\)",
        ),
        (
            {"control": {"geno": ["geno.csv", "more.csv"]}, "files": {"more.csv": "id,a\ni1,H\n"}},
            r"geno has columns of the same name \(a\)",
        ),
        (
            {"files": {"pheno.csv": "id,weight,\ni1,1,2\n"}},
            r"pheno\.csv: number 2 of the columns has no name",
        ),
        (
            {"files": {"geno.csv": "# nrow 4\n" + FILES["geno.csv"]}},
            r"geno\.csv says 'nrow 4' and has 3",
        ),
        (
            {"files": {"pmap.csv": FILES["pmap.csv"].replace("1.5", "near")}},
            "pmap has the position 'near' for 'a', not a number",
        ),
        (
            {"files": {"gmap.csv": FILES["gmap.csv"].replace("20.5", "inf")}},
            "gmap has the position 'inf' for 'b', not a number",
        ),
        (
            {"files": {"pmap.csv": FILES["pmap.csv"].replace("1.5", "1e300")}},
            r"the position of variant 1 is 1e\+306, expected a whole number",
        ),
        (
            {"files": {"pmap.csv": "marker,pos,chr\na,1.5,1\nb,2,1\nc,3,X\n"}},
            r"pmap has the columns pos, chr after the marker",
        ),
        ({"control": {"genotypes": {"A": "low"}}}, "codes a genotype as low"),
        ({"control": {"genotypes": ["A", "H"]}}, "expected a code for each label"),
        ({"control": {"sep": "::"}}, "sep is '::', expected one character"),
        ({"files": {"geno.csv": 'id,a,b,c\ni1,"A,H,B\n'}}, r"geno\.csv"),
        ({"files": {"covar.csv": FILES["covar.csv"].replace("M", "X")}}, "the sex 'X' of 'i2'"),
        ({"control": {"sex": "sex.csv"}}, r"sex is 'sex\.csv', expected a column of covar"),
        ({"control": {"sex": {"covar": "gender"}}}, "sex from the column 'gender' of covar"),
        ({"files": {"second.json": "{}"}}, "holds 2 control files"),
    ],
)
def test_what_cannot_be_right_is_refused_and_named(tmp_path, changes, message):
    path = write_cross(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as raised:  # noqa: PT012 (one of three readers)
        open_genotypes(path)
        read_phenotypes(path)
        read_covariates(path, ["i1", "i2", "i3"])
    assert str(path) in str(raised.value)
