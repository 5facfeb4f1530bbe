"""Groups of features that are mapped together."""

from __future__ import annotations

import os
from pathlib import Path

from lmmlite_jax.data._names import few, repeated
from lmmlite_jax.data._text import two_columns

__all__ = ["read_phenotype_groups"]


def read_phenotype_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Read which group each feature is in, in tensorQTL's form.

    Parameters
    ----------
    path : path
        Two columns without a header, separated by a tab: the feature's id and its group's, such as
        a transcript and its gene.

    Returns
    -------
    dict of str to str
        Group, by the id of the feature.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line does not have two ids, or a feature has two lines.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from lmmlite_jax.data import read_phenotype_groups
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "groups.tsv"
    >>> _ = path.write_text("ENST1\tENSG1\nENST2\tENSG1\n")
    >>> read_phenotype_groups(path)
    {'ENST1': 'ENSG1', 'ENST2': 'ENSG1'}
    """
    path = Path(path)
    pairs = two_columns(path, "\t", "a tab, the id of a feature and that of its group")
    twice = repeated(feature for feature, _ in pairs)
    if twice:
        raise ValueError(
            f"{path}: ids of features appear more than once ({few(twice)}): a feature is in one "
            "group."
        )
    return dict(pairs)
