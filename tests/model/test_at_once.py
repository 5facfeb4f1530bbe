"""What is worked on together follows the memory of the device."""

from __future__ import annotations

import pytest

from lmmlite_jax.model.at_once import ARRAYS_OF_STATISTICS, BYTES_OF_A_GENOTYPE, for_accelerator


@pytest.mark.parametrize("gib", [4, 8, 24, 78, 139])
def test_an_accelerator_is_filled_to_a_part(gib):
    memory = gib * 2**30
    limits = for_accelerator(memory)
    for needed in (
        limits.waiting * BYTES_OF_A_GENOTYPE,
        limits.maxima * 4,
        limits.statistics * 8 * ARRAYS_OF_STATISTICS,
    ):
        assert memory / 16 < needed <= memory / 8
