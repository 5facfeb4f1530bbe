"""Linear mixed models for thousands of traits at once, on CPU or GPU, in JAX."""

from lmmlite_jax.data.cohort import Cohort
from lmmlite_jax.data.recla import load_recla
from lmmlite_jax.data.simulate import simulate_cohort
from lmmlite_jax.mapping.cis.independent import CisIndependent, map_cis_independent
from lmmlite_jax.mapping.cis.interaction import CisInteractions, map_cis_interaction
from lmmlite_jax.mapping.cis.map_cis import CisResult, map_cis
from lmmlite_jax.mapping.cis.nominal import CisPairs, map_cis_nominal
from lmmlite_jax.mapping.cis.windows import cis_windows
from lmmlite_jax.mapping.kinship import kinship
from lmmlite_jax.mapping.multiple_testing import QValues, nominal_thresholds, q_values
from lmmlite_jax.mapping.peaks import genomic_inflation, lod_peaks
from lmmlite_jax.mapping.permutation import permutation_threshold
from lmmlite_jax.mapping.scan import ScanResult, scan
from lmmlite_jax.mapping.trans import TransPairs, map_trans
from lmmlite_jax.model.components import ComponentsFit, fit_components
from lmmlite_jax.model.fit import fit_lmm
from lmmlite_jax.model.heritability import heritability
from lmmlite_jax.model.likelihood import MLSolution, calc_ll, get_ml_soln
from lmmlite_jax.model.log_likelihood import log_likelihood
from lmmlite_jax.model.null_model import NullModel
from lmmlite_jax.model.result import LMMFit, Status
from lmmlite_jax.model.rotation import Projection, Rotation, eigen_rotation, projected_rotation
from lmmlite_jax.model.skeleton import Skeleton, skeleton
from lmmlite_jax.model.traits import fit_traits

__all__ = [
    "CisIndependent",
    "CisInteractions",
    "CisPairs",
    "CisResult",
    "Cohort",
    "ComponentsFit",
    "LMMFit",
    "MLSolution",
    "NullModel",
    "Projection",
    "QValues",
    "Rotation",
    "ScanResult",
    "Skeleton",
    "Status",
    "TransPairs",
    "calc_ll",
    "cis_windows",
    "eigen_rotation",
    "fit_components",
    "fit_lmm",
    "fit_traits",
    "genomic_inflation",
    "get_ml_soln",
    "heritability",
    "kinship",
    "load_recla",
    "lod_peaks",
    "log_likelihood",
    "map_cis",
    "map_cis_independent",
    "map_cis_interaction",
    "map_cis_nominal",
    "map_trans",
    "nominal_thresholds",
    "permutation_threshold",
    "projected_rotation",
    "q_values",
    "scan",
    "simulate_cohort",
    "skeleton",
]

__version__ = "0.1.0"
