"""A run at work: what its modes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike

from lmmlite_jax.data._names import counted, few
from lmmlite_jax.mapping.cis.groups import as_groups
from lmmlite_jax.mapping.tables import Places
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.result import Status, reasons_of
from lmmlite_jax.pipeline.inputs import Inputs, Kinship
from lmmlite_jax.pipeline.parts import Parts
from lmmlite_jax.pipeline.plan import Planner
from lmmlite_jax.pipeline.processes import Share
from lmmlite_jax.pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bar", "Fact", "Log", "Run", "Table", "insert_before"]

Log = Callable[[str], None]
"""Told a line at a time."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""``bar(what, total)`` is a context that gives the function told of progress."""

Fact = str | int | float | dict[str, int]
"""What there is to say in a summary."""


@dataclass(frozen=True)
class Table:
    """A file to write: the ending of its name after the prefix, and its rows."""

    ending: str
    frame: pd.DataFrame


@dataclass
class Run:
    """A run at work.

    Attributes
    ----------
    inputs, settings, kinship, parts
        What is mapped, how, and what is finished.
    sources : list of dict
        The files that were read, as `described`.
    bar, log : function
        Told of progress, and of what was found.
    planner : Planner
        Tells how long the run will take.
    facts : dict
        What there is to say in the summary.
    """

    inputs: Inputs
    sources: list[dict[str, Any]]
    settings: Settings
    kinship: Kinship
    parts: Parts
    bar: Bar
    log: Log
    planner: Planner
    facts: dict[str, Fact] = field(default_factory=dict)

    @cached_property
    def null(self) -> NullModel:
        """The null model of all features; interacting covariates join the others."""
        settings, inputs = self.settings, self.inputs
        covariates = inputs.covariates
        if inputs.interaction is not None:
            for name, term in inputs.interaction.items():
                if not np.all(covariates.to_numpy() == term.to_numpy()[:, None], axis=0).any():
                    covariates = covariates.assign(**{str(name): term})
        return NullModel(
            self.kinship,
            inputs.values,
            covariates,
            paired_covariates=inputs.paired,
            clip_negative=settings.clip_kinship,
            scale_kinship=settings.scale_kinship,
        )

    @property
    def chromosome(self) -> np.ndarray | None:
        """Chromosome of each variant, where kinships differ by it."""
        return self.inputs.chromosome() if isinstance(self.kinship, dict) else None

    @cached_property
    def windows(self) -> Int[np.ndarray, "m 2"]:
        """Variants near each feature, of which at least one has some."""
        windows = self.inputs.windows(self.settings.distance)
        count = int((windows[:, 1] == windows[:, 0]).sum())
        if count == len(windows):
            raise ValueError(
                f"None of the {counted(count, 'feature')} has a variant within "
                f"{self.settings.distance:,} base pairs: see that "
                "positions are of the same genome build, or widen the window."
            )
        return windows

    @property
    def places(self) -> Places:
        """Names and places of features and variants."""
        variants, positions = self.inputs.variants, self.inputs.positions
        return Places(
            self.inputs.features,
            variants.index.tolist(),
            variants["pos"].to_numpy(),
            None if positions is None else positions["start"].to_numpy(),
            None if positions is None else positions["end"].to_numpy(),
            self.inputs.groups,
        )

    @contextmanager
    def progress(self, what: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Show a bar of work of which some is done; the function is told of each piece."""
        measuring = self.planner.measuring(self.null, len(self.inputs.variants), total - done)
        with self.bar(what, total) as advance, measuring as tell:
            advance(done)

            def both(count: int) -> None:
                advance(count)
                tell(count)

            yield both

    @cached_property
    def groups(self) -> Int[np.ndarray, " m"]:
        """Number of each feature's group, each feature being one where no groups are given."""
        return as_groups(self.inputs.groups, self.windows)

    def left(
        self, stage: str, groups: Int[np.ndarray, " m"] | None = None
    ) -> Bool[np.ndarray, " m"]:
        """Which features this process is to map: its share of those left, by whole groups."""
        groups = np.arange(len(self.inputs.features)) if groups is None else groups
        left = np.zeros(groups.size, dtype=bool)
        left[groups] = True
        left[groups[[feature for (feature,) in self.parts.begun(stage)]]] = False
        return self.share.of(left)[groups]

    @property
    def share(self) -> Share:
        """The part of the work that this process does."""
        return self.parts.processes.share

    def found(self, kind: str) -> pd.DataFrame:
        """Rows of a kind that are finished, of which there must be some."""
        found = self.parts.frame(kind)
        if found is None:
            raise ValueError(
                "No feature could be tested: too few samples are left, or covariates are collinear."
            )
        return found

    def note_features(self, status: Int[np.ndarray, " m"]) -> None:
        """Say which features were not tested, and why; ``status`` is that of their fits."""
        empty = self.windows[:, 1] == self.windows[:, 0]
        if empty.any():
            names = np.asarray(self.inputs.features, dtype=object)[empty]
            self.facts["without_variants"] = int(empty.sum())
            self.log(f"features without a variant in their window: {empty.sum()} ({few(names)})")
        self.note_reasons(np.where(empty, Status.OK, status))

    def note_reasons(self, status: Int[np.ndarray, " m"]) -> None:
        """Say how many features have no regular fit, by reason."""
        names = np.asarray(self.inputs.features, dtype=object)
        reasons = np.array(reasons_of(status, self.null.covariates, self.null.p), dtype=object)
        counts: dict[str, int] = {}
        for reason in dict.fromkeys(reasons[status != Status.OK].tolist()):
            if self.kinship is None and status[reasons == reason][0] == Status.FLAT:
                continue
            having = names[reasons == reason]
            counts[reason] = len(having)
            self.log(f"{counted(len(having), 'feature')}: {reason} ({few(having)})")
        self.facts["irregular"] = counts

    def status_of_counts(self) -> Int[np.ndarray, " m"]:
        """Status of features before any fit: whether enough samples are seen."""
        return self.null.status_of_counts()


def insert_before(table: pd.DataFrame, before: str, name: str, values: ArrayLike) -> None:
    """Put a column before another."""
    table.insert(table.columns.tolist().index(before), name, np.asarray(values))
