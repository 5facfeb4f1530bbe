"""The page of worked examples, run as it stands, says what is true."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import lmmlite_jax as lmm

PAGE = Path(__file__).parents[1] / "docs" / "examples.md"


@pytest.fixture
def run():
    """Function that runs the code of one section, after the imports, and returns its names."""
    first, *sections = PAGE.read_text().split("\n## ")

    def code(text):
        return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))

    def run_section(title):
        (section,) = [text for text in sections if text.startswith(title)]
        names = {}
        exec(compile(code(first) + code(section), f"{PAGE.name}, {title}", "exec"), names)
        return names, section

    before = jax.config.jax_enable_x64
    yield run_section
    jax.config.update("jax_enable_x64", before)


def numbers(text, before, after):
    """Numbers that the page has between two phrases."""
    between = text.split(before, 1)[1].split(after, 1)[0]
    return [float(number) for number in re.findall(r"[01]\.\d+", between)]


CLOSE = 0.02
"""What other processors and versions of JAX make of hundreds of steps."""


def test_mixing_weights_of_several_kinships(run):
    names, text = run("Mixing weights")
    said = numbers(text, "`weights` comes out as", "(truth")
    np.testing.assert_allclose(names["weights"], said, atol=CLOSE)
    np.testing.assert_allclose(said, [0.7, 0.3, 0], atol=0.1)
    on_the_way = jax.nn.sigmoid(names["parameters"]["logit"])
    np.testing.assert_allclose(on_the_way, names["hsq"], atol=1e-3)
    assert names["losses"][-1] < names["losses"][0] - 5


def test_most_heritable_combination_of_traits(run, data_dir, monkeypatch):
    mice = lmm.load_recla(data_dir / "recla" / "recla.RData")
    monkeypatch.setattr(lmm, "load_recla", lambda: mice)
    names, text = run("The most heritable")
    mean = names["mean"]
    for label, name in (
        ("each trait alone", "alone"),
        ("random combinations", "random"),
        ("where the ascents end", "combined"),
    ):
        said = numbers(text, f"| {label} |", "|\n")
        np.testing.assert_allclose(mean[name], said, atol=CLOSE)
    assert names["best_alone"] == 1
    assert "the *best* single trait is zero" in " ".join(text.split())
    at_one = np.asarray(names["hsq"](names["alone"], names["learning"])) == 1
    assert f"Of the 26 traits {at_one.sum()} have ĥ² = 1" in text
    gains = np.subtract(mean["combined"], mean["alone"])
    assert gains[1] > 0.5 * gains[0] > 0


def test_a_neural_network_for_the_fixed_effect(run):
    names, text = run("A neural network")
    said = numbers(text, "For people it has not seen", "what they leave")
    found = [names["correlation"], names["learned_hsq"]]
    np.testing.assert_allclose(found, said[:2], atol=CLOSE)
    assert names["correlation"] > 0.95
    (linear,) = numbers(text, "drowns the genetic part", "\n")
    assert names["linear"].hsq[0] == pytest.approx(linear, abs=CLOSE)
