"""jaxQTL: its Gaussian model as its command line sets it up, in double precision."""

import logging

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from driver import main  # noqa: E402
from jaxqtl.distribution import Gaussian  # noqa: E402
from jaxqtl.hypothesis import BetaPermutation, WaldTest  # noqa: E402
from jaxqtl.infer import LinearModel  # noqa: E402
from jaxqtl.io import ExpressionData, load_genotype_dataset  # noqa: E402
from jaxqtl.map import map_cis  # noqa: E402
from jaxqtl.map.data import ReadyDataState  # noqa: E402


def prepared(d, mode):
    """Whatever it finds in a mode, once all tables are read."""
    samples = [f"s{i}" for i in range(len(d.Y))]
    low, high = d.windows.T
    middle = 1000 * ((low + high) // 2) - 499
    genes = {"#chr": "1", "start": middle, "end": middle}
    names = {"gene_id": [f"g{t}" for t in range(d.Y.shape[1])]}
    table = pl.DataFrame(names).with_columns(
        **{name: pl.lit("1") if name == "#chr" else pl.Series(x) for name, x in genes.items()}
    )
    table = table.select("#chr", "start", "end", "gene_id")
    pl.concat([table, pl.DataFrame(d.Y.T, samples)], how="horizontal").write_csv(
        d.out / "expression.bed", separator="\t"
    )
    covariates = pl.DataFrame(d.X, [f"x{j}" for j in range(d.X.shape[1])])
    ready = ReadyDataState.from_data(
        load_genotype_dataset("bfile", str(d.folder / "genotypes")),
        ExpressionData.from_bedfile(str(d.out / "expression.bed")),
        covariates.insert_column(0, pl.Series("iid", samples)),
    )
    test = WaldTest(model=LinearModel(family=Gaussian()))
    permutations = BetaPermutation(
        max_perm_direct=int(getattr(d, "permutations", 1)), use_tdist=True
    )
    half = 1000 * int((high - low)[0] // 2) - 500

    def run():
        quiet = logging.getLogger("quiet")
        options = {"window": half, "verbose": False, "log": quiet}
        return pl.concat(map_cis(ready, test, permutations, mode, **options))

    return run


def cis(d):
    run = prepared(d, "cis")

    def found():
        table = run()
        return {
            "log10p": -np.log10(table["pvalue"].to_numpy()),
            "pval_beta": table["pvalue_adj"].to_numpy(),
        }

    return found


def cis_nominal(d):
    run = prepared(d, "nominal")
    return lambda: {"log10p": -np.log10(run()["pvalue"].to_numpy().reshape(len(d.windows), -1))}


main({"cis": cis, "cis-nominal": cis_nominal})
