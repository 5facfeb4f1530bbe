"""The house as CONTRIBUTING describes it, read from the imports of the package's own modules."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lmmlite_jax as lmm

ROOT = Path(lmm.__file__).parent

BELOW = {
    "_optional": set(),
    "data": {"_optional"},
    "model": {"_optional"},
    "mapping": {"_optional", "model"},
    "pipeline": {"_optional", "data", "model", "mapping"},
}
"""What each part of the package may import beside itself; faces are on top."""

FACES = {"faces", "plot", "cli"}

OF_THE_MODEL = ("decomposition", "missing", "engine")
"""Modules of model/ that nothing outside of it knows."""

COMMANDS = {"cli", "faces.cli"}
"""Commands are reached through their app."""


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
"""By names without the package's own, which is an empty string."""


def imported(tree):
    """Modules of ours that a module imports, wherever it stands in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            package, _, inside = name.partition(".")
            if package == ROOT.name:
                yield inside if inside in SOURCES else inside.rpartition(".")[0]


IMPORTS = {name: set(imported(tree)) for name, tree in SOURCES.items()}


def part(name):
    return name.partition(".")[0]


def defined(name):
    """Public functions and classes that a module defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = {node.name for node in SOURCES[name].body if isinstance(node, kinds)}
    return {one for one in names if not one.startswith("_")}


def test_imports_go_down():
    upward = {
        (name, other)
        for name, others in IMPORTS.items()
        if name and part(name) not in FACES
        for other in others
        if part(other) not in {part(name), *BELOW[part(name)]}
    }
    assert not upward


def test_no_module_leads_back_to_itself():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1][::-1]))


def test_public_functions_of_mapping_do_not_lean_on_one_another():
    entries = {
        name
        for name in SOURCES
        if part(name) == "mapping"
        and any(
            one in lmm.__all__ and not isinstance(getattr(lmm, one), type) for one in defined(name)
        )
    }
    assert {"mapping.scan", "mapping.trans", "mapping.cis.map_cis"} <= entries
    leaning = {
        (name, other)
        for name, others in IMPORTS.items()
        if part(name) == "mapping"
        for other in others & entries
    }
    assert not leaning


def test_patterns_and_engines_stay_inside_the_model():
    inner = {f"model.{name}" for name in OF_THE_MODEL}
    knowing = {
        (name, other)
        for name, others in IMPORTS.items()
        if part(name) != "model"
        for other in others & inner
    }
    assert not knowing


@pytest.mark.parametrize("name", SOURCES)
def test_all_names_what_is_public(name):
    bound = [
        target.id
        for node in SOURCES[name].body
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    ]
    bound += defined(name)
    for node in SOURCES[name].body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound += [alias.asname or alias.name for alias in node.names]
    listed = [
        ast.literal_eval(node.value)
        for node in SOURCES[name].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    names = listed[0] if listed else []
    assert sorted({*names}) == sorted(names)
    assert {*names} <= {*bound}
    if name not in COMMANDS:
        assert defined(name) <= {*names}
