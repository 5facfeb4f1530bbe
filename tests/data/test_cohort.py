import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest

from lmmlite_jax.data import simulate_cohort


def test_to_pandas_names_rows_and_columns_and_keeps_values():
    cohort = simulate_cohort(6, 2, relatives="twins")
    labelled = cohort.to_pandas()
    assert isinstance(labelled.kinship, pd.DataFrame)
    assert tuple(labelled.kinship.index) == tuple(labelled.kinship.columns) == cohort.individuals
    assert tuple(labelled.pheno.columns) == cohort.phenotypes
    assert labelled.covar.loc["pair001_b", "intercept"] == 1
    np.testing.assert_array_equal(labelled.pheno, cohort.pheno)
    np.testing.assert_array_equal(labelled.hsq, cohort.hsq)


def test_to_pandas_twice_is_to_pandas_once():
    once = simulate_cohort(4, 2).to_pandas()
    pd.testing.assert_frame_equal(once.to_pandas().pheno, once.pheno)


def test_a_cohort_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        simulate_cohort(4, 2).hsq = None


@pytest.mark.parametrize("field", ["kinship", "pheno", "covar", "hsq"])
def test_a_table_of_another_shape_than_its_names_is_refused(field):
    cohort = simulate_cohort(4, 2)
    with pytest.raises(ValueError, match=f"{field} has shape .* its names need"):
        dataclasses.replace(cohort, **{field: np.zeros((9, 9))})


def test_without_pandas_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas is needed .* 'lmmlite-jax\[io\]'"):
        simulate_cohort(4, 2).to_pandas()
