"""Chromosomes of variants and of features under the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmmlite_jax.data._names import counted, few

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["match_chromosomes"]

_AUTOSOMES = 22
_LETTERS = {"23": "X", "24": "Y", "26": "MT"}
_PSEUDOAUTOSOMAL = "25"


def match_chromosomes(
    variants: Iterable[str], positions: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    r"""Give features the chromosome names of the variants.

    ``chr1``, ``Chr1``, ``01`` and ``1`` are one chromosome, and so are ``chrM`` and ``MT``. PLINK
    writes human X, Y and MT as 23, 24 and 26: where one side has the number alone and the other
    the letters alone they are one chromosome, unless there are chromosomes of other numbers above
    22, as in species with more.

    Parameters
    ----------
    variants : iterable of str
        Chromosomes of the variants.
    positions : (features × 3) pandas.DataFrame
        As in `Phenotypes`.

    Returns
    -------
    (pandas.DataFrame, tuple of str)
        Positions with the variants' names in ``chrom``, and what there is to say: which names were
        taken for which, and which chromosomes are on one side only.

    Raises
    ------
    ValueError
        If no chromosome is on both sides, or one side has two names for one chromosome.

    Examples
    --------
    >>> import pandas as pd
    >>> from lmmlite_jax.data import match_chromosomes
    >>> genes = pd.DataFrame({"chrom": ["chr1", "chrX"], "start": 5, "end": 9}, index=["a", "b"])
    >>> positions, notes = match_chromosomes(["1", "23"], genes)
    >>> print(*notes)
    chromosomes of features are renamed as those of variants are (chr1 to 1, chrX to 23)
    >>> positions, notes = match_chromosomes(["1", "1", "2"], genes)
    >>> list(positions["chrom"])
    ['1', 'chrX']
    >>> print("\n".join(notes))
    chromosomes of features are renamed as those of variants are (chr1 to 1)
    1 feature is on chromosomes without variants (chrX: 1)
    chromosomes without features: 2
    """
    ours = _by_plain_name(variants, "variants")
    counts = Counter(positions["chrom"])
    theirs = _by_plain_name(counts, "features")
    ours, theirs = _with_letters(ours, theirs), _with_letters(theirs, ours)
    shared = [plain for plain in theirs if plain in ours]
    if not shared:
        raise ValueError(
            f"No chromosome has both variants ({few(ours.values(), 5)}) and features "
            f"({few(theirs.values(), 5)}): use the same names."
        )
    renamed = {theirs[plain]: ours[plain] for plain in shared if theirs[plain] != ours[plain]}
    notes = []
    if renamed:
        pairs = few(f"{old} to {new}" for old, new in renamed.items())
        notes.append(f"chromosomes of features are renamed as those of variants are ({pairs})")
    alone = [name for plain, name in theirs.items() if plain not in ours]
    if alone:
        each = ", ".join(f"{name}: {counts[name]}" for name in alone)
        count = sum(counts[name] for name in alone)
        some = counted(count, "feature is", "features are")
        notes.append(f"{some} on chromosomes without variants ({each})")
    empty = [name for plain, name in ours.items() if plain not in theirs]
    if empty:
        notes.append(f"chromosomes without features: {', '.join(empty)}")
    return positions.assign(chrom=positions["chrom"].replace(renamed)), tuple(notes)


def _by_plain_name(names: Iterable[str], of: str) -> dict[str, str]:
    """Names by what they are without ``chr`` and leading zeros, in order of appearance."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        plain = name[3:] if name.lower().startswith("chr") and len(name) > 3 else name
        plain = plain.lstrip("0") or plain
        plain = "MT" if plain.upper() in {"M", "MT"} else plain.upper()
        other = found.setdefault(plain, name)
        if other != name:
            raise ValueError(
                f"The {of} have two names for one chromosome, {other} and {name}: use one."
            )
    return found


def _with_letters(names: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Put PLINK's numbers of X, Y and MT under the letters, where the others have these instead."""
    numbers = {plain for plain in (*names, *others) if plain.isdigit() and int(plain) > _AUTOSOMES}
    if not numbers <= {*_LETTERS, _PSEUDOAUTOSOMAL}:
        return names
    instead = {
        number: letters
        for number, letters in _LETTERS.items()
        if letters in others and letters not in names and number not in others
    }
    return {instead.get(plain, plain): name for plain, name in names.items()}
