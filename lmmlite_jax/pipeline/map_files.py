"""A whole run, from files to files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmmlite_jax.data import open_genotypes
from lmmlite_jax.data._names import counted
from lmmlite_jax.data.tables import whole_file
from lmmlite_jax.pipeline.inputs import Inputs, Kinship, read_inputs
from lmmlite_jax.pipeline.lock import one_run
from lmmlite_jax.pipeline.modes import MODES, mode_of
from lmmlite_jax.pipeline.output import beside, described, folder_of, write_frame
from lmmlite_jax.pipeline.parts import Parts
from lmmlite_jax.pipeline.plan import VARIANTS_OF_A_KINSHIP, Planner, elsewhere
from lmmlite_jax.pipeline.preparation import prepared
from lmmlite_jax.pipeline.processes import ALONE, Processes, Share
from lmmlite_jax.pipeline.run import Bar, Log, Run
from lmmlite_jax.pipeline.settings import Files, Settings
from lmmlite_jax.pipeline.summary import summary_of

__all__ = ["map_files"]

# Two modes write the best variant of each feature, and two credible sets.
_WRITERS = {
    "cis_independent": ("cis", "cis_independent"),
    **dict.fromkeys(("cis_susie", "trans_susie"), ("cis_susie", "trans_susie")),
}
# Modes of features that need no place.
_EVERYWHERE = ("trans", "trans_susie")


def map_files(
    files: Files,
    prefix: str | os.PathLike[str],
    settings: Settings,
    *,
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
    files : Files
        What is read.
    prefix : path
        Prefix of the output files; their folder is made where there is none.
    settings : Settings
        What is mapped, and how.
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
    >>> from lmmlite_jax.pipeline import Files, Settings, map_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cohort = lmm.simulate_cohort(n=120, m=2, seed=1)
    >>> G = np.random.default_rng(1).binomial(2, 0.3, (120, 30)).astype(float)
    >>> variants = pd.DataFrame({"chrom": "1", "pos": np.arange(30) * 1000 + 1},
    ...                         index=[f"rs{j}" for j in range(30)])
    >>> pd.concat([variants, pd.DataFrame(G.T, variants.index, cohort.individuals)],
    ...           axis=1).to_parquet(folder / "dosages.parquet")
    >>> Y = pd.DataFrame((cohort.pheno + 20 * G[:, [7, 20]]).T, ["g1", "g2"], cohort.individuals)
    >>> Y.to_csv(folder / "expression.csv")
    >>> files = Files(genotypes=folder / "dosages.parquet", phenotypes=folder / "expression.csv",
    ...               kinship="none")
    >>> summary = map_files(files, folder / "run", Settings(mode="trans", pval_threshold=1e-8))
    >>> pd.read_parquet(folder / "run.trans_qtl_pairs.parquet")[["variant_id", "phenotype_id"]]
      variant_id phenotype_id
    0        rs7           g1
    1       rs20           g2
    """
    started = time.perf_counter()
    if settings.mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {settings.mode!r}.")
    if output_text and settings.mode != "trans":
        raise ValueError(f"Text in place of Parquet is for the mode trans, not {settings.mode}.")
    settings.check(files)
    files.check()
    bar = _no_bar if bar is None else bar
    if dry_run:
        planner = Planner(log or _say_nothing, True, started)
        order = _Order(files, settings, resume=False, share=ALONE)
        with elsewhere(Path(prefix)) as place, suppress(Planner.End):
            with _at_work(order, place, _Teller(_say_nothing, bar, planner)) as run:
                _write(run, place, output_text)
            planner.end()
        return {"plan": planner.line, "seconds": planner.seconds}
    lines: list[str] = []

    def say(line: str) -> None:
        line = line if share.count == 1 else f"process {share.index} of {share.count}: {line}"
        lines.append(line)
        if log is not None:
            log(line)

    teller, place = _Teller(say, bar, Planner(say, False, started)), Path(prefix)
    with _at_work(_Order(files, settings, resume, share), place, teller) as run:
        clock = [started, time.perf_counter()]
        written = _write(run, place, output_text)
        clock.append(time.perf_counter())
        for target, rows in written.items():
            say(f"{target}: {counted(rows, 'row')}")
        command = {**files.as_dict(), "prefix": str(prefix), **settings.as_dict()}
        summary = {"command": command, **summary_of(run, written, clock), "log": lines}
        if share.index == 0:
            target = beside(place, f"{settings.mode}.summary.json")
            with whole_file(run.parts.place(target)) as stream:
                stream.write((json.dumps(summary, indent=1) + "\n").encode())
            os.replace(run.parts.place(target), target)
            run.parts.remove()
    return summary


class _Order(NamedTuple):
    """What is asked of a process."""

    files: Files
    settings: Settings
    resume: bool
    share: Share


class _Teller(NamedTuple):
    """Who is told what."""

    say: Log
    bar: Bar
    planner: Planner


@contextmanager
def _at_work(order: _Order, prefix: Path, teller: _Teller) -> Iterator[Run]:
    """A run whose files are open, and its parts locked against others."""
    (files, settings, resume, share), (say, bar, planner) = order, teller
    mode = settings.mode
    locks = [beside(prefix, f"{one}.lock") for one in _WRITERS.get(mode, (mode,))]
    of_others = [beside(prefix, f"{mode}.{i}.lock") for i in range(1, share.count)]
    folder = beside(prefix, f"{mode}.parts")
    processes = Processes(share, [locks[-1], *of_others], folder)
    own = locks if share.index == 0 else [of_others[share.index - 1]]
    with folder_of(prefix), one_run(own), open_genotypes(files.genotypes) as genotypes:
        inputs = read_inputs(genotypes, files, near=mode not in _EVERYWHERE, log=say)
        inputs = prepared(inputs, settings.normalize, settings.phenotype_pcs, say)
        sources = [described(path) for path in inputs.files]
        fingerprint = {
            **settings.as_dict(),
            "kinship": str(files.kinship) if files.kinship_file is None else "file",
            "files": {one["path"]: one["sha256"] for one in sources},
            "roles": files.roles,
            "version": version("lmmlite-jax"),
        }
        at_work = Parts(folder, fingerprint, resume=resume, processes=processes)
        with inputs.dosages, at_work as parts:
            if resume:
                pieces = counted(parts.resumed, "piece of the work is", "pieces of the work are")
                say(f"resumed: {pieces} done")
            matrix = inputs.kinship
            if str(files.kinship) in ("auto", "loco"):
                matrix = _computed(inputs, str(files.kinship) == "loco", parts.folder, bar, planner)
            parts.announce()
            yield Run(inputs, sources, settings, matrix, parts, bar, say, planner)


def _write(run: Run, prefix: Path, output_text: bool) -> dict[Path, int]:
    """Write all tables of a run and then move them to their places; rows of each file."""
    rows = {}
    for table in mode_of(run.settings.mode)(run):
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


def _say_nothing(line: str) -> None:
    """Take a line of the log of which nobody wants to know."""
