"""A whole run, from files to files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmmlite_jax.data import open_genotypes
from lmmlite_jax.data._names import counted
from lmmlite_jax.data._text import check_readable
from lmmlite_jax.data.tables import whole_file
from lmmlite_jax.pipeline.inputs import Inputs, Kinship, read_inputs
from lmmlite_jax.pipeline.lock import one_run
from lmmlite_jax.pipeline.modes import MODES
from lmmlite_jax.pipeline.options import check_ranges, check_together
from lmmlite_jax.pipeline.output import beside, described, folder_of, write_frame
from lmmlite_jax.pipeline.parts import Parts
from lmmlite_jax.pipeline.plan import VARIANTS_OF_A_KINSHIP, Planner, place_of
from lmmlite_jax.pipeline.preparation import prepared
from lmmlite_jax.pipeline.processes import ALONE, Processes, Share
from lmmlite_jax.pipeline.run import Bar, Log, Run, Settings
from lmmlite_jax.pipeline.summary import summary_of

__all__ = ["map_files"]

_WINDOWS = {"trans": 5_000_000}
_WINDOW = 1_000_000
# Two modes write the best variant of each feature, and two credible sets.
_WRITERS = {
    "cis_independent": ("cis", "cis_independent"),
    **dict.fromkeys(("cis_susie", "trans_susie"), ("cis_susie", "trans_susie")),
}
# Modes of features that need no place.
_EVERYWHERE = ("trans", "trans_susie")


def map_files(
    genotypes: str | os.PathLike[str],
    phenotypes: str | os.PathLike[str],
    prefix: str | os.PathLike[str],
    *,
    mode: str,
    kinship: str | os.PathLike[str],
    covariates: str | os.PathLike[str] | None = None,
    interaction: str | os.PathLike[str] | None = None,
    samples_map: str | os.PathLike[str] | None = None,
    annotation: str | os.PathLike[str] | None = None,
    phenotype_groups: str | os.PathLike[str] | None = None,
    normalize: str = "none",
    phenotype_pcs: int = 0,
    window: int | None = None,
    maf_threshold: float = 0.0,
    maf_threshold_interaction: float = 0.05,
    permutations: int = 10_000,
    seed: int = 0,
    trans_permutations: int | None = None,
    pval_threshold: float = 1e-5,
    fdr: float = 0.05,
    qvalue_lambda: float | None = None,
    disable_beta_approx: bool = False,
    best_only: bool = False,
    conditional_pairs: bool = False,
    cis_output: str | os.PathLike[str] | None = None,
    variance: str = "null",
    asymptotic: bool = False,
    max_effects: int = 10,
    coverage: float = 0.95,
    min_abs_corr: float = 0.5,
    susie_loci: str | os.PathLike[str] | None = None,
    clip_kinship: bool = False,
    scale_kinship: bool = False,
    output_text: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    share: Share = ALONE,
    log: Log | None = None,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Map QTL from files to files, as ``lmmlite-jax map`` does.

    Parameters
    ----------
    genotypes
        As for `open_genotypes`.
    phenotypes, annotation
        As for `read_phenotypes`. The modes that begin with cis need places.
    prefix : path
        Prefix of the output files; their folder is made where there is none.
    mode : {"cis", "cis_nominal", "cis_independent", "cis_susie", "trans", "trans_susie"}
        The best variant near each feature with permutations; every pair within the window; several
        signals a feature, each given the others; fine-mapping of the window; all pairs over a
        threshold but for those near; or fine-mapping of ``susie_loci``.
    kinship : path, "auto", "loco" or "none"
        A file for `read_kinship` or `read_loco_kinship`; the kinship computed from the genotypes,
        of all variants or for each chromosome of those on all others; or ordinary regression.
        With "auto" the variants that are tested are part of the kinship, and their p-values are too
        large.
    covariates, interaction, samples_map : path, optional
        As for `read_covariates`, `read_interaction` and `read_samples_map`; an interaction is for
        "cis_nominal".
    phenotype_groups : path, optional
        As for `read_phenotype_groups`: "cis" and "cis_independent" map groups of features, as
        `map_cis` does; the other modes take it to read ``cis_output`` of groups.
    normalize : {"none", "inverse-normal"}
        Whether phenotypes are brought to normal quantiles, as by `inverse_normal`.
    phenotype_pcs : int
        Principal components of the phenotypes, once normalised, that join the covariates, as from
        `phenotype_components`.
    window : int, optional
        Largest distance in base pairs at which a variant is near a feature: 1,000,000, or 5,000,000
        for "trans", where pairs that are near are left out.
    maf_threshold : float
        Pairs with a variant whose minor allele is rarer are left out.
    maf_threshold_interaction : float
        The same in either half of the samples, by the interacting covariate.
    permutations, seed : int
        As for `map_cis`.
    trans_permutations : int, optional
        Permutations in "trans", for the best variant of each feature and p-values among all
        variants, as for `map_trans_best`; none by default.
    pval_threshold : float
        Largest p-value in "trans".
    fdr : float
        False discovery rate of features, for thresholds, for "cis_independent" and ``cis_output``.
    qvalue_lambda : float, optional
        The p-value above which the proportion of true null hypotheses is estimated; smoothed over
        several, as for `q_values`, by default.
    disable_beta_approx : bool
        Whether "cis" takes p-values from the permutations alone, without the beta approximation.
    best_only : bool
        Whether "cis_nominal" with an interaction writes only the best pair of each feature.
    conditional_pairs : bool
        Whether "cis_independent" writes every pair of each signal too, the other signals of the
        feature being covariates, as `map_cis_conditional` does.
    cis_output : path, optional
        What "cis" has written: "cis_susie" then fine-maps significant features alone, and
        "cis_nominal" writes their significant pairs too.
    variance : {"null", "refit"}
        As for `scan`; "refit" is for "cis_nominal" and "trans".
    asymptotic : bool
        GEMMA's p-values with "refit", as for `scan`.
    max_effects, coverage, min_abs_corr
        As for `map_cis_susie`, in "cis_susie" and "trans_susie".
    susie_loci : path, optional
        Loci for "trans_susie", as for `read_loci`; the window is around each of them.
    clip_kinship, scale_kinship : bool
        ``clip_negative`` and ``scale_kinship`` of `scan`.
    output_text : bool
        Whether "trans" writes text in place of Parquet.
    resume : bool
        Whether to go on where the same run was interrupted.
    dry_run : bool
        Whether to do the first pieces of the work alone, somewhere else, and to say what all of it
        needs and how long one process takes.
    share : Share
        The part of the work that this process does, where several do it at the same time: all are
        called with the same arguments, and see the same folders. The first makes the tables.
    log, bar : function, optional
        A function called with each line of the log; and one whose result is a context manager that
        gives a function called with progress.

    Returns
    -------
    dict
        The summary, which is in ``PREFIX.MODE.summary.json`` too; where several processes do the
        work, the first's. Of a dry run its line and the seconds, as "plan" and "seconds".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file or an option cannot be used, nothing can be mapped, parts are of another run,
        another run is writing the same files, or another process has ended too early.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> import lmmlite_jax as lmm
    >>> from lmmlite_jax.pipeline import map_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 30)).astype(float)
    >>> variants = pd.DataFrame({"chrom": "1", "pos": np.arange(30) * 1000 + 1},
    ...                         index=[f"rs{j}" for j in range(30)])
    >>> pd.concat([variants, pd.DataFrame(G.T, variants.index, cohort.individuals)],
    ...           axis=1).to_parquet(folder / "dosages.parquet")
    >>> Y = pd.DataFrame((cohort.pheno + 20 * G[:, [7, 20]]).T, ["g1", "g2"], cohort.individuals)
    >>> Y.to_csv(folder / "expression.csv")
    >>> summary = map_files(folder / "dosages.parquet", folder / "expression.csv", folder / "run",
    ...                     mode="trans", kinship="none", pval_threshold=1e-8)
    >>> pd.read_parquet(folder / "run.trans_qtl_pairs.parquet")[["variant_id", "phenotype_id"]]
      variant_id phenotype_id
    0        rs7           g1
    1       rs20           g2
    """
    started = time.perf_counter()
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    check_together(
        mode,
        normalize=normalize,
        variance=variance,
        asymptotic=asymptotic,
        interaction=interaction,
        susie_loci=susie_loci,
        output_text=output_text,
        disable_beta_approx=disable_beta_approx,
        best_only=best_only,
        conditional_pairs=conditional_pairs,
        trans_permutations=trans_permutations,
        cis_output=cis_output,
        phenotype_groups=phenotype_groups,
    )
    check_ranges(
        phenotype_pcs=phenotype_pcs,
        window=window,
        maf_threshold=maf_threshold,
        maf_threshold_interaction=maf_threshold_interaction,
        permutations=permutations,
        seed=seed,
        trans_permutations=trans_permutations,
        pval_threshold=pval_threshold,
        fdr=fdr,
        qvalue_lambda=qvalue_lambda,
        max_effects=max_effects,
        coverage=coverage,
        min_abs_corr=min_abs_corr,
    )
    lines: list[str] = []

    def say(line: str) -> None:
        line = line if share.count == 1 else f"process {share.index} of {share.count}: {line}"
        lines.append(line)
        if log is not None:
            log(line)

    if dry_run:
        planner, log, share = Planner(log or (lambda line: None), True, started), None, ALONE
    else:
        planner = Planner(say, False, started)
    settings = Settings(
        mode,
        normalize,
        phenotype_pcs,
        _WINDOWS.get(mode, _WINDOW) if window is None else window,
        maf_threshold,
        maf_threshold_interaction,
        permutations,
        seed,
        trans_permutations,
        pval_threshold,
        fdr,
        qvalue_lambda,
        disable_beta_approx,
        best_only,
        conditional_pairs,
        variance,
        asymptotic,
        max_effects,
        coverage,
        min_abs_corr,
        clip_kinship,
        scale_kinship,
    )
    computed = str(kinship) in ("auto", "loco", "none")
    given = (
        *(phenotypes, covariates, interaction, samples_map, annotation),
        *(cis_output, susie_loci, phenotype_groups),
    )
    for path in (*given, None if computed else kinship):
        if path is not None:
            check_readable(Path(path))
    with place_of(Path(prefix), dry_run) as place:
        locks = [beside(place, f"{one}.lock") for one in _WRITERS.get(mode, (mode,))]
        of_others = [beside(place, f"{mode}.{i}.lock") for i in range(1, share.count)]
        folder = beside(place, f"{mode}.parts")
        processes = Processes(share, [locks[-1], *of_others], folder)
        own = locks if share.index == 0 else [of_others[share.index - 1]]
        with folder_of(place), one_run(own), open_genotypes(genotypes) as file:
            inputs = read_inputs(
                file,
                phenotypes,
                covariates=covariates,
                interaction=interaction,
                kinship=None if computed else kinship,
                samples_map=samples_map,
                annotation=annotation,
                cis_output=cis_output,
                loci=susie_loci,
                phenotype_groups=phenotype_groups,
                near=mode not in _EVERYWHERE,
                log=say,
            )
            inputs = prepared(inputs, normalize, phenotype_pcs, say)
            files = [described(path) for path in inputs.files]
            clock = [started, time.perf_counter()]
            fingerprint = {
                **asdict(settings),
                "kinship": str(kinship) if computed else "file",
                "files": {one["path"]: one["sha256"] for one in files},
                "version": version("lmmlite-jax"),
            }
            bar = _no_bar if bar is None else bar
            at_work = Parts(folder, fingerprint, resume=resume and not dry_run, processes=processes)
            with inputs.dosages, at_work as parts:
                if resume:
                    pieces = counted(
                        parts.resumed, "piece of the work is", "pieces of the work are"
                    )
                    say(f"resumed: {pieces} done")
                matrix = inputs.kinship
                if str(kinship) in ("auto", "loco"):
                    matrix = _computed(inputs, str(kinship) == "loco", parts.folder, bar, planner)
                parts.announce()
                run = Run(inputs, settings, matrix, parts, bar, say, planner)
                written = _written(run, place, output_text)
                planner.end()
                clock.append(time.perf_counter())
                for target, rows in written.items():
                    say(f"{target}: {counted(rows, 'row')}")
                command = {
                    "genotypes": str(genotypes),
                    "phenotypes": str(phenotypes),
                    "annotation": None if annotation is None else str(annotation),
                    "prefix": str(prefix),
                    "kinship": str(kinship),
                    **asdict(settings),
                }
                summary = {
                    "command": command,
                    "inputs": files,
                    **summary_of(run, written, clock),
                    "log": lines,
                }
                if share.index == 0:
                    with whole_file(beside(place, f"{mode}.summary.json")) as stream:
                        stream.write((json.dumps(summary, indent=1) + "\n").encode())
                    parts.remove()
        return summary
    return {"plan": planner.line, "seconds": planner.seconds}


