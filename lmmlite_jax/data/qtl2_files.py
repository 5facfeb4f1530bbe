"""The tables of a cross in R/qtl2's format: a control file and the files that it names."""

from __future__ import annotations

import csv
import json
import os
import posixpath
import re
import zlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._text import check_readable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Qtl2Cross", "is_qtl2"]

_ENDINGS = (".zip", ".json", ".yaml", ".yml")
_YAML = (".yaml", ".yml")
_DEFAULT_CODES = {"A": 1, "H": 2, "B": 3, "D": 4, "C": 5}
_STACKED = ("gmap", "pmap")
_MAP_COLUMNS = ("chr", "pos")
_SEXES = {"f": 0.0, "m": 1.0}


def is_qtl2(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is named as R/qtl2's zip or control file.

    >>> is_qtl2("recla.zip"), is_qtl2("pheno.csv")
    (True, False)
    """
    return Path(path).name.lower().endswith(_ENDINGS)


class Qtl2Cross:
    """The control file of a cross, and its tables read when they are asked for.

    Parameters
    ----------
    path : path
        The zip, or the control file (``.json`` or ``.yaml``) beside the files that it names.

    Attributes
    ----------
    control : dict
        What the control file says.
    codes : dict of str to int
        Number of each genotype label.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the zip is damaged or has not one control file, or the control file cannot be read.

    References
    ----------
    The format is described at https://kbroman.org/qtl2/assets/vignettes/input_files.html.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_readable(self.path)
        zipped = self.path.suffix.lower() == ".zip"
        self._control_name = self._find_control() if zipped else self.path.name
        where = f"{self.path} ({self._control_name})"
        self.control = _parse_control(self._text(PurePosixPath(self._control_name).name), where)
        self.codes = _codes(self.control.get("genotypes", _DEFAULT_CODES), where)

    def table(self, key: str) -> pd.DataFrame | None:
        """Text of a table, its first column in the index; None where the cross has none.

        One whose control entry ends in ``_transposed`` is turned; of several files the maps are
        stacked and the others joined on their ids.
        """
        entry = self.control.get(key)
        if entry is None:
            return None
        files = entry if isinstance(entry, list) else [entry]
        tables = [self._read(str(file)) for file in files]
        pd = require("pandas", "genotypes")
        if _is_true(self.control.get(f"{key}_transposed", False)):
            # As one array of text: a column of its own for each of thousands is slow.
            tables = [
                pd.DataFrame(table.to_numpy(dtype=object).T, table.columns, table.index)
                for table in tables
            ]
        if key in _STACKED:
            # By position: each file may have names of its own.
            tables = [_map_columns(table, f"{self.path}: {key}") for table in tables]
        table = (
            tables[0] if len(tables) == 1 else pd.concat(tables, axis=0 if key in _STACKED else 1)
        )
        for names, of in ((table.index, "rows"), (table.columns, "columns")):
            if not names.is_unique:
                raise ValueError(
                    f"{self.path}: {key} has {of} of the same name ({few(repeated(names))})."
                )
        return table

    def numbers(self, key: str) -> pd.DataFrame | None:
        """Return a table whose cells are all numbers or missing, or None where there is none."""
        table = self.table(key)
        if table is None:
            return None
        pd = require("pandas", "genotypes")
        numeric = table.apply(pd.to_numeric, errors="coerce").astype(float)
        wrong = numeric.isna() & table.notna()
        if wrong.to_numpy().any():
            row, column = (int(place[0]) for place in wrong.to_numpy().nonzero())
            raise ValueError(
                f"{self.path}: {key} holds {table.iat[row, column]!r} for {table.index[row]!r} in "
                f"column {table.columns[column]!r}, where a number is expected."
            )
        return numeric

    @property
    def has_covariates(self) -> bool:
        """Whether there are covariates, be it sex alone."""
        sex = self.control.get("sex")
        return "covar" in self.control or (isinstance(sex, dict) and "file" in sex)

    def covariates(self) -> tuple[pd.DataFrame, list[str]]:
        """Covariates that are numbers, sex among them as 0 (female) and 1 (male).

        Returns
        -------
        (pandas.DataFrame, list of str)
            (samples × covariates), and the names of those left out because they hold text.
        """
        table = self.table("covar")
        pd = require("pandas", "genotypes")
        sex: dict[str, str] = self.control.get("sex", {})
        if not isinstance(sex, dict):
            raise ValueError(
                f"{self.path}: the control file's sex is {sex!r}, expected a column of covar or a "
                "file, and its labels."
            )
        name = sex.get("covar", "sex")
        in_a_file = "file" in sex and "covar" not in sex
        if in_a_file:
            own = self._read(str(sex["file"])).iloc[:, :1].set_axis([name], axis=1)
            if table is not None and name in table.columns:
                raise ValueError(
                    f"{self.path}: sex is in {sex['file']} and in a column of covar: name one of "
                    "the two in the control file."
                )
            table = own if table is None else pd.concat([table, own], axis=1)
        if table is None:
            raise ValueError(f"{self.path}: the control file names no covar.")
        if in_a_file or "covar" in sex:
            if name not in table.columns:
                raise ValueError(
                    f"{self.path}: the control file takes sex from the column {name!r} of covar "
                    f"({few(table.columns)}), which is not there."
                )
            table = table.assign(**{name: self._sex_numbers(table[name], sex)})
        numeric = table.apply(pd.to_numeric, errors="coerce").astype(float)
        text = (numeric.isna() & table.notna()).any()
        return numeric.loc[:, ~text], list(table.columns[text])

    def _sex_numbers(self, labels: pd.Series, sex: dict[str, Any]) -> pd.Series:
        """Sex as 0 and 1, from the control file's labels of female and male where it has some."""
        # R/qtl2 looks at the first letter only, in either case.
        codes = {
            str(label): _SEXES[str(meaning)[:1].lower()]
            for label, meaning in sex.items()
            if label not in {"covar", "file"} and str(meaning)[:1].lower() in _SEXES
        }
        if not codes:
            return labels
        unknown = labels[labels.notna() & ~labels.isin(list(codes))]
        if len(unknown):
            raise ValueError(
                f"{self.path}: the sex {unknown.iloc[0]!r} of {unknown.index[0]!r} is not among "
                f"those of the control file ({few(codes)}): name what is female and what is male."
            )
        return labels.map(codes)

    def _find_control(self) -> str:
        try:
            with ZipFile(self.path) as archive:
                names = archive.namelist()
        except BadZipFile as error:
            raise ValueError(f"{self.path} is named .zip and is not a whole zip file.") from error
        shown = [
            name
            for name in names
            if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
        ]
        yaml = [name for name in shown if name.lower().endswith(_YAML)]
        # Where there is a YAML file R/qtl2 does not look at JSON files.
        found = yaml or [name for name in shown if name.lower().endswith(".json")]
        if len(found) != 1:
            raise ValueError(
                f"{self.path} holds {len(found)} control files ({few(found) or 'none'}): R/qtl2's "
                "zip has one, named .json or .yaml."
            )
        return found[0]

    def _text(self, name: str) -> str:
        """Text of a file whose path is relative to the control file."""
        if self.path.suffix.lower() != ".zip":
            check_readable(self.path.parent / name)
            content = (self.path.parent / name).read_bytes()
        else:
            folder = PurePosixPath(self._control_name).parent
            try:
                with ZipFile(self.path) as archive:
                    content = archive.read(posixpath.normpath(str(folder / name)))
            except KeyError as error:
                raise FileNotFoundError(
                    f"{self.path}: the control file names {name!r}, which is not in the zip."
                ) from error
            except (BadZipFile, zlib.error) as error:
                raise ValueError(f"{self.path}: {name} is damaged in the zip: {error}.") from error
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path}: {name} is not UTF-8 text (byte {error.start})."
            ) from error

    def _read(self, name: str) -> pd.DataFrame:
        """Text of one file, missing where it is empty or one of the control file's `na.strings`."""
        where = f"{self.path}: {name}"
        separator = str(self.control.get("sep", ","))
        if len(separator) != 1:
            raise ValueError(
                f"{self.path}: the control file's sep is {separator!r}, expected one character."
            )
        lines = self._text(name).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        mark = str(self.control.get("comment.char", "#"))
        # As in R/qtl2, comments come first: below the header a mark may begin an id.
        comments = list(takewhile(lambda line: mark and line.startswith(mark), lines))
        header, *rows = _rows(lines[len(comments) :], separator, len(comments), where)
        if not rows:
            raise ValueError(f"{where} has no row below its header.")
        if len(header) < 2:
            raise ValueError(
                f"{where} has one column where they should be separated by {separator!r}: wrong "
                "delimiter."
            )
        _check_counts(comments, mark, len(rows), len(header), where)
        ids = [row[0] for row in rows]
        _check_names(header[1:], "columns", where)
        _check_names(ids, "rows", where)
        missing = self.control.get("na.strings", ["NA"])
        missing = {"", *([missing] if isinstance(missing, str) else map(str, missing))}
        cells_of = [[None if cell in missing else cell for cell in row[1:]] for row in rows]
        pd = require("pandas", "genotypes")
        return pd.DataFrame(cells_of, pd.Index(ids, name=header[0]), header[1:], dtype=object)


