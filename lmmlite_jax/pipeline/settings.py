"""What a run is asked for: its files, and the options on which its results depend."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from lmmlite_jax.data._text import check_readable
from lmmlite_jax.pipeline.options import RANGES, check_ranges

__all__ = ["Files", "Settings"]

Where: TypeAlias = str | os.PathLike[str]

_NORMALIZE = ("none", "inverse-normal")
_COMPUTED = ("auto", "loco", "none")
_WINDOW = 1_000_000
_WINDOWS = {"trans": 5_000_000}


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files that a run reads.

    Attributes
    ----------
    genotypes : path
        As for `open_genotypes`.
    phenotypes, annotation : path
        As for `read_phenotypes`. The modes that begin with cis need places.
    kinship : path, "auto", "loco" or "none"
        A file for `read_kinship` or `read_loco_kinship`; the kinship computed from the genotypes,
        of all variants or for each chromosome of those on all others; or ordinary regression.
        With "auto" the variants that are tested are part of the kinship, and their p-values are too
        large.
    covariates, interaction, samples_map : path, optional
        As for `read_covariates`, `read_interaction` and `read_samples_map`; an interaction is for
        "cis_nominal" and "trans".
    paired_covariate : path, optional
        One more covariate for each of some features, as a file of phenotypes with these features:
        for the modes that begin with cis. A phenotype is taken as missing where its covariate is.
    phenotype_groups : path, optional
        As for `read_phenotype_groups`: "cis" and "cis_independent" map groups of features, as
        `map_cis` does; the other modes take it to read ``cis_output`` of groups.
    cis_output : path, optional
        What "cis" has written: "cis_susie" then fine-maps significant features alone, and
        "cis_nominal" writes their significant pairs too.
    susie_loci : path, optional
        Loci for "trans_susie", as for `read_loci`; the window is around each of them.
    """

    genotypes: Where
    phenotypes: Where
    kinship: Where
    annotation: Where | None = None
    covariates: Where | None = None
    interaction: Where | None = None
    samples_map: Where | None = None
    paired_covariate: Where | None = None
    phenotype_groups: Where | None = None
    cis_output: Where | None = None
    susie_loci: Where | None = None

    @property
    def kinship_file(self) -> Path | None:
        """The file of the kinship, if it is one."""
        return None if str(self.kinship) in _COMPUTED else Path(self.kinship)

    @property
    def tables(self) -> tuple[Path, ...]:
        """Those given, each once, but for the genotypes."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        given |= {"genotypes": None, "kinship": self.kinship_file}
        return tuple(dict.fromkeys(Path(path) for path in given.values() if path is not None))

    def check(self) -> None:
        """Raise if there is no such file, or it cannot be read; genotypes say so themselves."""
        for path in self.tables:
            check_readable(path)

    @property
    def roles(self) -> dict[str, str]:
        """Which file is what: that of one run's covariates may be another's interaction."""
        named = {item.name: getattr(self, item.name) for item in fields(self)}
        named["kinship"] = self.kinship_file
        return {name: str(Path(path).resolve()) for name, path in named.items() if path is not None}

    def as_dict(self) -> dict[str, str | None]:
        """As they were given."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: None if path is None else str(path) for name, path in given.items()}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options on which the results of a run depend.

    Attributes
    ----------
    mode : {"cis", "cis_nominal", "cis_independent", "cis_susie", "trans", "trans_susie"}
        The best variant near each feature with permutations; every pair within the window; several
        signals a feature, each given the others; fine-mapping of the window; all pairs over a
        threshold but for those near; or fine-mapping of ``susie_loci``.
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
    variance : {"null", "refit"}
        As for `scan`; "refit" is for "cis_nominal" and "trans".
    asymptotic : bool
        GEMMA's p-values with "refit", as for `scan`.
    max_effects, coverage, min_abs_corr
        As for `map_cis_susie`, in "cis_susie" and "trans_susie".
    clip_kinship, scale_kinship : bool
        ``clip_negative`` and ``scale_kinship`` of `NullModel`.
    """

    mode: str
    normalize: str = "none"
    phenotype_pcs: int = 0
    window: int | None = None
    maf_threshold: float = 0.0
    maf_threshold_interaction: float = 0.05
    permutations: int = 10_000
    seed: int = 0
    trans_permutations: int | None = None
    pval_threshold: float = 1e-5
    fdr: float = 0.05
    qvalue_lambda: float | None = None
    disable_beta_approx: bool = False
    best_only: bool = False
    conditional_pairs: bool = False
    variance: str = "null"
    asymptotic: bool = False
    max_effects: int = 10
    coverage: float = 0.95
    min_abs_corr: float = 0.5
    clip_kinship: bool = False
    scale_kinship: bool = False

    @property
    def distance(self) -> int:
        """The window, or the mode's."""
        return _WINDOWS.get(self.mode, _WINDOW) if self.window is None else self.window

    def as_dict(self) -> dict[str, Any]:
        """All of them, the window as it is used."""
        return {**asdict(self), "window": self.distance}

    def check(self, files: Files) -> None:
        """Raise if an option has no such value, or is not for the mode, or not beside these files.

        Examples
        --------
        >>> from lmmlite_jax.pipeline import Files, Settings
        >>> files = Files(genotypes="g.bed", phenotypes="y.bed.gz", kinship="loco")
        >>> Settings(mode="trans", best_only=True).check(files)
        Traceback (most recent call last):
        ValueError: best_only is for an interaction in cis_nominal: cis has the best of each.
        """
        if self.normalize not in _NORMALIZE:
            raise ValueError(
                f"normalize must be one of {', '.join(_NORMALIZE)}, got {self.normalize!r}."
            )
        self._check_for_mode()
        self._check_beside(files)
        check_ranges(**{name: x for name, x in asdict(self).items() if name in RANGES})

    def _check_for_mode(self) -> None:
        mode = self.mode
        if self.variance == "refit" and mode not in ("cis_nominal", "trans"):
            raise ValueError(
                f"variance 'refit' is for the modes cis_nominal and trans, not {mode}."
            )
        if self.asymptotic and self.variance != "refit":
            raise ValueError("asymptotic p-values are for the variance 'refit' alone.")
        if self.disable_beta_approx and mode != "cis":
            raise ValueError(f"disable_beta_approx is for the mode cis, not {mode}.")
        if self.conditional_pairs and mode != "cis_independent":
            raise ValueError(f"conditional_pairs is for the mode cis_independent, not {mode}.")
        if self.trans_permutations is not None and (mode != "trans" or self.variance == "refit"):
            raise ValueError("trans_permutations is for the mode trans, without variance 'refit'.")

    def _check_beside(self, files: Files) -> None:
        mode, interaction = self.mode, files.interaction is not None
        if interaction and mode not in ("cis_nominal", "trans"):
            raise ValueError(f"An interaction is for the modes cis_nominal and trans, not {mode}.")
        if interaction and self.variance == "refit":
            raise ValueError("variance 'refit' is for pairs without an interaction.")
        if interaction and self.maf_threshold > 0:
            raise ValueError(
                "maf_threshold is for pairs without an interaction: give maf_threshold_interaction."
            )
        if interaction and self.trans_permutations is not None:
            raise ValueError("trans_permutations is for pairs without an interaction.")
        if self.best_only and (not interaction or mode != "cis_nominal"):
            raise ValueError(
                "best_only is for an interaction in cis_nominal: cis has the best of each."
            )
        if mode == "trans_susie" and files.susie_loci is None:
            raise ValueError("The mode trans_susie needs the loci to fine-map: give susie_loci.")
        if mode != "trans_susie" and files.susie_loci is not None:
            raise ValueError(f"susie_loci are for the mode trans_susie, not {mode}.")
        if files.paired_covariate is not None and not mode.startswith("cis"):
            raise ValueError(
                f"A paired_covariate is for the modes that begin with cis, not {mode}: every "
                "variant would be read again for each feature."
            )
        if files.cis_output is not None:
            if mode not in ("cis_susie", "cis_nominal") or interaction:
                raise ValueError(
                    "cis_output is for the modes cis_susie and cis_nominal, without an interaction."
                )
        elif files.phenotype_groups is not None and mode not in ("cis", "cis_independent"):
            raise ValueError(
                "phenotype_groups are for the modes cis and cis_independent, and for the "
                "cis_output of cis_susie and cis_nominal."
            )
