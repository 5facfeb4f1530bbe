"""The mice of the R/lmmlite user guide."""

from __future__ import annotations

import os
from pathlib import Path

from lmmlite_jax._optional import require
from lmmlite_jax.data.cohort import Cohort

__all__ = ["load_recla"]

_URL = "https://raw.githubusercontent.com/kbroman/lmmlite/master/data/recla.RData"
_SHA256 = "701d63fa2a4dc13ff9452d99e64bc48629a38912dcd5ef91cfbc30686e3178da"


def load_recla(path: str | os.PathLike[str] | None = None) -> Cohort:
    """Load the 261 Diversity Outbred mice of Recla et al. (2014) and Logan et al. (2013).

    Parameters
    ----------
    path : path, optional
        A copy of R/lmmlite's ``recla.RData``. When not given, the file is downloaded once into the
        platform's cache folder.

    Returns
    -------
    Cohort
        Data frames: kinship (261, 261), pheno (261, 26) with 45 values missing, covar (261, 2) with
        intercept and sex (0 female, 1 male).

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ConnectionError
        If the file cannot be downloaded.
    ValueError
        If the file is not R/lmmlite's, by its SHA-256 checksum.

    References
    ----------
    Recla et al. (2014) Mammalian Genome 25:211-222. Logan et al. (2013) Genes, Brain and Behavior
    12:424-437.

    Examples
    --------
    >>> from lmmlite_jax.data import load_recla
    >>> mice = load_recla()  # doctest: +SKIP
    >>> mice.pheno.shape  # doctest: +SKIP
    (261, 26)
    """
    file = _download() if path is None else _checked(Path(path))
    rdata = require("rdata", "io")
    tables = rdata.read_rda(file)["recla"]
    kinship, pheno, covar = (tables[name].to_pandas() for name in ("kinship", "pheno", "covar"))
    return Cohort(
        kinship=kinship,
        pheno=pheno,
        covar=covar,
        individuals=tuple(pheno.index),
        phenotypes=tuple(pheno.columns),
        covariates=tuple(covar.columns),
    ).to_pandas()


def _download() -> Path:
    pooch = require("pooch", "io")
    requests = require("requests", "io")
    cache = pooch.os_cache("lmmlite-jax")
    try:
        return Path(pooch.retrieve(_URL, f"sha256:{_SHA256}", fname="recla.RData", path=cache))
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f"recla.RData could not be downloaded from {_URL} ({type(error).__name__}): "
            "download it by other means and pass its path to load_recla."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"The file at {_URL} is not the recla.RData known here: its SHA-256 checksum is "
            f"not {_SHA256}. Pass the path of an original copy to load_recla."
        ) from error


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    found = require("pooch", "io").file_hash(path, alg="sha256")
    if found != _SHA256:
        raise ValueError(
            f"{path} is not R/lmmlite's recla.RData: its SHA-256 checksum is {found}, "
            f"expected {_SHA256}."
        )
    return path
