"""The modes of a run: each does what is left to do, and then makes its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lmmlite_jax._optional import require
from lmmlite_jax.data._names import few
from lmmlite_jax.mapping.cis import COLUMNS, BestMarkers, best_markers, check_permutations, cis_data
from lmmlite_jax.mapping.cis_independent import signals_of_genes
from lmmlite_jax.mapping.cis_nominal import map_cis_interaction, map_cis_nominal
from lmmlite_jax.mapping.collect import Method
from lmmlite_jax.mapping.multiple_testing import effective_tests, nominal_thresholds, q_values
from lmmlite_jax.mapping.scan import ScanData
from lmmlite_jax.mapping.trans import TransUnit, map_trans
from lmmlite_jax.model.estimate import Options
from lmmlite_jax.model.precision import each_in_float64
from lmmlite_jax.model.result import Status, reasons_of, status_of_counts
from lmmlite_jax.run.inputs import Inputs, Kinship
from lmmlite_jax.run.parts import Parts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODES", "Mapping", "Settings", "Table"]

MODES = ("cis", "cis_nominal", "cis_independent", "trans")

_TOL = 1e-8
_BAR = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]


@dataclass(frozen=True)
class Settings:
    """Options on which results depend; see `lmmlite_jax.run.map_files`."""

    mode: str
    window: int
    maf_threshold: float
    maf_threshold_interaction: float
    permutations: int
    seed: int
    pval_threshold: float
    fdr: float
    variance: str
    clip_negative: bool
    scale_kinship: bool


@dataclass(frozen=True)
class Table:
    """A file to write: the ending of its name after the prefix, and its rows."""

    ending: str
    frame: pd.DataFrame


@dataclass
class Mapping:
    """A run at work.

    Attributes
    ----------
    inputs, settings, kinship, parts
        What is mapped, how, and what is finished.
    bar : function
        ``bar(what, total)`` is a context that gives the function told of progress.
    log : function
        Told a line at a time.
    facts : dict
        What there is to say in the summary.
    """

    inputs: Inputs
    settings: Settings
    kinship: Kinship
    parts: Parts
    bar: _BAR
    log: Callable[[str], None]
    facts: dict[str, Any] = field(default_factory=dict)

    def tables(self) -> Iterator[Table]:
        """Do what is left to do, and give the tables of results."""
        if self.settings.mode == "trans":
            yield from self._trans()
        elif self.settings.mode == "cis_nominal":
            yield from self._nominal()
        else:
            check_permutations(self.settings.permutations, "float32")
            table = self._cis()
            yield Table("cis_qtl.txt.gz", table)
            if self.settings.mode == "cis_independent":
                yield self._independent(table)

    def _arguments(self) -> dict[str, Any]:
        """What functions of arrays take."""
        inputs, settings = self.inputs, self.settings
        return {
            "K": self.kinship,
            "Y": inputs.values,
            "G": inputs.dosages,
            "X": inputs.covariates.to_numpy(),
            "chromosome": inputs.chromosome() if isinstance(self.kinship, dict) else None,
            "clip_negative": settings.clip_negative,
            "scale_kinship": settings.scale_kinship,
        }

    def _data(self) -> ScanData:
        with jax.enable_x64(True):
            return cis_data(**self._arguments(), weights=None)

    def _windows(self) -> np.ndarray:
        windows = self.inputs.windows(self.settings.window)
        count = int((windows[:, 1] == windows[:, 0]).sum())
        if count == len(windows):
            raise ValueError(
                f"None of the {count} features has a variant within {self.settings.window} base "
                "pairs: see that positions are of the same genome build, or widen the window."
            )
        return windows

    def _left(self, stage: str) -> np.ndarray:
        """Which features are still to be mapped."""
        left = np.ones(len(self.inputs.features), dtype=bool)
        done = [key.removeprefix(stage) for key in self.parts.facts if key.startswith(stage)]
        left[np.array(done, dtype=int)] = False
        return left

    def _cis(self) -> pd.DataFrame:
        """Do what is left of the best markers, and make their table."""
        settings, data, windows = self.settings, self._data(), self._windows()
        method = Method("null", "wald", 1, "float64", _TOL)
        left, mappable = self._left("gene "), windows[:, 1] > windows[:, 0]
        pd = require("pandas", "io")
        work = best_markers(
            data,
            windows,
            method,
            Options(reml=True),
            settings.permutations,
            settings.seed,
            settings.maf_threshold,
            "float32",
            left,
        )
        with self.bar("genes", int(mappable.sum())) as advance:
            advance(int((mappable & ~left).sum()))
            for fits, best in each_in_float64(work):
                hsq = dict(zip(fits.genes.tolist(), fits.hsq, strict=True))
                frame = pd.DataFrame(
                    {
                        "gene": best.genes,
                        "marker": best.marker,
                        **best.columns,
                        "hsq": [hsq[gene] for gene in best.genes],
                        "n": data.counts[best.genes],
                    }
                )
                self.parts.add(frame, _by_gene("gene ", fits.genes, fits.status), "best")
                advance(fits.genes.size)
        self._note_features(data, windows, "gene ")
        found = self._found("best").sort_values("gene", ignore_index=True)
        self.facts["tested"] = len(found)
        return self._with_qvalues(self._named_best(found))

    def _found(self, kind: str) -> pd.DataFrame:
        found = self.parts.frame(kind)
        if found is None:
            raise ValueError(
                "No feature could be tested: too few samples are left, or covariates are collinear."
            )
        return found

    def _named_best(self, found: pd.DataFrame) -> pd.DataFrame:
        """Columns of tensorQTL for rows of best markers."""
        table = found[list(COLUMNS)].set_axis(
            require("pandas", "io").Index(
                np.asarray(self.inputs.features, dtype=object)[found["gene"]], name="phenotype_id"
            )
        )
        for name, values in self._places(found).items():
            _insert(table, "ma_samples", name, values)
        return table

    def _places(self, found: pd.DataFrame) -> dict[str, np.ndarray]:
        """Names of variants, and distances from both ends of the gene."""
        variants, positions = self.inputs.variants, self.inputs.positions
        assert positions is not None
        marker, gene = found["marker"].to_numpy(), found["gene"].to_numpy()
        position = variants["pos"].to_numpy()[marker]
        return {
            "variant_id": variants.index.to_numpy(dtype=object)[marker],
            "start_distance": position - positions["start"].to_numpy()[gene],
            "end_distance": position - positions["end"].to_numpy()[gene],
        }

    def _with_qvalues(self, table: pd.DataFrame) -> pd.DataFrame:
        pvalues = table["pval_beta"].to_numpy()
        pi0 = None
        try:
            qvalue, proportion = q_values(pvalues)
        except ValueError as error:
            # Few genes: said, and Benjamini and Hochberg's q-values are larger, never smaller.
            self.log(f"q-values are Benjamini and Hochberg's adjusted p-values: {error}")
            pi0 = 1.0
            qvalue, proportion = q_values(pvalues, pi0)
        thresholds = nominal_thresholds(
            pvalues,
            table["beta_shape1"].to_numpy(),
            table["beta_shape2"].to_numpy(),
            self.settings.fdr,
            pi0,
        )
        significant = int((qvalue <= self.settings.fdr).sum())
        self.facts |= {"pi0": float(proportion), "significant": significant}
        self.log(
            f"{significant} of {len(table)} features at a false discovery rate of "
            f"{self.settings.fdr:g} (proportion of true null hypotheses {proportion:.3g})"
        )
        _insert(table, "log10p", "qval", qvalue)
        _insert(table, "log10p", "pval_nominal_threshold", thresholds)
        return table

    def _independent(self, table: pd.DataFrame) -> Table:
        """Do what is left of independent signals, and make their table."""
        settings, data, windows = self.settings, self._data(), self._windows()
        found = self._found("best")
        cis = _as_best(found, len(self.inputs.features))
        significant = table.loc[table["qval"] <= settings.fdr, "pval_beta"]
        pd = require("pandas", "io")
        signals = None
        if len(significant):
            threshold = float(significant.max())
            self.log(f"signals have pval_beta of at most {threshold:.6g}")
            left = self._left("signals ")
            work = signals_of_genes(
                data,
                windows,
                cis,
                threshold,
                True,
                settings.permutations,
                settings.seed,
                settings.maf_threshold,
                "float32",
                _TOL,
                left,
            )
            with self.bar("genes", int((cis.pval_beta <= threshold).sum())) as advance:
                advance(int((~left).sum()))
                for gene, of_gene in each_in_float64(work):
                    self.parts.add(pd.DataFrame(of_gene), {f"signals {gene}": 0}, "signals")
                    advance(1)
            signals = self.parts.frame("signals")
        if signals is None:
            signals = found[:0].assign(rank=0)
        signals = signals.sort_values(["gene", "rank"], ignore_index=True)
        self.facts["signals"] = len(signals)
        self.log(f"{len(signals)} independent signals of {signals['gene'].nunique()} features")
        named = self._named_best(signals)
        _insert(named, "log10p", "rank", signals["rank"].to_numpy())
        return Table("cis_independent_qtl.txt.gz", named.reset_index())

    def _nominal(self) -> Iterator[Table]:
        """Do what is left of all pairs, and make a table a chromosome."""
        settings, inputs = self.settings, self.inputs
        data, windows = self._data(), self._windows()
        left, mappable = self._left("gene "), windows[:, 1] > windows[:, 0]
        mappable &= status_of_counts(data.counts, data.design.shape[1]) == Status.OK
        positions = inputs.positions
        assert positions is not None
        chrom = positions["chrom"].to_numpy(dtype=object)
        term = self._interaction()
        arguments = {**self._arguments(), "window": windows, "wanted": left}
        work: Iterator[Any]
        if term is None:
            work = map_cis_nominal(
                **arguments, variance=settings.variance, maf_threshold=settings.maf_threshold
            )
        else:
            work = map_cis_interaction(
                **arguments,
                interaction=term,
                maf_threshold_interaction=settings.maf_threshold_interaction,
            )
        with self.bar("genes", int(mappable.sum())) as advance:
            advance(int((mappable & ~left).sum()))
            for pairs in work:
                frame = pairs.to_pandas().rename(
                    columns={"phenotype_id": "gene", "variant_id": "marker"}
                )
                tests = None if term is None else self._effective_tests(pairs)
                self.parts.add(
                    frame.assign(chrom=chrom[pairs.gene]),
                    {
                        f"gene {gene}": None if tests is None else tests.get(gene)
                        for gene in pairs.genes.tolist()
                    },
                )
                advance(pairs.genes.size)
        self._note_features(data, windows, "gene ")
        self.facts["pairs"] = self.facts["without_test"] = 0
        tops = []
        for name in dict.fromkeys(inputs.variants["chrom"]):
            found = self.parts.frame(chrom=name)
            if found is None or found.empty:
                continue
            found = found.sort_values(["gene", "marker"], ignore_index=True)
            table = self._named_pairs(found)
            pvalue = "pval_nominal" if term is None else "pval_gi"
            self.facts["pairs"] += len(table)
            self.facts["without_test"] += int(table[pvalue].isna().sum())
            if term is not None:
                tops.append(self._top(found, table))
            yield Table(f"cis_qtl_pairs.{name}.parquet", table)
        if not self.facts["pairs"]:
            raise ValueError("No pair is left: the least frequency of minor alleles is too high.")
        if term is not None:
            top = require("pandas", "io").concat(tops)
            _insert(top, "log10p_gi", "pval_emt", np.minimum(top["tests_emt"] * top["pval_gi"], 1))
            _insert(top, "log10p_gi", "pval_adj_bh", q_values(top["pval_emt"], 1.0).qvalue)
            yield Table("cis_qtl_top_assoc.txt.gz", top)

    def _interaction(self) -> np.ndarray | None:
        term = self.inputs.interaction
        if term is None:
            return None
        if term.shape[1] > 1:
            raise ValueError(
                f"The interaction has {term.shape[1]} terms ({few(term.columns)}): give one."
            )
        return term.to_numpy()[:, 0]

    def _effective_tests(self, pairs: Any) -> dict[int, int]:
        """Number of independent tests near each gene."""
        tests = {}
        for gene in np.unique(pairs.gene):
            members = ~np.isnan(self.inputs.values[:, gene])
            dosages = self.inputs.dosages[:, pairs.marker[pairs.gene == gene]][members]
            tests[int(gene)] = effective_tests(_without_gaps(dosages))
        return tests

    def _named_pairs(self, found: pd.DataFrame) -> pd.DataFrame:
        """Columns of tensorQTL for rows of pairs."""
        table = found.drop(columns=["gene", "marker", "chrom"])
        for name, values in reversed(list(self._places(found).items())):
            table.insert(0, name, values)
        names = np.asarray(self.inputs.features, dtype=object)[found["gene"]]
        table.insert(0, "phenotype_id", names)
        return table

    def _top(self, found: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        """Best pair of each gene, and the number of independent tests."""
        tested = found[found["log10p_gi"].notna()]
        rows = tested.groupby("gene")["log10p_gi"].idxmax()
        tests = [self.parts.facts[f"gene {gene}"] for gene in rows.index]
        top = table.loc[rows].set_index("phenotype_id")
        _insert(top, "log10p_gi", "tests_emt", tests)
        return top

    def _trans(self) -> Iterator[Table]:
        """Do what is left of all pairs over the threshold, and make one table."""
        settings, inputs = self.settings, self.inputs
        windows = None
        if inputs.positions is None:
            self.log("the features have no places: no pair is left out as cis")
        else:
            windows = inputs.windows(settings.window)
            self.log(f"pairs within {settings.window:,} base pairs are left out as cis")
        done = {key for key in self.parts.facts if key.startswith("unit ")}
        batches: dict[int, int] = {}

        def wanted(unit: TransUnit) -> bool:
            batches[unit.batch] = 1
            return _key(unit) not in done

        work = map_trans(
            **self._arguments(),
            threshold=settings.pval_threshold,
            window=windows,
            variance=settings.variance,
            maf_threshold=settings.maf_threshold,
            wanted=wanted,
        )
        pd = require("pandas", "io")
        M = len(inputs.variants)
        with self.bar("variants", M) as advance:
            advance(sum(self.parts.facts[key]["tested"] for key in done if " 0 " in key))
            for pairs in work:
                facts = {
                    "tested": pairs.markers.size,
                    "gaps": int((pairs.missing > 0).sum()),
                    "missing": int(pairs.missing.sum()),
                    "irregular": {
                        str(trait): int(code)
                        for trait, code in zip(pairs.traits, pairs.status, strict=True)
                        if code != Status.OK
                    },
                }
                frame = pairs.to_pandas().rename(
                    columns={"variant_id": "marker", "phenotype_id": "gene"}
                )
                self.parts.add(frame, {_key(pairs.unit): facts})
                if pairs.unit.batch == 0:
                    advance(pairs.markers.size)
        found = self.parts.frame()
        if found is None:
            raise ValueError("No feature could be tested: too few samples are left.")
        found = found.sort_values(["marker", "gene"], ignore_index=True)
        units = {key: fact for key, fact in self.parts.facts.items() if key.startswith("unit ")}
        first = [fact for key, fact in units.items() if key.split()[2] == "0"]
        status = status_of_counts(
            (~np.isnan(inputs.values)).sum(axis=0), inputs.covariates.shape[1]
        )
        for fact in units.values():
            for trait, code in fact["irregular"].items():
                status[int(trait)] = code
        self._note_reasons(status)
        missing, gaps = (sum(fact[name] for fact in first) for name in ("missing", "gaps"))
        self.facts |= {"pairs": len(found), "missing_genotypes": missing}
        if missing:
            self.log(f"{missing} missing genotypes of {gaps} variants are replaced by the mean")
        self.log(f"{len(found)} pairs with p of at most {settings.pval_threshold:g}")
        table = found.drop(columns=["marker", "gene"])
        names = np.asarray(inputs.features, dtype=object)[found["gene"]]
        variants = inputs.variants.index.to_numpy(dtype=object)[found["marker"]]
        table.insert(0, "phenotype_id", pd.array(names, dtype="str"))
        table.insert(0, "variant_id", pd.array(variants, dtype="str"))
        yield Table("trans_qtl_pairs.parquet", table)

    def _note_features(self, data: ScanData, windows: np.ndarray, stage: str) -> None:
        """Say which features were not tested, and why."""
        empty = windows[:, 1] == windows[:, 0]
        if empty.any():
            names = np.asarray(self.inputs.features, dtype=object)[empty]
            self.facts["without_variants"] = int(empty.sum())
            self.log(f"features without a variant in their window: {empty.sum()} ({few(names)})")
        status = status_of_counts(data.counts, data.design.shape[1])
        for key, fact in self.parts.facts.items():
            if key.startswith(stage) and self.settings.mode != "cis_nominal":
                status[int(key.removeprefix(stage))] = fact
        self._note_reasons(np.where(empty, Status.OK, status))

    def _note_reasons(self, status: np.ndarray) -> None:
        names = np.asarray(self.inputs.features, dtype=object)
        reasons = np.array(reasons_of(status, tuple(self.inputs.covariates.columns)), dtype=object)
        counts: dict[str, int] = {}
        for reason in dict.fromkeys(reasons[status != Status.OK].tolist()):
            if self.kinship is None and status[reasons == reason][0] == Status.FLAT:
                continue
            having = names[reasons == reason]
            counts[reason] = len(having)
            self.log(f"{len(having)} features: {reason} ({few(having)})")
        self.facts["irregular"] = counts


def _insert(table: pd.DataFrame, before: str, name: str, values: Any) -> None:
    """Put a column before another."""
    table.insert(list(table.columns).index(before), name, values)


def _by_gene(stage: str, genes: np.ndarray, status: np.ndarray) -> dict[str, int]:
    return {
        f"{stage}{gene}": int(code)
        for gene, code in zip(genes.tolist(), status.tolist(), strict=True)
    }


def _key(unit: TransUnit) -> str:
    return f"unit {unit.kinship} {unit.batch} {unit.first}"


def _as_best(found: pd.DataFrame, m: int) -> BestMarkers:
    """Arrays over all genes from rows of those that have a test."""
    genes = found["gene"].to_numpy()
    columns = {}
    for item in fields(BestMarkers):
        values = np.full(m, -1 if item.name == "marker" else np.nan)
        values[genes] = found[item.name]
        whole = item.name in ("marker", "num_var", "ma_samples", "ma_count", "n")
        columns[item.name] = np.nan_to_num(values).astype(int) if whole else values
    return BestMarkers(**columns)


def _without_gaps(dosages: np.ndarray) -> np.ndarray:
    """Missing genotypes replaced by the marker's mean."""
    known = dosages.astype(float)
    return np.where(np.isnan(known), np.nanmean(known, axis=0), known)