def _rows(lines: Sequence[str], separator: str, above: int, where: str) -> list[list[str]]:
    """Cells of the lines that are not empty, as many in each as in the first, the header.

    `above` counts the lines of the file that come before these.
    """
    rows: list[list[str]] = []
    reader = csv.reader(lines, delimiter=separator)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells in ([], [""]):
                continue
            if rows and len(cells) != len(rows[0]):
                raise ValueError(
                    f"{where}: line {above + reader.line_num} ({cells[0]!r}) has {len(cells)} "
                    f"cells and the header has {len(rows[0])}: give every cell, NA where a value "
                    "is missing."
                )
            rows.append(cells)
    except csv.Error as error:
        raise ValueError(
            f"{where}: line {above + reader.line_num} cannot be read: {error}."
        ) from error
    if not rows:
        raise ValueError(f"{where} is empty.")
    return rows


def _map_columns(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Chromosome and position of markers: the first two columns, whatever they are named."""
    names = [str(name).lower() for name in table.columns]
    if len(names) < 2:
        raise ValueError(f"{where} has one column, expected marker, chromosome and position.")
    for place, name in enumerate(_MAP_COLUMNS):
        if name in names and names[place] != name:
            raise ValueError(
                f"{where} has the columns {few(table.columns)} after the marker, expected "
                "chromosome and position in this order: R/qtl2 reads maps by position."
            )
    return table.iloc[:, :2].set_axis(list(_MAP_COLUMNS), axis=1)


def _check_counts(comments: Sequence[str], mark: str, rows: int, columns: int, where: str) -> None:
    """Raise if the numbers of rows and columns that comments may tell are not those of a file."""
    for name, found in (("nrow", rows), ("ncol", columns)):
        pattern = rf"{re.escape(mark)}\s*{name}\s*[:=]?\s*(\d+)\s*"
        for told in filter(None, (re.fullmatch(pattern, line) for line in comments)):
            if int(told[1]) != found:
                raise ValueError(
                    f"{where} says '{name} {told[1]}' and has {found}: it is truncated or was "
                    "changed by hand."
                )


def _check_names(names: Sequence[str], of: str, where: str) -> None:
    if "" in names:
        raise ValueError(f"{where}: number {names.index('') + 1} of the {of} has no name.")
    if repeated(names):
        raise ValueError(
            f"{where} has {of} of the same name ({few(repeated(names))}): name each once."
        )


def _codes(labels: Any, where: str) -> dict[str, int]:
    """Numbers of the genotype labels."""
    if not isinstance(labels, dict):
        raise ValueError(f"{where}: genotypes is {labels!r}, expected a code for each label.")
    for label, code in labels.items():
        if not re.fullmatch(r"[1-5]", str(code)):
            raise ValueError(
                f"{where}: the control file codes a genotype as {code} ({label!r}), not 1 to 5."
            )
    return {str(label): int(code) for label, code in labels.items()}


def _is_true(flag: Any) -> bool:
    return str(flag).lower() in {"true", "yes", "on"}


def _parse_control(text: str, where: str) -> dict[str, Any]:
    if where.removesuffix(")").lower().endswith(_YAML):
        yaml = require("yaml", "genotypes")
        try:
            # All scalars stay text: YAML would make numbers of the labels 01 and 1e5.
            control = yaml.load(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"{where} is not YAML: {error}") from error
    else:
        try:
            control = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(control, dict) or "crosstype" not in control:
        raise ValueError(f"{where} is not R/qtl2's control file: it names no crosstype.")
    # As in R/qtl2, null is as if nothing were said.
    return {str(key): value for key, value in control.items() if value is not None}
