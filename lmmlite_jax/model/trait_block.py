"""A block of fitted traits: all that mapping sees of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.cells import (
    Cells,
    TraitsInCells,
    cells_of_spectrum,
    traits_in_cells,
    traits_in_products,
)
from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.engine import Group, Rotated
from lmmlite_jax.model.left_out import among_more, left_out_of
from lmmlite_jax.model.marker_rotation import MarkerRotation, Markers, marker_rotation
from lmmlite_jax.model.marker_rotation import rotate_markers as rotate
from lmmlite_jax.model.maximum import grid_points
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.profile import Profile
from lmmlite_jax.model.result import Status
from lmmlite_jax.model.screening import (
    ScreenMarkers,
    ScreenRotation,
    ScreenTraits,
    screen_markers,
    screen_rotation,
    screen_traits,
)
from lmmlite_jax.model.skeleton import Skeleton

__all__ = [
    "AmongMore",
    "Individuals",
    "RefitTraits",
    "TraitBlock",
    "Traits",
    "Whitened",
    "trait_blocks",
]


PARTS_OF_A_CELL = 4
"""Finer cells in each of the usual ones."""


class Traits(NamedTuple):
    """T traits at their heritabilities under the null.

    weighted (q, T) is w̃ ∘ ỹ; weights (r + 1, T) those of the nodes, and 1/(1-h); rss (T,) is
    Σ w̃ ỹ², NaN for a trait without a fit; dof () the degrees of freedom n - p.
    """

    weighted: Float[Array, "q T"]
    weights: Float[Array, "r_and_1 T"]
    rss: Float[Array, " T"]
    dof: Float[Array, ""]


class AmongMore(NamedTuple):
    """T traits at their heritabilities under the null, in the rotation for more individuals.

    ``traits`` are those, whose ``dof`` may be (T,); the products of a marker with ``left_out``
    (s, q, T) are what its squares lose by the individuals that the traits lack: see `left_out`.
    """

    traits: Traits
    left_out: Float[Array, "s q T"]


class RefitTraits(NamedTuple):
    """T traits before any marker, as functions of the heritability.

    Coefficients are those of the r nodes of a skeleton, and last that of the null space of K, whose
    eigenvalue is 0. Traits are in units of ``unit`` (T,).

    values (T, q) are ỹ, and rows (r + 1, q) what each g̃ ỹ adds to the coefficients of Σ w̃ g̃ ỹ;
    squares (r + 1, T): coefficients of Σ w̃ ỹ²; slopes (r + 1,): those of the derivative of log|V|;
    profile: log likelihood without marker; loglik (T,): at its maximum; absorbed, fitted (T,):
    whether the covariates absorb the null space, whether there is a fit at all.
    """

    values: Float[Array, "T q"]
    rows: Float[Array, "r_and_1 q"]
    squares: Float[Array, "r_and_1 T"]
    slopes: Float[Array, " r_and_1"]
    unit: Float[Array, " T"]
    profile: Profile
    loglik: Float[Array, " T"]
    absorbed: Bool[Array, " T"]
    fitted: Bool[Array, " T"]
    dof: Float[Array, ""]


class Whitened(NamedTuple):
    """Residuals of T traits that are exchangeable under the null, and what they were divided by.

    ``residuals`` (q, T) are independent and of one variance, in the first n - p rows; the others
    are padding. ``deviation`` (q, T) are the roots of hλ̃ + 1 - h.
    """

    residuals: Float[Array, "q T"]
    deviation: Float[Array, "q T"]


class Individuals:
    """The individuals observed for some traits, in whom genotypes are rotated.

    Attributes
    ----------
    numbers : (n,)
        Which of all individuals they are.
    n, dof : int
        How many, and those less the covariates.
    wider : Individuals or None
        More individuals, whose rotation of markers serves these as well.
    """

    def __init__(
        self,
        pattern: Pattern,
        skeleton: Skeleton,
        everyone: int,
        reml: bool,
        dtype: str,
        wider: Individuals | None = None,
        left_out: Int[np.ndarray, " s"] | None = None,
    ) -> None:
        members = np.asarray(pattern.members)[0]
        self.numbers = members[members >= 0]
        self.n = int(self.numbers.size)
        self.dof = self.n - pattern.projection.R.shape[-1]
        self._pattern, self._skeleton = pattern, skeleton
        self._everyone, self._reml, self._dtype = everyone, reml, dtype
        self.wider, self._left_out = wider, left_out

    def rotate_markers(self, genotypes: Float[AnyArray, "k B everyone"]) -> Markers:
        """Rotate B markers of k columns, given for all individuals without gaps."""
        return rotate(self._rotation, genotypes, dtype=self._dtype)

    def screen_markers(
        self, genotypes: Float[AnyArray, "1 B everyone"], double: bool
    ) -> ScreenMarkers:
        """Rotate B markers of one column, in ``double`` precision or in single, for a screen."""
        return screen_markers(self._screen_rotation, genotypes, double=double)

    @cached_property
    def _screen_rotation(self) -> ScreenRotation:
        return screen_rotation(self._pattern, self._skeleton, n=self._everyone)

    @cached_property
    def _rotation(self) -> MarkerRotation:
        return marker_rotation(self._pattern, self._skeleton, n=self._everyone, dtype=self._dtype)

    @cached_property
    def cells(self) -> Cells:
        """Cells of the heritability for the eigenvalues of these individuals."""
        return self._cells(1)

    @cached_property
    def fine_cells(self) -> Cells:
        """Parts of these cells, for the few pairs that are worth it."""
        return self._cells(PARTS_OF_A_CELL)

    def _cells(self, parts: int) -> Cells:
        pattern = self._pattern
        return cells_of_spectrum(
            np.asarray(pattern.projection.Kva)[0],
            np.asarray(pattern.rows)[0, -2] > 0,
            self._skeleton,
            float(np.asarray(pattern.smallest)[0]),
            float(self.dof if self._reml else self.n),
            self.n,
            parts,
        )

    @cached_property
    def _singular(self) -> bool:
        zeros = self._pattern.zeros, self._pattern.free_zeros
        return any(bool(np.any(np.asarray(count) > 0)) for count in zeros)

    @cached_property
    def _grid_points(self) -> int:
        return grid_points(np.asarray(self._skeleton.nodes), singular=self._singular)


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
        return self.individuals._singular

    @property
    def grid_points(self) -> int:
        """Points of the grid on which likelihoods are maximised."""
        return self.individuals._grid_points

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

    def parts(self, width: int) -> Iterator[TraitBlock]:
        """All traits, at most ``width`` at a time, in parts of one size."""
        size = self.traits.size
        if size <= width:
            yield self
            return
        for start in range(0, size, width):
            places = np.arange(start, start + width)
            part = self.part(np.where(places < size, places, -1))
            if np.any(part.traits >= 0):
                yield part

    @cached_property
    def at_null(self) -> Traits:
        """The traits at their heritabilities without markers."""
        if "_null_and_screen" in vars(self):
            return self._null_and_screen[0]
        return _at_null(
            self.individuals._pattern,
            self._rotated,
            self._block,
            self._chosen,
            self.hsq,
            self.status,
            dtype=self.individuals._dtype,
        )

    @cached_property
    def among_more(self) -> AmongMore | None:
        """The traits at their heritabilities in the rotation for the wider individuals.

        None where there are none, or where too little is left of the traits' own.
        """
        own = self.individuals
        if own.wider is None:
            return None
        weighted, left_out, known = among_more(
            own._pattern,
            own.wider._pattern,
            own._left_out,
            self.at_null.weighted,
            np.nan_to_num(self.hsq),
            n=own._everyone,
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
        return _for_screen(
            self.individuals._pattern,
            self._rotated,
            self._block,
            self._chosen,
            self.hsq,
            self.status,
        )

    @cached_property
    def for_refit(self) -> RefitTraits:
        """The traits as functions of the heritability."""
        return _for_refit(
            self.individuals._pattern,
            self._rotated,
            self._block,
            self._columns,
            self.hsq,
            self.status,
            reml=self.individuals._reml,
        )

    @cached_property
    def in_cells(self) -> TraitsInCells:
        """The traits in the cells of the heritability that their individuals have."""
        return self._in(self.individuals.cells)

    @cached_property
    def in_fine_cells(self) -> TraitsInCells:
        """The traits in the finer cells."""
        return self._in(self.individuals.fine_cells)

    @cached_property
    def in_products(self) -> Float[Array, "J T q"]:
        """The traits times the weights of each product of the cells, in single precision."""
        return traits_in_products(self.for_refit.values, self.individuals.cells)

    def _in(self, cells: Cells) -> TraitsInCells:
        traits, hsq = self.for_refit, np.nan_to_num(self.hsq)
        return traits_in_cells(
            traits.squares, traits.profile, traits.loglik, traits.absorbed, hsq, cells
        )

    @cached_property
    def whitened(self) -> Whitened:
        """Their residuals, exchangeable under the null."""
        return _whitened(self.individuals._pattern, self.at_null, self.hsq)

    @property
    def _chosen(self) -> Int[np.ndarray, " T"] | None:
        """Columns of the engine's block; None for all, which need not be gathered."""
        everything = self._columns.size == self._rotated.values.shape[2]
        ordered = everything and np.array_equal(self._columns, np.arange(self._columns.size))
        return None if ordered else self._columns


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
            hsq, status = np.asarray(group.fit.hsq), np.asarray(group.fit.status)
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


