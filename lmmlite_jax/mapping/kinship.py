"""Kinship matrices from genotypes, of the whole genome or leaving one chromosome out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import numpy as np
from jaxtyping import Float

from lmmlite_jax.mapping.genotypes import mean_of_observed
from lmmlite_jax.model.inputs import ArrayOrFrame
from lmmlite_jax.model.marker_rotation import MISSING_GENOTYPE

__all__ = ["block_width", "kinship", "kinship_of_blocks"]

Kinships = Float[np.ndarray, "n n"] | dict[Hashable, Float[np.ndarray, "n n"]]

METHODS = ("standardized", "centered", "allele_probs")

MONOMORPHIC_TOLERANCE = 1e-6
"""A marker with a standard deviation below this part of its largest dosage does not vary."""

SUM_TOLERANCE = 0.01
"""By how much an individual's probabilities at a marker may fail to sum to 1."""

_BLOCK = 2**22  # numbers in float64 at a time
_FEWEST = 128  # markers in a block, for the matrix product's sake
_MISSING = {"", "nan", "<NA>", "None"}

Part = tuple[Hashable, np.ndarray, np.ndarray]
"""A chromosome, genotypes of markers on it, and the markers' numbers."""


def kinship(
    G: ArrayOrFrame,
    method: str = "standardized",
    chromosome: ArrayOrFrame | None = None,
    loco: bool = False,
) -> Kinships:
    r"""Kinship matrix of individuals from their genotypes.

    With :math:`g_{ij}` the dosage of individual i at marker j, :math:`\bar g_j` and :math:`s_j` its
    mean and standard deviation (divisor n), and :math:`p_{ija}` the probability of allele a:

    ================  =========================================================================
    `method`          mean over markers j of
    ================  =========================================================================
    "standardized"    :math:`(g_{ij} - \bar g_j)(g_{kj} - \bar g_j) / s_j^2`: GEMMA's ``-gk 2``;
                      GCTA's takes :math:`s_j` from Hardy-Weinberg proportions. The mean diagonal
                      is 1.
    "centered"        :math:`(g_{ij} - \bar g_j)(g_{kj} - \bar g_j)`: GEMMA's ``-gk 1``
    "allele_probs"    :math:`\sum_a p_{ija} p_{kja}`: R/qtl2's ``calc_kinship``, which its
                      ``scan1`` and ``est_herit`` double
    ================  =========================================================================

    Dosages that do not vary are left out of the mean, as by GEMMA.

    Parameters
    ----------
    G : (n, M) or (n, M, k) array_like or data frame
        Dosages, individuals in rows, or probabilities of k alleles (founders). Missing values are
        NaN, or -127 in int8, and become the marker's mean. `G` is converted to float64 a block of
        markers at a time, so that it may be an array of small integers, or mapped from a file.
    method : {"standardized", "centered", "allele_probs"}
        As in the table: "allele_probs" for probabilities, one of the others for dosages.
    chromosome : (M,) sequence, optional
        Chromosomes of the markers; needed for `loco`.
    loco : bool
        Whether to leave out one chromosome at a time.

    Returns
    -------
    (n, n) array, or dict of them
        Kinship, symmetric. With `loco`, for each chromosome (in the order in which they appear) the
        kinship from the markers on all others.

    Raises
    ------
    ValueError
        If the shape of `G` does not go with `method`, values are infinite, no marker varies,
        probabilities do not sum to 1, `chromosome` does not name one for each marker, or leaving
        one out leaves no marker.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.kinship import kinship
    >>> G = np.array([[0, 1, 2, 0], [1, 1, 0, 0], [2, 1, np.nan, 1]])
    >>> print(kinship(G).round(3))
    [[ 1.167 -0.333 -0.833]
     [-0.333  0.667 -0.333]
     [-0.833 -0.333  1.167]]
    >>> without = kinship(G, chromosome=["1", "1", "2", "X"], loco=True)
    >>> print(list(without), without["X"][0])
    ['1', '2', 'X'] [ 1.5  -0.75 -0.75]
    """
    values = _genotypes(G, method)
    labels, codes = _chromosomes(chromosome, values.shape[1], loco)

    def parts() -> Iterator[Part]:
        width = block_width(values[:, 0].size)
        for code, label in enumerate(labels):
            markers = np.flatnonzero(codes == code)
            for start in range(0, len(markers), width):
                block = markers[start : start + width]
                yield label, values[:, block], block

    return _mean_of_parts(parts(), method, loco)


