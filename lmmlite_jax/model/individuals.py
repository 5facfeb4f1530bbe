"""The individuals observed for some traits, and how they rotate markers."""

from __future__ import annotations

from functools import cached_property

import jax
import numpy as np
from jaxtyping import Int, Real

from lmmlite_jax.model.cells import (
    Cells,
    cells_of_spectrum,
)
from lmmlite_jax.model.decomposition import Pattern
from lmmlite_jax.model.marker_rotation import MarkerRotation, Markers, marker_rotation
from lmmlite_jax.model.marker_rotation import rotate_markers as rotate
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.screening import (
    ScreenMarkers,
    ScreenRotation,
    screen_markers,
    screen_rotation,
)
from lmmlite_jax.model.skeleton import Skeleton

__all__ = ["Individuals"]

TIMES_AS_FINE = 3
"""Fine cells for each of the usual ones."""


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
    left_out : (s,) or None
        Which of the wider ones are left out here.
    pattern : Pattern
        Decomposition of these individuals' kinship (leading axis 1), for the model alone.
    skeleton : Skeleton
        That of its eigenvalues, and those of other patterns.
    everyone : int
        Individuals for whom genotypes are given.
    reml, dtype : bool, str
        Which likelihood traits are fitted by, and the precision of rotated markers.
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
        self.pattern, self.skeleton = pattern, skeleton
        self.everyone, self.reml, self.dtype = everyone, reml, dtype
        self.wider, self.left_out = wider, left_out

    def on(self, device: jax.Device) -> Individuals:
        """The same with copies of the arrays on a device."""
        return Individuals(
            jax.device_put(self.pattern, device),
            jax.device_put(self.skeleton, device),
            self.everyone,
            self.reml,
            self.dtype,
            self.wider,
            self.left_out,
        )

    def rotate_markers(self, genotypes: Real[AnyArray, "k B everyone"]) -> Markers:
        """Rotate B markers of k columns, given for all individuals; gaps in int8 alone."""
        return rotate(self.rotation, genotypes, dtype=self.dtype)

    def screen_markers(
        self, genotypes: Real[AnyArray, "1 B everyone"], double: bool
    ) -> ScreenMarkers:
        """Rotate B markers of one column, in ``double`` precision or in single, for a screen."""
        return screen_markers(self.screen_rotation, genotypes, double=double)

    @cached_property
    def screen_rotation(self) -> ScreenRotation:
        """What rotates markers for a screen."""
        return screen_rotation(self.pattern, self.skeleton, n=self.everyone)

    @cached_property
    def rotation(self) -> MarkerRotation:
        """What rotates markers."""
        return marker_rotation(self.pattern, self.skeleton, n=self.everyone, dtype=self.dtype)

    @cached_property
    def cells(self) -> Cells:
        """Cells of the heritability for the eigenvalues of these individuals."""
        return self._cells(1)

    @cached_property
    def fine_cells(self) -> Cells:
        """More of them, for the pairs that are looked at one by one."""
        return self._cells(TIMES_AS_FINE)

    def _cells(self, parts: int) -> Cells:
        pattern = self.pattern
        return cells_of_spectrum(
            np.asarray(pattern.projection.Kva)[0],
            np.asarray(pattern.rows)[0, -2] > 0,
            self.skeleton,
            float(np.asarray(pattern.smallest)[0]),
            float(self.dof if self.reml else self.n),
            self.n,
            parts,
        )

    @cached_property
    def singular(self) -> bool:
        """Whether an eigenvalue is zero."""
        zeros = self.pattern.zeros, self.pattern.free_zeros
        return any(bool(np.any(np.asarray(count) > 0)) for count in zeros)
