"""One process over several devices: results are those of one."""

import os
import subprocess
import sys

import numpy as np
import pytest
from runs import contents

pytestmark = pytest.mark.long

SCRIPT = """
import pathlib, sys
import jax
import numpy as np
import lmmlite_jax as lmm
from lmmlite_jax.mapping import keep, trans_search
from lmmlite_jax.model.individuals import Individuals
from lmmlite_jax.pipeline import Files, Settings, map_files

folder, cohort = map(pathlib.Path, sys.argv[1:])
every = jax.local_devices()
assert len(every) == 4
trans_search._MOST_MARKERS = 512
copy, used = Individuals.on, set()
def on(self, device):
    used.add(device)
    return copy(self, device)
Individuals.on = on

rng = np.random.default_rng(1)
n, M, m = 60, 1100, 24
K = lmm.simulate_cohort(n, 1, seed=1).kinship
G = rng.binomial(2, 0.3, (n, M)).astype(float)
G[:, [500, 900]] = G[:, [5]]  # the same marker
Y = rng.standard_normal((n, m)) + G[:, [5]]
G[3, ::50] = Y[:3, 1::2] = np.nan
null = lmm.NullModel(K, Y)
for count in (1, 2, 4):
    jax.local_devices = lambda **of: every[:count]
    for kept in ("all", "best"):
        used.clear()
        found = lmm.scan(null, G, keep=kept)
        assert used == ({*every[:count]} if count > 1 else set()), used
        names = ("marker", "trait", "beta", "se", "lod", "log10p", "hsq", "missing")
        arrays = {x: getattr(found, x) for x in names if getattr(found, x) is not None}
        np.savez(folder / f"{kept}.{count}.npz", **arrays)
    for mode in ("trans", "cis_nominal"):
        used.clear()
        where = folder / str(count) / "run"
        files = Files(genotypes=cohort / "g", phenotypes=cohort / "y.bed", kinship="auto")
        map_files(files, where, Settings(mode=mode, window=60_000, pval_threshold=1e-3))
        assert used == ({*every[:count]} if count > 1 else set()), used
"""


@pytest.fixture(scope="module")
def results(cohort, environment, tmp_path_factory):
    """What scans and runs have found with 1, 2 and 4 devices."""
    folder = tmp_path_factory.mktemp("devices")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(cohort)],
        env={**environment, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    return folder


@pytest.mark.parametrize("kept", ["all", "best"])
def test_scans_are_those_of_one_device(results, kept):
    one = np.load(results / f"{kept}.1.npz")
    for count in (2, 4):
        several = np.load(results / f"{kept}.{count}.npz")
        assert several.files == one.files
        for name, values in one.items():
            np.testing.assert_allclose(several[name], values, rtol=1e-12, err_msg=name)


def test_tables_are_those_of_one_device_to_the_last_byte(results):
    tables = contents(results / "1")
    assert {"run.trans_qtl_pairs.parquet", "run.cis_qtl_pairs.2.parquet"} <= tables.keys()
    for count in (2, 4):
        assert contents(results / str(count)) == tables
