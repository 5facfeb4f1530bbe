"""Lists of names, as reports and error messages say them."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

__all__ = ["counted", "few", "repeated"]


def counted(count: int, one: str, many: str | None = None) -> str:
    """Write how many there are of something, whose plural ends in s unless it is given.

    >>> counted(1, "sample"), counted(2, "sample"), counted(2, "locus", "loci")
    ('1 sample', '2 samples', '2 loci')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def few(names: Iterable[object], limit: int = 3) -> str:
    """Write the first `limit` of `names`, an ellipsis standing for the others.

    >>> few(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    first = [str(name) for name in islice(names, limit + 1)]
    return ", ".join(first[:limit]) + (", …" if len(first) > limit else "")


def repeated(names: Iterable[str]) -> list[str]:
    """List the names that occur more than once.

    >>> repeated(["a", "b", "a"])
    ['a']
    """
    return [name for name, count in Counter(names).items() if count > 1]
