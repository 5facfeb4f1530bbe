"""Missing phenotypes: traits grouped by the individuals observed, into few shapes of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lmmlite_jax.model.at_once import at_once

__all__ = ["PatternBatch", "batches", "phenotypes_of"]

MOST_SIZES = 4
"""Padded sizes for the patterns of missing values, each two compilations (of a lone block four)."""

WORTH_A_SIZE = 1.1
"""Factor of the cost that compiling for one size more has to save."""

TRAITS_OF_A_BLOCK = 16
"""What a block of traits costs beside them, in traits."""

MOST_NUMBERS = 2**24
"""Numbers that the decompositions, or the blocks of traits, worked on together may hold."""


class PatternBatch(NamedTuple):
    """Patterns of missing values that are decomposed together, and the traits that have them.

    ``members``: the individuals of each pattern, -1 beyond the last;
    ``pattern``, ``traits``: G groups of C blocks of T traits, -1 for no trait, and whose
    pattern each block has.
    """

    members: Int[np.ndarray, "P s"]
    pattern: Int[np.ndarray, "G C"]
    traits: Int[np.ndarray, "G C T"]


def phenotypes_of(
    Y: Float[np.ndarray, "n m"],
    members: Int[np.ndarray, "C s"],
    traits: Int[np.ndarray, "C T"],
) -> Float[np.ndarray, "C s T"]:
    """Phenotypes of blocks of traits, zero where there is no individual or trait."""
    if len(traits) == 1 and members.shape[1] == len(Y) and members.min() >= 0:
        used = int(np.sum(traits >= 0))
        first = traits[0, 0]
        if np.array_equal(traits[0, :used], np.arange(first, first + used)):
            some = Y[None, :, first : first + used]  # a view: nothing to copy here
            empty = traits.shape[1] - used
            return np.pad(some, ((0, 0), (0, 0), (0, empty))) if empty else some
    present = (members >= 0)[:, :, None] & (traits >= 0)[:, None, :]
    return np.where(present, Y[members[:, :, None], traits[:, None, :]], 0.0)


def batches(
    observed: Bool[np.ndarray, "n m_or_1"], traits: Int[np.ndarray, " some"]
) -> Iterator[PatternBatch]:
    """Batches of few distinct shapes in which every one of ``traits`` occurs once.

    ``observed`` has one column where all traits are observed in the same individuals.
    """
    if traits.size == 0:
        return
    members, groups = _patterns(observed, traits)
    sizes = members.sum(axis=1)
    padded = _padded_sizes(sizes)
    for size, smaller in zip(padded, [0, *padded[:-1]], strict=True):
        patterns = np.flatnonzero((sizes > smaller) & (sizes <= size))
        calls = -(-patterns.size * size**2 // MOST_NUMBERS)
        share = -(-patterns.size // calls)
        parts = [patterns[i : i + share] for i in range(0, patterns.size, share)]
        width = _width(np.array([groups[k].size for k in patterns]))
        blocks = [_blocks([groups[k] for k in part], width) for part in parts]
        most = max(len(pattern) for pattern, _ in blocks)
        together = 1 if width > 64 else max(1, min(most, MOST_NUMBERS // size**2))
        for part, (pattern, columns) in zip(parts, blocks, strict=True):
            rows = np.full((share, size), -1)
            for row, k in zip(rows, part, strict=False):
                row[: sizes[k]] = np.flatnonzero(members[k])
            missing = -(-most // together) * together - len(pattern)
            yield PatternBatch(
                rows,
                np.pad(pattern, (0, missing)).reshape(-1, together),
                np.pad(columns, ((0, missing), (0, 0)), constant_values=-1).reshape(
                    -1, together, width
                ),
            )


def _patterns(
    observed: Bool[np.ndarray, "n m_or_1"], traits: Int[np.ndarray, " some"]
) -> tuple[Bool[np.ndarray, "P n"], list[np.ndarray]]:
    """Distinct patterns of individuals observed, and the traits that have each."""
    if observed.shape[1] == 1 or observed.all():
        return observed[:, :1].T, [traits]
    packed = np.ascontiguousarray(np.packbits(observed[:, traits], axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(which, kind="stable")
    return observed[:, traits[first]].T, np.split(traits[order], np.cumsum(count)[:-1])


def _padded_sizes(sizes: np.ndarray) -> list[int]:
    """Sizes, ascending, that cost little: a decomposition takes size³.

    As few as cost at most `WORTH_A_SIZE` times what `MOST_SIZES` would at best.
    """
    distinct, count = np.unique(sizes, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(count)])
    # least[j]: cost of the j smallest distinct sizes with the padded sizes allowed so far.
    least = np.where(np.arange(distinct.size + 1) == 0, 0.0, np.inf)
    choices, costs = [], []
    for _ in range(min(MOST_SIZES, distinct.size)):
        cost = least[None, :-1] + (upto[1:, None] - upto[None, :-1]) * distinct[:, None] ** 3.0
        cost[np.triu_indices(distinct.size, 1)] = np.inf
        choices.append(np.argmin(cost, axis=1))
        least = np.concatenate([[np.inf], np.min(cost, axis=1)])
        costs.append(least[-1])
    few = int(np.argmax(np.array(costs) <= WORTH_A_SIZE * min(costs)))
    chosen, j = [], distinct.size
    for choice in reversed(choices[: few + 1]):
        if j == 0:
            break
        chosen.append(int(distinct[j - 1]))
        j = int(choice[j - 1])
    return chosen[::-1]


def _width(group_sizes: np.ndarray) -> int:
    """Traits in a block: all of a lone pattern's, few where there are many patterns.

    Of powers of two from the mean on, and what the largest pattern has, that with the least work.
    """
    limit = at_once().traits
    most = min(int(group_sizes.max()), limit)
    if group_sizes.size == 1:
        return most
    least = int(np.clip(2 ** np.ceil(np.log2(group_sizes.mean())), 8, limit))
    widths = least * 2 ** np.arange(limit.bit_length())
    widths = np.append(widths[widths < most], max(most, 8))
    blocks = -(-group_sizes[:, None] // widths)
    return int(widths[np.argmin((blocks * (widths + TRAITS_OF_A_BLOCK)).sum(axis=0))])


def _blocks(
    groups: list[np.ndarray], width: int
) -> tuple[Int[np.ndarray, " C"], Int[np.ndarray, "C width"]]:
    """Blocks of ``width`` traits of one pattern each: its number, and the traits."""
    counts = [-(-group.size // width) for group in groups]
    traits = np.concatenate(
        [
            np.pad(group, (0, count * width - group.size), constant_values=-1)
            for group, count in zip(groups, counts, strict=True)
        ]
    )
    return np.repeat(np.arange(len(groups)), counts), traits.reshape(-1, width)
