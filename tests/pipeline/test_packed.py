"""Genotypes that travel packed: tables are those of genotypes that do not."""

import numpy as np
import pytest
from runs import contents, files_of

from lmmlite_jax.data.genotypes.base import GenotypeFile
from lmmlite_jax.mapping import blocks
from lmmlite_jax.pipeline import Settings, map_files


@pytest.mark.long
@pytest.mark.parametrize("mode", ["trans", "cis_nominal"])
def test_not_a_byte_differs(cohort, tmp_path, mode, monkeypatch):
    travelled, put, read = set(), blocks._markers_in_rows, GenotypeFile.read

    def noted(stored):
        travelled.add(stored.dtype)
        return put(stored)

    def unpacked(self, which=slice(None), samples=None, *, packed=False):
        return read(self, which, samples)

    monkeypatch.setattr(blocks, "_markers_in_rows", noted)
    settings = Settings(mode=mode, window=60_000, pval_threshold=1e-3)
    found = {}
    for how, dtype in (("packed", np.int8), ("unpacked", np.float64)):
        if how == "unpacked":
            monkeypatch.setattr(GenotypeFile, "read", unpacked)
        travelled.clear()
        map_files(files_of(cohort, kinship="none"), tmp_path / how / "run", settings)
        assert travelled == {np.dtype(dtype)}
        found[how] = contents(tmp_path / how)
    assert found["packed"]
    assert found["packed"] == found["unpacked"]