def kinship_of_blocks(
    blocks: Iterable[tuple[ArrayOrFrame, ArrayOrFrame | None]],
    method: str = "standardized",
    loco: bool = False,
) -> Kinships:
    """Kinship matrix from genotypes that come some markers at a time, as from a file.

    Parameters
    ----------
    blocks : iterable of (G, chromosome)
        Genotypes of the same individuals at some markers, and the markers' chromosomes, both as for
        `kinship`; chromosome may be None without `loco`.
    method, loco
        As for `kinship`.

    Returns
    -------
    (n, n) array, or dict of them
        What `kinship` returns for all markers together.

    Raises
    ------
    ValueError
        As from `kinship`, or if there is no block, or the individuals are not as many in each.

    Examples
    --------
    >>> import numpy as np
    >>> from lmmlite_jax.mapping.kinship import kinship, kinship_of_blocks
    >>> G = np.array([[0, 1, 2, 0], [1, 1, 0, 0], [2, 1, np.nan, 1]])
    >>> halves = kinship_of_blocks([(G[:, :2], None), (G[:, 2:], None)])
    >>> bool(np.allclose(halves, kinship(G)))
    True
    """

    def parts() -> Iterator[Part]:
        before, n = 0, None
        for G, chromosome in blocks:
            values = _genotypes(G, method)
            n = len(values) if n is None else n
            if len(values) != n:
                raise ValueError(
                    f"G has {len(values)} individuals in one block and {n} in the first: give "
                    "blocks of the same individuals."
                )
            labels, codes = _chromosomes(chromosome, values.shape[1], loco, whole=False)
            for code, label in enumerate(labels):
                here = np.flatnonzero(codes == code)
                yield label, values[:, here], here + before
            before += values.shape[1]

    return _mean_of_parts(parts(), method, loco)


