"""Programs that the package calls, noted with the shapes of their arguments, for another device."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

import lmmlite_jax as lmm

WITH_PROGRAMS = ("model", "mapping")
"""Parts of the package that compile any."""

JITTED = type(jax.jit(np.sin))

LIKE_A_CPU = {"one_by_one": True, "product": "coarse"}
"""Arguments that programs run with here: a CPU may wait for good on batches of decompositions, and
has no kernels of a card."""


@dataclass(frozen=True)
class Program:
    """A jitted function, what it was called with, and under which precision of products.

    ``leaves`` are those of all arguments, `jax.ShapeDtypeStruct` in place of arrays.
    """

    name: str
    function: Callable[..., Any] = field(compare=False)
    leaves: tuple[Any, ...]
    tree: Any
    precision: str | None

    def widened(self, sizes: Mapping[int, int]) -> Program:
        """The same call with other numbers of individuals, markers or traits."""

        def other(leaf: Any) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return leaf.update(shape=tuple(sizes.get(size, size) for size in leaf.shape))
            return sizes.get(leaf, leaf) if type(leaf) is int else leaf

        return replace(self, leaves=tuple(other(leaf) for leaf in self.leaves))

    def lowered(self, on: Sharding) -> jax.stages.Lowered:
        """Its text for the device of a sharding."""

        def there(leaf: Any) -> Any:
            return leaf.update(sharding=on) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

        args, kwargs = jax.tree.unflatten(self.tree, [there(leaf) for leaf in self.leaves])
        with jax.enable_x64(True), jax.default_matmul_precision(self.precision):
            return self.function.lower(*args, **kwargs)


def jitted_functions() -> dict[str, Callable[..., Any]]:
    """The package's, by their names in it."""
    return {_name(function): function for _, _, function in _places()}


@contextmanager
def recording() -> Iterator[list[Program]]:
    """Note each call of a jitted function that the package makes, before it runs here."""
    programs: list[Program] = []
    places = list(_places())
    for module, name, function in places:
        setattr(module, name, _noting(function, programs))
    try:
        yield programs
    finally:
        for module, name, function in places:
            setattr(module, name, function)


def _places() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Every name of a jitted function in a module."""
    for info in pkgutil.walk_packages(lmm.__path__, "lmmlite_jax."):
        if info.name.split(".")[1] in WITH_PROGRAMS:
            module = importlib.import_module(info.name)
            for name, value in list(vars(module).items()):
                if isinstance(value, JITTED):
                    yield module, name, value


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__name__}".removeprefix("lmmlite_jax.")


def _noting(function: Callable[..., Any], programs: list[Program]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            described = tuple(_described(leaf) for leaf in leaves)
            precision = jax.default_matmul_precision.value
            programs.append(Program(_name(function), function, described, tree, precision))
        here = {name: value for name, value in LIKE_A_CPU.items() if name in kwargs}
        return function(*args, **(kwargs | here))

    return called


def _described(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        kind = jax.typeof(leaf)
        return jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type)
    return leaf
