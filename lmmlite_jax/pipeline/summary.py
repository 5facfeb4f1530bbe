"""What there is to say of a finished run."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
import scipy

from lmmlite_jax._optional import require
from lmmlite_jax.pipeline.inputs import Inputs
from lmmlite_jax.pipeline.output import described
from lmmlite_jax.pipeline.run import Run

__all__ = ["summary_of"]


def summary_of(run: Run, written: Iterable[Path], clock: Sequence[float]) -> dict[str, Any]:
    """What was mapped, what was found, and where; ``clock`` is at start, once read and mapped."""
    inputs, (started, read, finished) = run.inputs, clock
    return {
        "inputs": run.sources,
        "samples": _samples(inputs),
        "variants": len(inputs.variants),
        "features": len(inputs.features),
        "covariates": list(inputs.covariates.columns),
        "results": {**run.facts, "files": [described(path) for path in written]},
        "versions": _versions(),
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": str(jax.devices()[0].device_kind),
        },
        "seconds": {
            "reading": round(read - started, 3),
            "mapping": round(finished - read, 3),
            "total": round(time.perf_counter() - started, 3),
        },
        "resumed": run.parts.resumed > 0,
        "processes": run.share.count,
    }


def _samples(inputs: Inputs) -> dict[str, Any]:
    return {
        "kept": inputs.report.kept,
        "dropped": [asdict(one) for one in inputs.report.dropped],
    }


def _versions() -> dict[str, str]:
    """Of what results depend on, as the packages say: reading all metadata takes 0.1 s."""
    packages = (jax, jaxlib, np, scipy, require("pandas", "io"), require("pyarrow", "io"))
    others = {package.__name__: package.__version__ for package in packages}
    return {"lmmlite-jax": version("lmmlite-jax"), **others}