def block_width(columns: int) -> int:
    """Markers in a block that is worth a matrix product, of so many numbers a marker."""
    return max(_FEWEST, _BLOCK // columns)


def _mean_of_parts(parts: Iterable[Part], method: str, loco: bool) -> Kinships:
    """Mean over markers of what `kinship` averages, over all chromosomes or over all others."""
    products: dict[Hashable, np.ndarray] = {}
    used: dict[Hashable, int] = {}
    n = M = 0
    for label, values, markers in parts:
        product, count = _cross_products(values, markers, method)
        n, M = len(product), M + len(markers)
        if label in products:
            products[label] += product
        else:
            products[label] = product
        used[label] = used.get(label, 0) + count
    all_used = sum(used.values())
    if all_used == 0:
        raise ValueError(
            f"G has no marker to use: each of the {M} is missing or does not vary among the {n} "
            "individuals; give markers that vary."
        )
    if not loco:
        return products[None] / all_used
    for label, count in used.items():
        if count == all_used:
            raise ValueError(
                f"G has no marker that varies outside chromosome {label!r}: leaving it out leaves "
                "none; give markers on other chromosomes, or loco=False."
            )
    total = sum(products.values(), np.zeros((n, n)))
    for label, product in products.items():
        np.subtract(total, product, out=product)
        product /= all_used - used[label]
    return products


def _genotypes(G: ArrayOrFrame, method: str) -> np.ndarray:
    """Genotypes as an array of numbers, of whatever type they are stored in."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    try:
        if hasattr(G, "iloc"):
            G = G.to_numpy(dtype=np.float64, na_value=np.nan)
        elif hasattr(G, "to_numpy"):
            G = G.to_numpy()
        elif isinstance(G, np.ma.MaskedArray):
            G = np.ma.filled(G.astype(np.float64), np.nan)
        values = np.asarray(G)
        if values.dtype.kind not in "biuf":
            values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"G must hold numbers: {error}; encode genotypes as dosages or probabilities."
        ) from error
    if method == "allele_probs" and values.ndim != 3:
        raise ValueError(
            "G must hold probabilities of shape (n, M, k) for method 'allele_probs', got shape "
            f"{values.shape}: for dosages use another method, or give the probabilities of both "
            "alleles, np.stack([1 - G / 2, G / 2], axis=-1)."
        )
    if method != "allele_probs" and values.ndim != 2:
        raise ValueError(
            f"G must hold dosages of shape (n, M) for method {method!r}, got shape {values.shape}: "
            "for probabilities of shape (n, M, k) use method 'allele_probs'."
        )
    if values.size == 0:
        raise ValueError(f"G has shape {values.shape}: give at least one individual and marker.")
    return values


def _chromosomes(
    chromosome: ArrayOrFrame | None, M: int, loco: bool, whole: bool = True
) -> tuple[list[Hashable], np.ndarray]:
    """Chromosomes, and the number of each marker's; one for all where they play no part.

    Where they are not those of the `whole` genome, there may be only one.
    """
    everywhere: tuple[list[Hashable], np.ndarray] = ([None], np.zeros(M, dtype=int))
    if chromosome is None:
        if loco:
            raise ValueError("chromosome is not given: loco=True needs that of each marker.")
        return everywhere
    names = [name.item() if isinstance(name, np.generic) else name for name in chromosome]
    if len(names) != M:
        raise ValueError(
            f"chromosome must have one entry for each of the {M} markers of G, got {len(names)}."
        )
    if not loco:
        return everywhere
    missing = [j for j, name in enumerate(names) if str(name) in _MISSING]
    if missing:
        raise ValueError(
            f"chromosome has {len(missing)} missing entries, the first at [{missing[0]}]: name "
            "the chromosome, or leave those markers out."
        )
    code: dict[Hashable, int] = {}
    codes = np.array([code.setdefault(name, len(code)) for name in names])
    if whole and len(code) == 1:
        raise ValueError(
            f"chromosome is {names[0]!r} for all markers: leaving it out leaves none; give "
            "markers on other chromosomes, or loco=False."
        )
    return list(code), codes


def _cross_products(values: np.ndarray, markers: np.ndarray, method: str) -> tuple[np.ndarray, int]:
    """Sum over markers of what is averaged, and how many of them are used."""
    g = values.astype(np.float64, copy=values.dtype == np.int8)
    if values.dtype == np.int8:
        g[values == MISSING_GENOTYPE] = np.nan
    _refuse_infinite(g, markers)
    if method == "allele_probs":
        Z, kept = _probabilities(g, markers)
    else:
        Z, kept = _centred(g, scale=method == "standardized")
    Z = Z.reshape(len(Z), -1)
    product = Z @ Z.T
    return (product + product.T) / 2, int(kept.sum())


def _centred(g: np.ndarray, scale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Dosages less their mean, 0 where missing, and which markers vary; the others become 0."""
    missing = np.isnan(g)
    largest = np.fmax.reduce(np.abs(g), axis=0, initial=0)
    g = g - mean_of_observed(g, missing)
    g[missing] = 0
    sd = np.sqrt(np.mean(g**2, axis=0))
    kept = sd > MONOMORPHIC_TOLERANCE * largest
    g *= np.where(kept, 1 / np.where(kept & scale, sd, 1), 0)
    return g, kept


def _probabilities(g: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, means where missing, and which markers are observed; the others become 0."""
    sums = g.sum(axis=-1)
    wrong = (np.abs(sums - 1) > SUM_TOLERANCE) | (g < -SUM_TOLERANCE).any(axis=-1)
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise ValueError(
            f"G[{i}, {block[j]}] holds {np.array2string(g[i, j], precision=3, threshold=8)}, not "
            "probabilities that sum to 1: give shape (n, M, k), alleles in the last dimension."
        )
    missing = np.isnan(g)
    kept = ~missing.all(axis=0).any(axis=-1)
    return np.where(missing, mean_of_observed(g, missing), g) * kept[:, None], kept


def _refuse_infinite(g: np.ndarray, block: np.ndarray) -> None:
    if np.isinf(g).any():
        i, j = np.argwhere(np.isinf(g))[0][:2]
        raise ValueError(
            f"G[{i}, {block[j]}] is infinite: replace infinite values by numbers or by NaN."
        )
