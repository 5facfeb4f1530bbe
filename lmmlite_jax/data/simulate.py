"""Simulated cohorts of relatives with known heritabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from lmmlite_jax.data.cohort import Cohort

__all__ = ["simulate_cohort"]

_SHARE_NOT_HERITABLE = 0.1

_CHROMOSOMES = 20
_MARKERS_PER_CHROMOSOME = 30
_CHROMOSOME_MORGANS = 0.8


def simulate_cohort(
    n: int = 400,
    m: int = 200,
    *,
    relatives: str = "families",
    hsq: float | ArrayLike | None = None,
    missing: float = 0.0,
    seed: int = 0,
) -> Cohort:
    """Simulate m traits of n related individuals.

    Each trait is y = Xβ + g + e with Var(g) = s² h² K and Var(e) = s² (1 − h²) I, for a scale s and
    effects β of its own. K has diagonal 1, so that h² is a heritability.

    Parameters
    ----------
    n, m : int
        Number of individuals and of traits.
    relatives : {"families", "twins", "strains"}
        "families": nuclear families of two founders and one to four children; K is twice the
        expected coancestry. "twins": pairs, in turn monozygotic (K = 1, so that K is singular) and
        dizygotic (K = ½). "strains": recombinant inbred strains of two founders, made by sib
        mating; K is the mean product over 600 markers coded ±1.
    hsq : float or (m,) array_like, optional
        True heritabilities in [0, 1]. Drawn when not given: exactly 0 with probability 0.1, and
        otherwise uniformly from [0, 1].
    missing : float
        Probability, at least 0 and below 1, that a phenotype value is NaN.
    seed : int
        Seed of the random numbers: the same arguments give the same cohort.

    Returns
    -------
    Cohort
        NumPy float64 tables, names, and the true heritabilities. The covariates are an intercept,
        sex (0 female, 1 male) and age (years; weeks for strains).

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from lmmlite_jax.data import simulate_cohort
    >>> cohort = simulate_cohort(n=6, m=2, relatives="twins", hsq=0.5)
    >>> cohort.individuals[:3]
    ('pair001_a', 'pair001_b', 'pair002_a')
    >>> cohort.kinship[:3, :3]
    array([[1., 1., 0.],
           [1., 1., 0.],
           [0., 0., 1.]])
    >>> cohort.pheno.shape, cohort.covariates, cohort.hsq
    ((6, 2), ('intercept', 'sex', 'age'), array([0.5, 0.5]))
    """
    _check_count("n", n)
    _check_count("m", m)
    if relatives not in _RELATIVES:
        raise ValueError(f"relatives is {relatives!r}: use one of {', '.join(_RELATIVES)}.")
    if not 0 <= missing < 1:
        raise ValueError(f"missing is {missing}: give a fraction from 0 to below 1.")

    rng = np.random.default_rng(seed)
    pedigree = _RELATIVES[relatives](n, rng)
    covar = np.column_stack([np.ones(n), pedigree.sex, pedigree.age])
    true_hsq = _draw_hsq(m, rng) if hsq is None else _given_hsq(hsq, m)
    pheno = _traits(pedigree.kinship, covar, true_hsq, rng)
    pheno[rng.random((n, m)) < missing] = np.nan
    return Cohort(
        kinship=pedigree.kinship,
        pheno=pheno,
        covar=covar,
        individuals=pedigree.individuals,
        phenotypes=tuple(f"trait{number:04d}" for number in range(1, m + 1)),
        covariates=("intercept", "sex", "age"),
        hsq=true_hsq,
    )


@dataclass(frozen=True)
class _Pedigree:
    individuals: tuple[str, ...]
    kinship: np.ndarray
    sex: np.ndarray
    age: np.ndarray


def _families(n: int, rng: Generator) -> _Pedigree:
    individuals: list[str] = []
    sex: list[float] = []
    age: list[float] = []
    kinship = np.eye(n)
    family = 0
    while len(individuals) < n:
        family += 1
        children = int(rng.integers(1, 5))
        start, stop = len(individuals), min(len(individuals) + 2 + children, n)
        kinship[start:stop, start:stop] = _nuclear_kinship(children)[: stop - start, : stop - start]
        roles = ["father", "mother", *(f"child{child}" for child in range(1, children + 1))]
        individuals += [f"fam{family:03d}_{role}" for role in roles]
        sex += [1, 0, *rng.integers(0, 2, children)]
        parents = rng.uniform(45, 70) + rng.uniform(-3, 3, 2)
        age += [*parents, *(parents.min() - rng.uniform(20, 35, children))]
    return _Pedigree(tuple(individuals[:n]), kinship, np.array(sex[:n]), np.round(age[:n], 1))


def _nuclear_kinship(children: int) -> np.ndarray:
    kinship = np.full((children + 2, children + 2), 0.5)
    kinship[0, 1] = kinship[1, 0] = 0.0
    np.fill_diagonal(kinship, 1.0)
    return kinship


def _twins(n: int, rng: Generator) -> _Pedigree:
    person = np.arange(n)
    pair = person // 2
    monozygotic = pair % 2 == 0
    shared = np.where(monozygotic, 1.0, 0.5)
    kinship = np.where(pair[:, None] == pair, shared, 0.0)
    np.fill_diagonal(kinship, 1.0)
    sex = rng.integers(0, 2, n).astype(float)
    first_twin = 2 * pair
    return _Pedigree(
        tuple(f"pair{number // 2 + 1:03d}_{'ab'[number % 2]}" for number in range(n)),
        kinship,
        np.where(monozygotic, sex[first_twin], sex),
        np.round(rng.uniform(18, 75, n), 1)[first_twin],
    )


def _strains(n: int, rng: Generator) -> _Pedigree:
    distance = _CHROMOSOME_MORGANS / (_MARKERS_PER_CHROMOSOME - 1)
    meiosis = 0.5 * (1 - np.exp(-2 * distance))
    # Haldane & Waddington (1931): recombination accumulated over generations of sib mating.
    switch = np.full(_MARKERS_PER_CHROMOSOME, 4 * meiosis / (1 + 6 * meiosis))
    switch[0] = 0.5
    switches = rng.random((n, _CHROMOSOMES, _MARKERS_PER_CHROMOSOME)) < switch
    founder = (switches.cumsum(axis=-1) % 2).reshape(n, -1)
    markers = 1.0 - 2.0 * founder
    return _Pedigree(
        tuple(f"strain{number:03d}" for number in range(1, n + 1)),
        markers @ markers.T / markers.shape[1],
        rng.integers(0, 2, n).astype(float),
        np.round(rng.uniform(8, 24, n), 1),
    )


_RELATIVES: dict[str, Callable[[int, Generator], _Pedigree]] = {
    "families": _families,
    "twins": _twins,
    "strains": _strains,
}


def _draw_hsq(m: int, rng: Generator) -> np.ndarray:
    heritable = rng.random(m) >= _SHARE_NOT_HERITABLE
    return np.where(heritable, rng.uniform(size=m), 0.0)


def _given_hsq(hsq: float | ArrayLike, m: int) -> np.ndarray:
    values = np.asarray(hsq, dtype=float)
    if values.shape not in {(), (m,)}:
        raise ValueError(
            f"hsq has shape {values.shape}: give one number or one for each trait, ({m},)."
        )
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValueError(f"hsq holds {values[outside].flat[0]}: heritabilities lie from 0 to 1.")
    return np.broadcast_to(values, (m,)).copy()


def _traits(kinship: np.ndarray, covar: np.ndarray, hsq: np.ndarray, rng: Generator) -> np.ndarray:
    n, m = len(kinship), len(hsq)
    scale = rng.lognormal(size=m)
    beta = rng.normal(size=(3, m)) * np.array([[5.0], [0.5], [0.02]])
    genetic = np.sqrt(hsq) * (_square_root(kinship) @ rng.normal(size=(n, m)))
    environment = np.sqrt(1 - hsq) * rng.normal(size=(n, m))
    return scale * (covar @ beta + genetic + environment)


def _square_root(kinship: np.ndarray) -> np.ndarray:
    # Not Cholesky, which fails for twins: their kinship is singular. The symmetric root is the only
    # one: eigenvectors of equal eigenvalues are any, by the processor that finds them.
    values, vectors = np.linalg.eigh(kinship)
    return vectors * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}: give at least 1.")
