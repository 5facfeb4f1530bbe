"""The tables of a cross in R/qtl2's format: a control file and the files that it names."""

from __future__ import annotations

import io
import json
import os
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
        text = self._text(self._control_name) if zipped else self.path.read_text(encoding="utf-8")
        self.control = _parse_control(text, f"{self.path} ({self._control_name})")
        labels = self.control.get("genotypes", _DEFAULT_CODES)
        self.codes = {str(label): int(code) for label, code in labels.items()}

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
        if self.control.get(f"{key}_transposed", False):
            # As one array of text: a column of its own for each of thousands is slow.
            tables = [
                pd.DataFrame(table.to_numpy(dtype=object).T, table.columns, table.index)
                for table in tables
            ]
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

    def covariates(self) -> tuple[pd.DataFrame, list[str]]:
        """Covariates that are numbers, sex among them as 0 (female) and 1 (male).

        Returns
        -------
        (pandas.DataFrame, list of str)
            (samples × covariates), and the names of those left out because they hold text.
        """
        table = self.table("covar")
        if table is None:
            raise ValueError(f"{self.path}: the control file names no covar.")
        pd = require("pandas", "genotypes")
        sex = self.control.get("sex", {})
        if sex.get("covar") in table.columns:
            code = {"female": 0.0, "male": 1.0}
            labels = {str(k): code[v] for k, v in sex.items() if v in code}
            table = table.assign(**{sex["covar"]: table[sex["covar"]].map(labels)})
        numeric = table.apply(pd.to_numeric, errors="coerce").astype(float)
        text = (numeric.isna() & table.notna()).any()
        return numeric.loc[:, ~text], list(table.columns[text])

    def _find_control(self) -> str:
        try:
            with ZipFile(self.path) as archive:
                names = archive.namelist()
        except BadZipFile as error:
            raise ValueError(f"{self.path} is named .zip and is not a whole zip file.") from error
        hidden = ("__MACOSX", ".")
        found = [
            name
            for name in names
            if name.lower().endswith(_ENDINGS[1:]) and not name.startswith(hidden)
        ]
        if len(found) != 1:
            raise ValueError(
                f"{self.path} holds {len(found)} control files ({few(found) or 'none'}): R/qtl2's "
                "zip has one, named .json or .yaml."
            )
        return found[0]

    def _text(self, name: str) -> str:
        where = str(PurePosixPath(self._control_name).parent / PurePosixPath(name).name)
        try:
            with ZipFile(self.path) as archive:
                return archive.read(where.removeprefix("./")).decode("utf-8-sig")
        except KeyError as error:
            raise FileNotFoundError(
                f"{self.path}: the control file names {name!r}, which is not in the zip."
            ) from error
        except BadZipFile as error:
            raise ValueError(f"{self.path}: {name} is damaged in the zip: {error}.") from error

    def _read(self, name: str) -> pd.DataFrame:
        """Text of one file, missing where it is empty or one of the control file's `na.strings`."""
        if self.path.suffix.lower() == ".zip":
            text = self._text(name)
        else:
            check_readable(self.path.parent / name)
            text = (self.path.parent / name).read_text(encoding="utf-8-sig")
        comment = self.control.get("comment.char", "#")
        lines = [line for line in text.splitlines() if line and not line.startswith(comment)]
        if len(lines) < 2:
            raise ValueError(f"{self.path}: {name} has no row below its header.")
        separator = self.control.get("sep", ",")
        missing = self.control.get("na.strings", ["NA"])
        pd = require("pandas", "genotypes")
        try:
            table = pd.read_csv(
                io.StringIO("\n".join(lines)),
                sep=separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
            )
        except pd.errors.ParserError as error:
            raise ValueError(f"{self.path}: {name} cannot be read: {error}") from error
        if table.shape[1] < 2:
            raise ValueError(
                f"{self.path}: {name} has one column where they should be separated by "
                f"{separator!r}: wrong delimiter."
            )
        table = table.set_index(table.columns[0])
        missing = [missing] if isinstance(missing, str) else list(missing)
        return table.where(~table.isin([*missing, ""]))


def _parse_control(text: str, where: str) -> dict[str, Any]:
    if where.removesuffix(")").lower().endswith(_YAML):
        yaml = require("yaml", "genotypes")
        try:
            control = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{where} is not YAML: {error}") from error
    else:
        try:
            control = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(control, dict) or "crosstype" not in control:
        raise ValueError(f"{where} is not R/qtl2's control file: it names no crosstype.")
    return control
