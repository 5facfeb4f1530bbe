"""Linear mixed models for thousands of traits at once, on CPU or GPU, in JAX.

JAX is imported with the first name that is used: see `lmmlite_jax.__main__` for why.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "AllelicFoldChanges",
    "CisIndependent",
    "CisInteractions",
    "CisPairs",
    "CisResult",
    "Cohort",
    "Colocalization",
    "ComponentsFit",
    "ConditionalPairs",
    "CredibleSets",
    "FineMapping",
    "HeritableComponents",
    "KernelFit",
    "KernelStatus",
    "LMMFit",
    "MLSolution",
    "NullModel",
    "PhenotypeComponents",
    "Projection",
    "QValues",
    "Replication",
    "Rotation",
    "ScanResult",
    "Skeleton",
    "Status",
    "TransInteractions",
    "TransPairs",
    "TransResult",
    "allelic_fold_change",
    "calc_ll",
    "cis_windows",
    "coloc",
    "eigen_rotation",
    "fit_components",
    "fit_kernel",
    "fit_lmm",
    "fit_traits",
    "genomic_inflation",
    "get_ml_soln",
    "heritability",
    "heritable_components",
    "inverse_normal",
    "kinship",
    "load_recla",
    "lod_peaks",
    "log2_counts",
    "log_likelihood",
    "map_cis",
    "map_cis_conditional",
    "map_cis_independent",
    "map_cis_interaction",
    "map_cis_nominal",
    "map_cis_susie",
    "map_trans",
    "map_trans_best",
    "map_trans_interaction",
    "nominal_thresholds",
    "permutation_threshold",
    "phenotype_components",
    "profile_log_likelihood",
    "projected_rotation",
    "q_values",
    "replication",
    "scan",
    "significant_pairs",
    "simulate_cohort",
    "skeleton",
    "tmm_factors",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmmlite_jax.data.cohort import Cohort
    from lmmlite_jax.data.recla import load_recla
    from lmmlite_jax.data.simulate import simulate_cohort
    from lmmlite_jax.mapping.cis.best_result import CisResult, TransResult
    from lmmlite_jax.mapping.cis.conditional import ConditionalPairs, map_cis_conditional
    from lmmlite_jax.mapping.cis.fold_change import (
        AllelicFoldChanges,
        allelic_fold_change,
        log2_counts,
    )
    from lmmlite_jax.mapping.cis.independent import map_cis_independent
    from lmmlite_jax.mapping.cis.interaction import CisInteractions, map_cis_interaction
    from lmmlite_jax.mapping.cis.map_cis import map_cis
    from lmmlite_jax.mapping.cis.nominal import map_cis_nominal
    from lmmlite_jax.mapping.cis.pairs import CisPairs
    from lmmlite_jax.mapping.cis.pairs_again import Replication
    from lmmlite_jax.mapping.cis.replication import replication
    from lmmlite_jax.mapping.cis.signals import CisIndependent
    from lmmlite_jax.mapping.cis.significant import significant_pairs
    from lmmlite_jax.mapping.cis.susie import map_cis_susie
    from lmmlite_jax.mapping.cis.windows import cis_windows
    from lmmlite_jax.mapping.kinship import kinship
    from lmmlite_jax.mapping.multiple_testing import QValues, nominal_thresholds, q_values
    from lmmlite_jax.mapping.peaks import genomic_inflation, lod_peaks
    from lmmlite_jax.mapping.permutation import permutation_threshold
    from lmmlite_jax.mapping.preparation import (
        PhenotypeComponents,
        inverse_normal,
        phenotype_components,
        tmm_factors,
    )
    from lmmlite_jax.mapping.scan import ScanResult, scan
    from lmmlite_jax.mapping.susie.colocalization import Colocalization, coloc
    from lmmlite_jax.mapping.susie.result import CredibleSets, FineMapping
    from lmmlite_jax.mapping.trans import TransPairs, map_trans
    from lmmlite_jax.mapping.trans_best import map_trans_best
    from lmmlite_jax.mapping.trans_interaction import TransInteractions, map_trans_interaction
    from lmmlite_jax.model.components import fit_components
    from lmmlite_jax.model.components_result import ComponentsFit
    from lmmlite_jax.model.fit import fit_lmm
    from lmmlite_jax.model.fit_kernel import fit_kernel
    from lmmlite_jax.model.heritability import heritability
    from lmmlite_jax.model.heritable_components import HeritableComponents, heritable_components
    from lmmlite_jax.model.kernel_result import KernelFit, KernelStatus
    from lmmlite_jax.model.likelihood import MLSolution, calc_ll, get_ml_soln
    from lmmlite_jax.model.log_likelihood import log_likelihood
    from lmmlite_jax.model.null_model import NullModel
    from lmmlite_jax.model.profile_log_likelihood import profile_log_likelihood
    from lmmlite_jax.model.result import LMMFit, Status
    from lmmlite_jax.model.rotation import Projection, Rotation, eigen_rotation, projected_rotation
    from lmmlite_jax.model.skeleton import Skeleton, skeleton
    from lmmlite_jax.model.traits import fit_traits
else:
    # The same names where the package runs: in which module each is, and packages beside them.
    _PACKAGES = {"data", "mapping", "model"}
    _MODULES = {
        "AllelicFoldChanges": "mapping.cis.fold_change",
        "CisIndependent": "mapping.cis.signals",
        "CisInteractions": "mapping.cis.interaction",
        "CisPairs": "mapping.cis.pairs",
        "CisResult": "mapping.cis.best_result",
        "Cohort": "data.cohort",
        "Colocalization": "mapping.susie.colocalization",
        "ComponentsFit": "model.components_result",
        "ConditionalPairs": "mapping.cis.conditional",
        "CredibleSets": "mapping.susie.result",
        "FineMapping": "mapping.susie.result",
        "HeritableComponents": "model.heritable_components",
        "KernelFit": "model.kernel_result",
        "KernelStatus": "model.kernel_result",
        "LMMFit": "model.result",
        "MLSolution": "model.likelihood",
        "NullModel": "model.null_model",
        "PhenotypeComponents": "mapping.preparation",
        "Projection": "model.rotation",
        "QValues": "mapping.multiple_testing",
        "Replication": "mapping.cis.pairs_again",
        "Rotation": "model.rotation",
        "ScanResult": "mapping.scan",
        "Skeleton": "model.skeleton",
        "Status": "model.result",
        "TransInteractions": "mapping.trans_interaction",
        "TransPairs": "mapping.trans",
        "TransResult": "mapping.cis.best_result",
        "allelic_fold_change": "mapping.cis.fold_change",
        "calc_ll": "model.likelihood",
        "cis_windows": "mapping.cis.windows",
        "coloc": "mapping.susie.colocalization",
        "eigen_rotation": "model.rotation",
        "fit_components": "model.components",
        "fit_kernel": "model.fit_kernel",
        "fit_lmm": "model.fit",
        "fit_traits": "model.traits",
        "genomic_inflation": "mapping.peaks",
        "get_ml_soln": "model.likelihood",
        "heritability": "model.heritability",
        "heritable_components": "model.heritable_components",
        "inverse_normal": "mapping.preparation",
        "kinship": "mapping.kinship",
        "load_recla": "data.recla",
        "lod_peaks": "mapping.peaks",
        "log2_counts": "mapping.cis.fold_change",
        "log_likelihood": "model.log_likelihood",
        "map_cis": "mapping.cis.map_cis",
        "map_cis_conditional": "mapping.cis.conditional",
        "map_cis_independent": "mapping.cis.independent",
        "map_cis_interaction": "mapping.cis.interaction",
        "map_cis_nominal": "mapping.cis.nominal",
        "map_cis_susie": "mapping.cis.susie",
        "map_trans": "mapping.trans",
        "map_trans_best": "mapping.trans_best",
        "map_trans_interaction": "mapping.trans_interaction",
        "nominal_thresholds": "mapping.multiple_testing",
        "permutation_threshold": "mapping.permutation",
        "phenotype_components": "mapping.preparation",
        "profile_log_likelihood": "model.profile_log_likelihood",
        "projected_rotation": "model.rotation",
        "q_values": "mapping.multiple_testing",
        "replication": "mapping.cis.replication",
        "scan": "mapping.scan",
        "significant_pairs": "mapping.cis.significant",
        "simulate_cohort": "data.simulate",
        "skeleton": "model.skeleton",
        "tmm_factors": "mapping.preparation",
    }

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        elif name in _PACKAGES:
            value = import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