@partial(jax.jit, static_argnames="dtype")
def _at_null(
    pattern: Pattern,
    rotated: Rotated,
    block: Array,
    columns: Array | None,
    hsq: Float[Array, " T"],
    status: Int[Array, " T"],
    *,
    dtype: str,
) -> Traits:
    own = jax.tree.map(lambda a: a[0], pattern)
    hsq = _known(hsq)
    values = _values(rotated, block, columns)
    variance = hsq * own.projection.Kva[:, None] + (1 - hsq)
    weighted = values / variance
    regular = (status == Status.OK) | (status == Status.FLAT)
    # A regular fit has h² = 1 only where no eigenvalue is zero: there is nothing to weigh then.
    inverse_gap = jnp.where(hsq < 1, 1 / (1 - hsq), 0.0)
    return Traits(
        weighted.astype(dtype),
        jnp.concatenate([rotated.profile.skeleton.weights(hsq), inverse_gap[None]]).astype(dtype),
        jnp.where(regular, jnp.sum(values * weighted, axis=0), jnp.nan),
        (own.n - len(own.projection.R)).astype(float),
    )


@jax.jit
def _for_screen(
    pattern: Pattern,
    rotated: Rotated,
    block: Array,
    columns: Array | None,
    hsq: Float[Array, " T"],
    status: Int[Array, " T"],
) -> tuple[Traits, ScreenTraits]:
    """The traits as `_at_null` has them, and for a screen: one program for both."""
    null = _at_null(pattern, rotated, block, columns, hsq, status, dtype="float64")
    skeleton = rotated.profile.skeleton
    return null, screen_traits(pattern, skeleton, null.weighted, null.rss, hsq)