def _written(run: Run, prefix: Path, output_text: bool) -> dict[Path, int]:
    """Write all tables of a run and then move them to their places; rows of each file."""
    rows = {}
    for table in MODES[run.settings.mode](run):
        ending = table.ending.replace(".parquet", ".txt.gz") if output_text else table.ending
        target = beside(prefix, ending)
        write_frame(
            table.frame, run.parts.place(target), indexed=table.frame.index.name is not None
        )
        rows[target] = len(table.frame)
    for target in rows:
        os.replace(run.parts.place(target), target)
    return rows


def _computed(
    inputs: Inputs,
    loco: bool,
    folder: Path,
    bar: Bar,
    planner: Planner,
) -> Kinship:
    """Kinship from the genotypes, kept with the parts so that a resumed run has the same."""
    if planner.dry:
        with planner.leaving_out(len(inputs.genotypes.variants)) as advance:
            return inputs.computed_kinship(loco=loco, progress=advance, most=VARIANTS_OF_A_KINSHIP)
    kept, log = folder / "kinship.npz", planner.say
    if not kept.exists():
        with bar("variants read for the kinship", len(inputs.variants)) as advance:
            found = inputs.computed_kinship(loco=loco, progress=advance)
        arrays = found if isinstance(found, dict) else {"": found}
        named: dict[str, Any] = {f"of {name}": matrix for name, matrix in arrays.items()}
        with whole_file(kept) as stream:
            np.savez(stream, **named)
    with np.load(kept) as stored:
        matrices = {name.removeprefix("of "): stored[name] for name in stored.files}
    each = "each chromosome's from all others" if loco else "one from all variants"
    log(f"kinship computed from the genotypes, {each}")
    if not loco:
        several = len(set(inputs.chromosome())) > 1
        other = "loco" if several else "from variants on other chromosomes"
        log(
            "warning: the variants that are tested are part of this kinship, which makes their "
            f"p-values too large: a kinship {other} leaves them out"
        )
    return matrices if loco else matrices[""]


@contextmanager
def _no_bar(what: str, total: int) -> Iterator[Callable[[int], object]]:
    yield lambda count: None
