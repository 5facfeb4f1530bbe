"""A block of fitted traits: all that mapping sees of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lmmlite_jax.model.cells import CellTraits, traits_for_refit
from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.engine import Group
from lmmlite_jax.model.fitted_blocks import Rotated
from lmmlite_jax.model.individuals import Individuals
from lmmlite_jax.model.left_out import among_more, left_out_of
from lmmlite_jax.model.permuted_traits import permuted_traits
from lmmlite_jax.model.screening import (
    ScreenTraits,
)
from lmmlite_jax.model.tested_traits import (
    AmongMore,
    FittedTraits,
    RefitTraits,
    Traits,
    Whitened,
    at_null_of,
    for_refit_of,
    for_screen_of,
    whitened_of,
)

__all__ = ["TraitBlock", "blocks_on", "trait_blocks"]


@dataclass(frozen=True, eq=False)
class TraitBlock:
    """T fitted traits observed in the same individuals.

    Attributes
    ----------
    traits : (T,)
        Their numbers (columns of Y), -1 where a place is empty.
    individuals : Individuals
        In whom they are observed; blocks with the same individuals share the object.
    status, hsq : (T,)
        `Status` and heritability of each without a marker.
    """

    traits: Int[np.ndarray, " T"]
    individuals: Individuals
    status: Int[np.ndarray, " T"]
    hsq: Float[np.ndarray, " T"]
    _rotated: Rotated
    _block: int
    _columns: Int[np.ndarray, " T"]

    @property
    def n(self) -> int:
        """Individuals observed."""
        return self.individuals.n

    @property
    def dof(self) -> int:
        """Individuals observed less the covariates."""
        return self.individuals.dof

    @property
    def singular(self) -> bool:
        """Whether some eigenvalue that enters is zero."""
        return self.individuals.singular

    def part(self, places: Int[np.ndarray, " some"]) -> TraitBlock:
        """Traits in some places of the block, in that order; none where a place is -1."""
        at = np.maximum(places, 0)
        return TraitBlock(
            np.where(places >= 0, self.traits[at], -1),
            self.individuals,
            self.status[at],
            self.hsq[at],
            self._rotated,
            self._block,
            self._columns[at],
        )

    def parts(self, width: int) -> list[TraitBlock]:
        """All traits, at most ``width`` at a time, in parts of one size: the same every time."""
        size = self.traits.size
        if size <= width:
            return [self]
        if width not in self._parts:
            places = np.arange(-(-size // width) * width).reshape(-1, width)
            parts = [self.part(np.where(some < size, some, -1)) for some in places]
            self._parts[width] = [part for part in parts if np.any(part.traits >= 0)]
        return self._parts[width]

    @cached_property
    def _parts(self) -> dict[int, list[TraitBlock]]:
        return {}

    @cached_property
    def at_null(self) -> Traits:
        """The traits at their heritabilities without markers."""
        if "_null_and_screen" in vars(self):
            return self._null_and_screen[0]
        return at_null_of(self._fitted(self._chosen), dtype=self.individuals.dtype)

    @cached_property
    def among_more(self) -> AmongMore | None:
        """The traits at their heritabilities in the rotation for the wider individuals.

        None where there are none, or where too little is left of the traits' own.
        """
        own = self.individuals
        if own.wider is None:
            return None
        weighted, left_out, known = among_more(
            own.pattern,
            own.wider.pattern,
            own.left_out,
            self.at_null.weighted,
            np.nan_to_num(self.hsq),
            n=own.everyone,
        )
        if not known:
            return None
        return AmongMore(self.at_null._replace(weighted=weighted), left_out)

    @cached_property
    def for_screen(self) -> ScreenTraits:
        """The traits at their heritabilities without markers, in single precision."""
        return self._null_and_screen[1]

    @cached_property
    def _null_and_screen(self) -> tuple[Traits, ScreenTraits]:
        return for_screen_of(self._fitted(self._chosen))

    @cached_property
    def for_refit(self) -> RefitTraits:
        """The traits as functions of the heritability."""
        if self._in_cells:
            return next(iter(self._in_cells.values()))[0]
        return for_refit_of(self._fitted(self._columns), reml=self.individuals.reml)

    def in_cells(self, *, restricted: bool) -> CellTraits:
        """The traits in the cells of the heritability that their individuals have.

        For pairs fitted by the likelihood that the marker restricts as well, or by another.
        """
        own = self.individuals
        if restricted not in self._in_cells:
            fitted, cells = self._fitted(self._columns), (own.cells, own.fine_cells)
            self._in_cells[restricted] = traits_for_refit(
                fitted, *cells, reml=own.reml, restricted=restricted
            )
        return self._in_cells[restricted][1]

    @cached_property
    def _in_cells(self) -> dict[bool, tuple[RefitTraits, CellTraits]]:
        return {}

    @cached_property
    def whitened(self) -> Whitened:
        """Their residuals, exchangeable under the null."""
        return whitened_of(self.individuals.pattern, self.at_null, self.hsq)

    def permuted(self, place: int, orders: Int[np.ndarray, "P q"], dtype: str) -> Traits:
        """The trait in one place in P orders of its residuals: see `permuted_traits`."""
        return permuted_traits(
            self.individuals.pattern,
            self._rotated.profile.skeleton,
            self.whitened,
            self.hsq[place],
            place,
            orders,
            reml=self.individuals.reml,
            dtype=dtype,
        )

    def _fitted(self, columns: Int[np.ndarray, " T"] | None) -> FittedTraits:
        pattern = self.individuals.pattern
        return FittedTraits(pattern, self._rotated, self._block, columns, self.hsq, self.status)

    @property
    def _chosen(self) -> Int[np.ndarray, " T"] | None:
        """Columns of the engine's block; None for all, which need not be gathered."""
        everything = self._columns.size == self._rotated.values.shape[2]
        ordered = everything and np.array_equal(self._columns, np.arange(self._columns.size))
        return None if ordered else self._columns