@jax.jit
def _whitened(pattern: Pattern, traits: Traits, hsq: Float[Array, " T"]) -> Whitened:
    h = _known(hsq)
    deviation = jnp.sqrt(h * pattern.projection.Kva[0][:, None] + (1 - h))
    return Whitened(traits.weighted * deviation, deviation)


@partial(jax.jit, static_argnames="reml")
def _for_refit(
    pattern: Pattern,
    rotated: Rotated,
    block: Array,
    columns: Int[Array, " T"],
    hsq: Float[Array, " T"],
    status: Int[Array, " T"],
    *,
    reml: bool,
) -> RefitTraits:
    own = jax.tree.map(lambda a: a[0], pattern)
    of_all = rotated.profile
    skeleton = of_all.skeleton
    values = _values(rotated, block, columns)
    flat = block * rotated.values.shape[2] + columns
    shared = jnp.where(of_all.logdet.shape[-1] == 1, 0, flat[0])  # of the pattern: its traits' too
    n = own.n.astype(float)
    dof = n - len(own.projection.R)
    square = jnp.sum(values**2, axis=0)
    unit = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    profile = Profile(
        skeleton,
        of_all.rss[:, flat] / unit**2,
        of_all.zero_rss[flat] / unit**2,
        lax.dynamic_slice_in_dim(of_all.logdet, shared, 1, axis=-1),
        lax.dynamic_slice_in_dim(of_all.zeros, shared, 1, axis=-1),
        dof if reml else n,
    )
    of_individuals = jnp.concatenate([skeleton.coefficients(own.rows[:-2]), own.rows[-1:]])
    return RefitTraits(
        values=(values / unit).T,
        rows=of_individuals,
        squares=jnp.concatenate([profile.rss, profile.zero_rss[None]]),
        slopes=jnp.concatenate([profile.logdet[:, 0], -profile.zeros]),
        unit=unit,
        profile=profile,
        loglik=profile.loglik(_known(hsq)),
        absorbed=(own.zeros > own.free_zeros) & (own.free_zeros == 0) & (profile.zero_rss == 0),
        fitted=(status == Status.OK) | (status == Status.FLAT),
        dof=dof,
    )


def _values(rotated: Rotated, block: Array, columns: Array | None) -> Array:
    """Rotated traits (q, T) of a block, or some of them, in their own units."""
    values, scale = rotated.values[block], rotated.scale[block]
    if columns is not None:
        values, scale = values[:, columns], scale[:, columns]
    return values.astype(float) * scale


def _known(hsq: Array) -> Array:
    """Heritabilities, zero where there is none."""
    return jnp.where(jnp.isnan(hsq), 0.0, hsq)
