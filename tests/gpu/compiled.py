"""Programs compiled for a card that is described and not there, and what can be read in them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock, patch

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import SingleDeviceSharding
from jaxtyping import config as jaxtyping_config
from recorded import Program

from lmmlite_jax.mapping import keep
from lmmlite_jax.model.threads import cores

__all__ = ["Card", "Compiled", "Failure", "compile_for"]

PREALLOCATED = 0.75
"""Part of a card's memory that JAX takes unless it is told another."""

PRODUCTS = ("stablehlo.dot", "stablehlo.convolution")


class Compiled(NamedTuple):
    """A compiled program: bytes that it takes and gives and uses beside, and parts of its text.

    ``loose`` are products of float32 whose precision is left to the card, ``doubles`` the lengths
    of the arrays of double precision that it writes.
    """

    name: str
    arguments: int
    results: int
    temporaries: int
    loose: list[str]
    doubles: frozenset[int]


class Failure(NamedTuple):
    """A program that does not compile."""

    name: str
    message: str


class Card:
    """A card known by its description alone.

    Attributes
    ----------
    kind : str
        Its name, as JAX gives it.
    limit : int
        Bytes of its memory that JAX takes for itself.
    sharding : SingleDeviceSharding
        Where arrays are that are on it.
    """

    def __init__(self, name: str) -> None:
        described = (Path(__file__).parent / "cards" / f"{name}.txtpb").read_text()
        topology = topologies.get_topology_desc(
            "", platform="cuda", target_config=described, topology="1x1x1"
        )
        (device,) = topology.devices
        self.kind = device.device_kind
        self.limit = int(PREALLOCATED * int(re.search(r"device_memory_size: (\d+)", described)[1]))
        self.sharding = SingleDeviceSharding(device)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have the package choose programs and sizes as it does where JAX has the card."""
        device = Mock(device_kind=self.kind)
        device.memory_stats.return_value = {"bytes_limit": self.limit}
        with (
            patch.object(jax, "default_backend", return_value="gpu"),
            patch.object(jax, "devices", return_value=[device]),
            patch.object(keep, "PAIRS_ALL_REFITTED", 0),  # calls have few pairs of many shapes
        ):
            yield


def compile_for(card: Card, programs: Sequence[Program]) -> list[Compiled | Failure]:
    """Compile programs as users' are, one on each core at a time."""
    with _as_users_compile(), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda program: _compile(program, card.sharding), programs))


def _compile(program: Program, on: SingleDeviceSharding) -> Compiled | Failure:
    lowered = program.lowered(on)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return Failure(program.name, str(error)[:500])
    memory = compiled.memory_analysis()
    return Compiled(
        program.name,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
        _loose(lowered.as_text()),
        _doubles(compiled.as_text()),
    )


@contextmanager
def _as_users_compile() -> Iterator[None]:
    """With all optimisations, and without the cache: programs for no device cannot be read back.

    Shapes in place of arrays are no arrays to those who check types.
    """
    options = {"jax_disable_most_optimizations": False, "jax_enable_compilation_cache": False}
    before = {name: jax.config.values[name] for name in options}
    checks = jaxtyping_config.jaxtyping_disable
    _set(options)
    jaxtyping_config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        _set(before)
        jaxtyping_config.update("jaxtyping_disable", checks)


def _set(options: dict[str, bool]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # whether it is used is asked once


def _loose(text: str) -> list[str]:
    """Products of float32 that do not state their precision."""
    return [
        line.strip()[:200]
        for line in text.splitlines()
        if any(name in line for name in PRODUCTS)
        and "xf32>" in line.rpartition(" : ")[2].partition(" -> ")[0]
        and not any(stated in line for stated in ("[HIGHEST, HIGHEST]", "algorithm"))
    ]


def _doubles(text: str) -> frozenset[int]:
    """Lengths of arrays of double precision outside of fusions, whose insides are not written."""
    fused = set(re.findall(r"calls=(%[\w.-]+)", text))
    lengths, written = set(), True
    for line in text.splitlines():
        if line.endswith("{"):  # a computation begins
            written = line.split(" ")[0] not in fused
        elif written:
            result = line.partition(" = ")[2]
            for shape in re.findall(r"f64\[([\d,]*)\]", result.partition("(%")[0]):
                lengths.add(math.prod(map(int, shape.split(","))) if shape else 1)
    return frozenset(lengths)