def blocks_on(blocks: Sequence[TraitBlock], device: jax.Device | None) -> list[TraitBlock]:
    """Blocks with copies of their arrays on a device; None for where they are.

    What several blocks share is copied once.
    """
    if device is None:
        return list(blocks)
    people: dict[int, Individuals] = {}
    rotated: dict[int, Rotated] = {}

    def copied(individuals: Individuals) -> Individuals:
        own = id(individuals)
        if own not in people:
            people[own] = individuals.on(device)
            if individuals.wider is not None:
                people[own].wider = copied(individuals.wider)
        return people[own]

    for block in blocks:
        if id(block._rotated) not in rotated:
            rotated[id(block._rotated)] = jax.device_put(block._rotated, device)
    return [
        replace(block, individuals=copied(block.individuals), _rotated=rotated[id(block._rotated)])
        for block in blocks
    ]


def trait_blocks(
    groups: list[Group], everyone: int, reml: bool, dtype: str
) -> Iterator[TraitBlock]:
    """Blocks of traits of groups that share their decompositions, by the individuals observed."""
    patterns, skeleton = groups[0].patterns, groups[0].rotated.profile.skeleton
    widest, left_out = _left_out(groups)

    def individuals_of(k: int, wider: Individuals | None = None) -> Individuals:
        one = patterns if len(patterns.n) == 1 else _one_of(patterns, k)
        places = None if wider is None else left_out[k]
        return Individuals(one, skeleton, everyone, reml, dtype, wider, places)

    served = np.any(left_out >= 0, axis=1) & (dtype == "float64")
    wider = individuals_of(widest)
    for k in np.unique(np.concatenate([group.which for group in groups])):
        among = wider if served[k] else None
        individuals = wider if k == widest else individuals_of(int(k), among)
        for group in groups:
            of_traits = group.estimates.hsq, group.estimates.status
            hsq, status = (np.asarray(values).reshape(group.traits.shape) for values in of_traits)
            for c in np.flatnonzero(group.which == k):
                traits = group.traits[c]
                if np.any(traits >= 0):
                    yield TraitBlock(
                        traits,
                        individuals,
                        status[c],
                        hsq[c],
                        group.rotated,
                        int(c),
                        np.arange(traits.size),
                    )


def _left_out(groups: list[Group]) -> tuple[int, Int[np.ndarray, "P most"]]:
    """The widest pattern, and places there of the individuals that others leave out."""
    members = np.asarray(groups[0].patterns.members)
    traits = np.zeros(len(members), dtype=int)
    for group in groups:
        used = np.any(group.traits >= 0, axis=1)
        np.add.at(traits, group.which[used], group.traits.shape[1])
    return left_out_of(members, traits)


@jax.jit
def _one_of(patterns: Pattern, k: Int[Array, ""]) -> Pattern:
    """One of several patterns (leading axis 1); one program for what are over a dozen arrays."""
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, k, 1), patterns)
