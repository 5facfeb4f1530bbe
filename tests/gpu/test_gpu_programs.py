"""Every program compiles for NVIDIA cards that are described and not there, in a memory planned.

Public functions run here with few individuals, markers and traits; what they call is compiled for
the sizes that an accelerator is given. That a result is right there, and how long it takes, this
cannot say.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from calls import CALLS, Block, Cohort
from compiled import Card, Compiled, Failure, compile_for
from recorded import Program, jitted_functions, recording

from lmmlite_jax.model.at_once import at_once

if not (find_spec("jax_cuda12_plugin") or find_spec("jax_cuda13_plugin")):
    pytest.skip(
        "no compiler for NVIDIA cards: install the extra gpu-check in an environment of its own",
        allow_module_level=True,
    )

MIB = 2**20

PLANNED = 600 * MIB
"""Bytes that a screen of the largest block may use beside what it is given and gives."""

WHOLE = "h100"
"""The card that programs of all calls are compiled for; others have those of `ON_EVERY_CARD`."""

ON_EVERY_CARD = ("fit", "fit by ML", "fit with gaps", "best", "hits")

FEW_PAIRS = [name for name in CALLS if {"best", "hits"} & {*name.replace(",", "").split()}]
FEW_PAIRS.remove("founders best")
"""Calls that never hold all pairs of markers and traits in double precision."""

INSIDE = {
    "mapping.refit.refit_few",
    "mapping.share_tests.share_tests_by_law",
    "model.fit._null_directions",
    "model.fit._without_absorbed",
    "model.fit_kernel._advance",
    "model.fit_kernel._curvature",
    "model.heritability._heritabilities",
    "model.likelihood._fit_each",
    "model.profile_log_likelihood._of_everyone",
    "model.profile_log_likelihood._of_patterns",
    "model.rotation.project",
    "model.screening.screen_traits",
}
"""Functions that are compiled inside of others, or for calls that are not among these."""


class OnCard:
    """Programs that calls have on a card, at its sizes: each compiled once."""

    def __init__(self, name: str) -> None:
        self.card = Card(name)
        self.blocks: dict[str, Block] = {}
        self.programs: dict[str, list[Program]] = {}
        with self.card.in_use():
            self.limits, cohort = at_once(), Cohort()
            for call in CALLS if name == WHOLE else ON_EVERY_CARD:
                with recording() as programs:
                    CALLS[call].run(cohort)
                block = self.blocks[call] = CALLS[call].block()
                self.programs[call] = [one.widened(block.sizes()) for one in programs]
                if call == "best":
                    (self.screen,) = (one for one in programs if one.name.endswith("group_maxima"))
        distinct = list({one: None for some in self.programs.values() for one in some})
        found = dict(zip(distinct, compile_for(self.card, distinct), strict=True))
        self.failures = [one for one in found.values() if isinstance(one, Failure)]
        self.compiled = {
            call: [found[one] for one in some if isinstance(found[one], Compiled)]
            for call, some in self.programs.items()
        }
        self.all = [one for one in found.values() if isinstance(one, Compiled)]


@pytest.fixture(scope="module", params=[WHOLE, "a100", "rtx4090"])
def on_card(request) -> OnCard:
    found = OnCard(request.param)
    print(f"\n{len(found.all)} programs for {found.card.kind}: MiB taken, given, used beside them")
    for one in sorted(found.all, key=lambda one: -one.temporaries)[:8]:
        sizes = (one.arguments, one.results, one.temporaries)
        print(f"  {one.name:40}", *(f"{size / MIB:9.1f}" for size in sizes))
    return found


@pytest.mark.parametrize("on_card", [WHOLE], indirect=True)
def test_no_function_is_forgotten(on_card):
    """A new jitted function needs a call in `calls.CALLS`."""
    seen = {program.name for programs in on_card.programs.values() for program in programs}
    assert {*jitted_functions()} - seen == INSIDE


def test_every_program_compiles(on_card):
    assert not on_card.failures


def test_no_float32_product_is_left_to_the_card(on_card):
    """It would be TF32, of 10 bits. Products of bfloat16 are meant, and have margins."""
    loose = {one.name: one.loose for one in on_card.all if one.loose}
    assert not loose


def test_a_screen_has_the_memory_planned(on_card):
    """A kernel of its own writes no product at all, even for more traits than it is given."""
    limits = on_card.limits
    fused = limits.product == "fused"
    block = Block(limits.markers, limits.traits * (2 if fused else 1))
    (screen,) = compile_for(on_card.card, [on_card.screen.widened(block.sizes())])
    print(f"\n  a screen of {block}: {screen.temporaries / MIB:.1f} MiB")
    product = 4 * block.markers * block.traits
    assert screen.temporaries < PLANNED
    assert (screen.temporaries < product / 4) == fused


def test_what_keeps_few_pairs_writes_no_doubles_of_all(on_card):
    seen = 0
    for call in on_card.compiled.keys() & {*FEW_PAIRS}:
        block = on_card.blocks[call]
        pairs = block.markers * block.traits
        for one in on_card.compiled[call]:
            seen += len(one.doubles)
            assert not [size for size in one.doubles if size % pairs == 0], (call, one.name)
    assert seen


@pytest.mark.parametrize("on_card", [WHOLE], indirect=True)
def test_doubles_of_all_pairs_are_seen(on_card):
    pairs = on_card.blocks["all"].markers * on_card.blocks["all"].traits
    assert any(pairs in one.doubles for one in on_card.compiled["all"])
