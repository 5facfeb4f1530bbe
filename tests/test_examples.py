"""The page of worked examples, run as it stands, says what is true."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmmlite_jax as lmm

PAGE = Path(__file__).parents[1] / "docs" / "examples.md"

pytestmark = pytest.mark.long


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


def gains(text):
    """Last column of a section's table."""
    rows = re.findall(r"^\| .* \| ([\d,.]+) \|$", text, re.MULTILINE)
    return [float(number.replace(",", "")) for number in rows]


@pytest.mark.parametrize(
    ("title", "worth"),
    [
        ("A length-scale from a thousand genes", 0.99),
        ("Mixing weights", 0.9),
        ("Environments that change", 0.99),
        ("Weights of markers", 0.95),
        ("A network as the kernel", 0.9),
    ],
)
def test_learned_kernels(run, title, worth):
    """The baseline is the first of the kinships, and the true one the last."""
    names, text = run(title)
    _, *found = names["gain"].values()
    np.testing.assert_allclose(found, gains(text), rtol=0.03, atol=0.1)
    *baselines, learned, true = found
    assert learned > worth * true
    assert all(baseline < learned for baseline in baselines)
    fit = names["fit"]
    if title.startswith("A length-scale"):
        said = numbers(text, "The length is", "(truth")
        np.testing.assert_allclose([fit.parameters, fit.standard_errors], said, atol=2e-3)
    if title.startswith("Mixing"):
        weights = [fit.parameters["house"], fit.standard_errors["house"]]
        np.testing.assert_allclose(
            weights, numbers(text, "household's weight", "(truth"), atol=0.01
        )
        assert f'"{fit.reason}"' in text
    if title.startswith("Environments"):
        np.testing.assert_allclose(
            fit.parameters, numbers(text, "The weights are", ". Standard"), atol=0.01
        )
        np.testing.assert_allclose(fit.standard_errors[jnp.array([0, 2])], 0.04, atol=0.01)
    if title.startswith("Weights"):
        (share,) = numbers(text, "The ten have", " of the weight")
        assert names["share"] == pytest.approx(share, abs=CLOSE)


def test_most_heritable_combination_of_traits(run, data_dir, monkeypatch):
    mice = lmm.load_recla(data_dir / "recla" / "recla.RData")
    monkeypatch.setattr(lmm, "load_recla", lambda: mice)
    names, text = run("The most heritable")
    mean = names["mean"]
    rows = ("best trait", "first principal component", "no ridge", "heritable")
    for label, name in zip(
        (*rows[:2], "most heritable, no ridge", "most heritable"), rows, strict=True
    ):
        said = numbers(text, f"| {label} |", "|\n")
        found = [mean[cohort][name] for cohort in ("people", "mice")]
        np.testing.assert_allclose(found, said, atol=CLOSE)
    assert max(mean["people"].values()) == mean["people"]["heritable"]
    # Nothing is hidden: of few mice the combination is worth less.
    assert mean["mice"]["heritable"] < mean["mice"]["best trait"]


def test_a_neural_network_for_the_fixed_effect(run):
    names, text = run("A neural network")
    said = numbers(text, "For people it has not seen", "what they leave")
    found = [names["correlation"], names["learned_hsq"]]
    np.testing.assert_allclose(found, said[:2], atol=CLOSE)
    assert names["correlation"] > 0.95
    (linear,) = numbers(text, "drowns the genetic part", "\n")
    assert names["linear"].hsq[0] == pytest.approx(linear, abs=CLOSE)
