"""Markers together with their products with covariates: what is tested, near genes and elsewhere.

A marker has the columns e, g and g·e: the interacting covariates, which leave the other covariates,
the dosage, and its product with each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from lmmlite_jax.mapping.alleles import common
from lmmlite_jax.mapping.effects import effects_of_block
from lmmlite_jax.mapping.genotypes import (
    DosageReader,
    Genotypes,
    as_dosages,
    interacting_columns,
)
from lmmlite_jax.mapping.share_tests import LN10
from lmmlite_jax.mapping.tails import log10p_f
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import Markers
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.precision import AnyArray
from lmmlite_jax.model.tested_traits import Traits

__all__ = [
    "Interacting",
    "OfInteractions",
    "as_interacting",
    "coefficient_columns",
    "coefficient_tests",
    "coefficients",
    "common_in_halves",
    "named_by_terms",
    "products",
]


@dataclass(frozen=True)
class OfInteractions:
    """What pairs have that are tested for an interaction: see `CisInteractions`."""

    pval_g: Float[np.ndarray, " pairs"]
    b_g: Float[np.ndarray, " pairs"]
    b_g_se: Float[np.ndarray, " pairs"]
    pval_i: Float[np.ndarray, "pairs *terms"]
    b_i: Float[np.ndarray, "pairs *terms"]
    b_i_se: Float[np.ndarray, "pairs *terms"]
    pval_gi: Float[np.ndarray, "pairs *terms"]
    b_gi: Float[np.ndarray, "pairs *terms"]
    b_gi_se: Float[np.ndarray, "pairs *terms"]
    log10p_gi: Float[np.ndarray, "pairs *terms"]
    lod_gi: Float[np.ndarray, "pairs *terms"]
    terms: tuple[str, ...]


class Interacting(NamedTuple):
    """Genotypes that interact with covariates e (n, terms) of a null model.

    ``covariates`` are the numbers of e among them, and ``terms`` the names of several.
    """

    genotypes: Genotypes
    e: Float[np.ndarray, "n terms"]
    covariates: list[int]
    terms: tuple[str, ...]


def as_interacting(
    null: NullModel, G: ArrayOrFrame | DosageReader, interaction: ArrayOrFrame
) -> Interacting:
    """Genotypes whose markers have the columns e, g and g·e; ``ValueError`` if they cannot."""
    genotypes = as_dosages(G, null)
    columns = interacting_columns(null, genotypes, interaction)
    e = np.asarray(null.design)[:, columns]
    if np.any(np.ptp(e, axis=0) == 0):
        raise ValueError("interaction has a covariate that is constant: leave it out.")
    terms: tuple[str, ...] = ()
    if len(columns) > 1:
        names = getattr(interaction, "columns", [f"i{k}" for k in range(1, len(columns) + 1)])
        terms = tuple(str(name) for name in names)
    whole = replace(genotypes, interaction=e, with_covariate=True)
    return Interacting(whole, e, columns, terms)


def common_in_halves(
    dosages: Float[np.ndarray, "n M"], e: Float[np.ndarray, "n terms"], threshold: float
) -> Bool[np.ndarray, " M"]:
    """Whether markers vary, and are frequent enough on both sides of each covariate's median."""
    kept = np.ptp(dosages, axis=0) > 0
    for values in e.T:
        upper = np.ones(values.size, dtype=bool)
        upper[np.argsort(values, kind="stable")[: values.size // 2]] = False
        for half in (upper, ~upper):
            kept &= common(dosages[half], threshold)
    return kept


def products(columns: int) -> slice:
    """Which of the columns of a marker are its products."""
    return slice((columns + 1) // 2, None)


def coefficients(markers: Markers, traits: Traits) -> Float[Array, "3 B T k"]:
    """Effects of k columns, their standard errors and t²/df, (3, B, T, k).

    NaN where the columns depend on one another.
    """
    effects = effects_of_block(markers, traits)
    k = len(markers.values)
    together = (effects.rank == k)[..., None]
    ratio = jnp.where(together, (effects.beta / effects.se) ** 2 / (traits.dof - k), jnp.nan)
    found = jnp.stack([effects.beta, effects.se, ratio])
    return jnp.where(jnp.isfinite(ratio), found, jnp.nan)


def coefficient_tests(
    found: Float[AnyArray, "3 *pairs"], df: Float[AnyArray, ""], n: Float[AnyArray, ""]
) -> Float[Array, "4 *pairs"]:
    """Effects, standard errors, -log10 p and LOD of `coefficients`, of whom (4, ...)."""
    beta, se, ratio = found
    return jnp.stack([beta, se, log10p_f(ratio, 1, df), n / 2 * jnp.log1p(ratio) / LN10])


def coefficient_columns(
    tests: Float[np.ndarray, "4 pairs k"], terms: tuple[str, ...]
) -> dict[str, Float[np.ndarray, "pairs *terms"]]:
    """Columns of `coefficient_tests` by tensorQTL's names; of several covariates (pairs, terms)."""
    number = max(1, len(terms))
    beta, se, log10p, lod = np.moveaxis(tests, -1, 1)
    i, g, gi = (slice(number), number, slice(number + 1, None)) if terms else (0, 1, 2)
    columns: dict[str, np.ndarray] = {}
    for name, at in (("g", g), ("i", i), ("gi", gi)):
        columns |= {
            f"pval_{name}": 10 ** -log10p[at].T,
            f"b_{name}": beta[at].T,
            f"b_{name}_se": se[at].T,
        }
    return columns | {"log10p_gi": log10p[gi].T, "lod_gi": lod[gi].T}


def named_by_terms(
    whole: Mapping[str, Shaped[np.ndarray, "pairs *terms"]], terms: tuple[str, ...]
) -> dict[str, Shaped[np.ndarray, " pairs"]]:
    """Columns of a table; of several covariates named by them: x and g-x in place of i and gi.

    ``ValueError`` if a covariate has a name by which two columns would be the same.
    """
    columns = {name: values for name, values in whole.items() if values.ndim == 1}
    for k, term in enumerate(terms):
        for name, values in whole.items():
            if values.ndim == 2:
                old, new = ("_gi", f"_g-{term}") if "_gi" in name else ("_i", f"_{term}")
                own = name.replace(old, new)
                if own in columns:
                    raise ValueError(
                        f"the interaction has a covariate {term!r}, by which there would be "
                        f"two columns {own}: give it another name."
                    )
                columns[own] = values[:, k]
    return columns
