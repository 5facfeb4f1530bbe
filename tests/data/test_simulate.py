import numpy as np
import pytest

from lmmlite_jax.data import simulate_cohort

RELATIVES = ("families", "twins", "strains")


@pytest.mark.parametrize("relatives", RELATIVES)
def test_kinship_has_diagonal_one_and_no_negative_eigenvalue(relatives):
    kinship = simulate_cohort(101, 2, relatives=relatives).kinship
    np.testing.assert_allclose(np.diag(kinship), 1.0)
    np.testing.assert_array_equal(kinship, kinship.T)
    assert np.linalg.eigvalsh(kinship).min() > -1e-12


@pytest.mark.parametrize("relatives", RELATIVES)
def test_names_are_unique_and_shapes_agree(relatives):
    cohort = simulate_cohort(37, 5, relatives=relatives)
    assert len(set(cohort.individuals)) == 37
    assert cohort.pheno.shape == (37, 5)
    assert cohort.pheno.dtype == cohort.kinship.dtype == cohort.covar.dtype == np.float64
    assert cohort.phenotypes[0] == "trait0001"


@pytest.mark.parametrize("relatives", RELATIVES)
def test_the_same_seed_gives_the_same_cohort_and_another_seed_another(relatives):
    first, again = (simulate_cohort(20, 3, relatives=relatives, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.pheno, again.pheno)
    other = simulate_cohort(20, 3, relatives=relatives, seed=5)
    assert not np.array_equal(first.pheno, other.pheno)


def test_parents_are_unrelated_and_share_half_with_each_child():
    cohort = simulate_cohort(50, 1)
    father, mother = (cohort.individuals.index(f"fam003_{who}") for who in ("father", "mother"))
    child = cohort.individuals.index("fam003_child1")
    assert cohort.kinship[father, mother] == 0
    assert cohort.kinship[father, child] == cohort.kinship[mother, child] == 0.5
    assert cohort.kinship[father, 0] == 0
    assert cohort.covar[child, 2] < cohort.covar[[father, mother], 2].min()


def test_half_of_the_twins_are_monozygotic_and_make_kinship_singular():
    cohort = simulate_cohort(40, 1, relatives="twins")
    pairs = cohort.kinship[np.arange(0, 40, 2), np.arange(1, 40, 2)]
    np.testing.assert_array_equal(np.sort(pairs), [0.5] * 10 + [1.0] * 10)
    assert np.linalg.matrix_rank(cohort.kinship) == 30
    sex = cohort.covar[:, 1]
    assert all(sex[first] == sex[first + 1] for first in range(0, 40, 4))


def test_a_fully_heritable_trait_is_equal_in_monozygotic_twins_but_for_covariates():
    cohort = simulate_cohort(8, 50, relatives="twins", hsq=1.0)
    np.testing.assert_allclose(cohort.pheno[0], cohort.pheno[1], atol=1e-6)


@pytest.mark.parametrize("relatives", RELATIVES)
def test_relatives_resemble_each_other_as_much_as_heritability_says(relatives):
    hsq = 0.6
    cohort = simulate_cohort(200, 4000, relatives=relatives, hsq=hsq, seed=2)
    residual = cohort.pheno - cohort.covar @ np.linalg.lstsq(cohort.covar, cohort.pheno)[0]
    residual /= residual.std(axis=0)
    covariance = residual @ residual.T / residual.shape[1]
    off_diagonal = ~np.eye(200, dtype=bool)
    slope = np.polyfit(cohort.kinship[off_diagonal], covariance[off_diagonal], 1)[0]
    assert slope == pytest.approx(hsq, abs=0.03)


def test_some_heritabilities_drawn_are_exactly_zero():
    hsq = simulate_cohort(4, 2000).hsq
    assert np.mean(hsq == 0) == pytest.approx(0.1, abs=0.03)
    assert hsq.min() >= 0
    assert hsq.max() <= 1


def test_heritabilities_given_are_kept():
    assert simulate_cohort(4, 2, hsq=[0.1, 0.9]).hsq.tolist() == [0.1, 0.9]
    assert simulate_cohort(4, 2, hsq=0.3).hsq.tolist() == [0.3, 0.3]


def test_the_fraction_asked_for_is_missing_and_nothing_else_changes():
    cohort = simulate_cohort(100, 100, missing=0.2)
    assert np.isnan(cohort.pheno).mean() == pytest.approx(0.2, abs=0.02)
    complete = simulate_cohort(100, 100).pheno
    np.testing.assert_array_equal(
        np.where(np.isnan(cohort.pheno), complete, cohort.pheno), complete
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0: give at least 1"),
        ({"m": 0}, "m is 0: give at least 1"),
        ({"relatives": "cousins"}, "relatives is 'cousins': use one of families, twins, strains"),
        ({"hsq": 1.5}, "hsq holds 1.5: heritabilities lie from 0 to 1"),
        ({"hsq": float("nan")}, "hsq holds nan"),
        ({"hsq": [0.1, 0.2, 0.3]}, r"hsq has shape \(3,\): give one number or one for each trait"),
        ({"missing": 1.0}, "missing is 1.0: give a fraction"),
        ({"missing": -0.1}, "missing is -0.1: give a fraction"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_cohort(**({"n": 6, "m": 2} | arguments))
