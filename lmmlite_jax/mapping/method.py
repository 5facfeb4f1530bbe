"""What a scan tests, and how."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Method", "check_choices"]


class Method(NamedTuple):
    """What is tested, and how, with k columns a marker; ``asymptotic`` as in `scan`."""

    variance: str
    test: str
    columns: int
    dtype: str
    tol: float
    asymptotic: bool = False

    def reml(self, asked: bool) -> bool:
        """Whether traits are fitted by REML without markers; for refits the test decides."""
        if self.variance == "null":
            return asked
        return self.test == "wald" or not self.asymptotic


def check_choices(variance: str, test: str, keep: str | float) -> None:
    """Refuse what a scan cannot do."""
    if variance not in ("null", "refit"):
        raise ValueError(f"variance must be 'null' or 'refit', got {variance!r}.")
    tests = ("wald", "lrt", "score") if variance == "null" else ("wald", "lrt")
    if test not in tests:
        hint = ": the score test fits no pair, use variance='null'" if test == "score" else ""
        raise ValueError(f"test must be one of {', '.join(tests)} here, got {test!r}{hint}.")
    if isinstance(keep, str) and keep not in ("all", "best"):
        raise ValueError(f"keep must be 'all', 'best' or the least -log10 p, got {keep!r}.")
    if not isinstance(keep, str) and not keep > 0:
        raise ValueError(f"keep must be a positive -log10 p, got {keep}.")
