"""The house as CONTRIBUTING describes it, read from the imports of the package's own modules."""

import ast
import subprocess
import sys
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
    "plot": {"_optional", "data", "model", "mapping"},
    "report": {"", "_optional", "data", "model", "mapping", "plot"},
    "interrupts": set(),
    "compilation_cache": set(),
    "cli": {"", "interrupts", "compilation_cache", "data", "pipeline", "plot", "report"},
    "__main__": {"cli", "model"},
}
"""What each part of the package may import beside itself."""

OF_THE_MODEL = ("decomposition", "missing", "engine")
"""Modules of model/ that nothing outside of it knows."""


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
        if name
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


def test_pictures_know_of_mapping_what_everybody_does():
    taken = {
        alias.name
        for name, tree in SOURCES.items()
        if part(name) == "plot"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"{ROOT.name}.mapping")
        for alias in node.names
    }
    assert taken
    assert taken <= {*lmm.__all__}


def test_names_are_where_types_are_checked_and_where_the_package_runs():
    """The package lists them twice: as imports that only type checkers read, and by module."""
    checked = {
        alias.name: node.module
        for node in ast.walk(SOURCES[""])
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"{ROOT.name}.")
        for alias in node.names
    }
    assert {*checked} == {*lmm.__all__}
    assert {name: f"{ROOT.name}.{module}" for name, module in lmm._MODULES.items()} == checked
    assert {*lmm.__all__} <= {*dir(lmm)}
    # A module of the same name would take its place once it is imported.
    assert not {*lmm.__all__} & {part(name) for name in SOURCES}


def test_names_may_be_used_first_inside_of_a_trace():
    """Modules are then imported there, and must not keep arrays of the trace."""
    code = """
import sys, jax, lmmlite_jax as lmm
used = jax.make_jaxpr(lambda: [getattr(lmm, name) for name in lmm.__all__] and 0)()
assert not used.eqns, used
ours = [module for name, module in sys.modules.items() if name.startswith("lmmlite_jax")]
held = [one for module in ours for one in vars(module).values() if isinstance(one, jax.core.Tracer)]
assert not held, held
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'lmmlite_jax' has no attribute 'scann'"):
        lmm.scann  # noqa: B018


@pytest.mark.parametrize("name", SOURCES)
def test_all_names_what_is_public(name):
    bound = [
        target.id
        for node in SOURCES[name].body
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    ]
    bound += defined(name)
    for node in ast.walk(SOURCES[name]) if name == "" else SOURCES[name].body:
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
    assert defined(name) <= {*names}
