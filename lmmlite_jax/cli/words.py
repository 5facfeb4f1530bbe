"""Messages about arrays, as who types commands reads them: about files and options."""

from __future__ import annotations

import re

__all__ = ["for_commands"]

_WHOLE = "give genotypes of several chromosomes, or compute one kinship of all variants"
_WORDS = (
    (
        r"X is rank-deficient: column ('.+') is a linear combination of the columns before it; ",
        r"The covariates are collinear: \1 is a linear combination of those before it; ",
    ),
    (r"pass clip_negative=True to set", "give --clip-kinship to set"),
    (
        r"chromosome is ('.+') for all markers: leaving it out leaves none; give .*loco=False\.",
        rf"All variants are on chromosome \1, and without it none is left: {_WHOLE}.",
    ),
    (
        r"G has no marker that varies outside chromosome ('.+'): leaving .*loco=False\.",
        rf"No variant varies outside chromosome \1: {_WHOLE}.",
    ),
    (
        r"K has no kinship matrix for chromosome (.+): make one for each with .*loco=True\)\.",
        r"There is no kinship without chromosome \1: make all with lmmlite-jax kinship --loco.",
    ),
    (r"\bor give an annotation\b", "or give --annotation"),
    (r"\bthe variance 'refit'|\bvariance 'refit'", "--variance refit"),
    (r"^A feature is for ", "--feature is for "),
    (r"^susie_loci are ", "--susie-loci is "),
    (r"^A paired_covariate is ", "--paired-covariate is "),
    (r"^phenotype_groups are ", "--phenotype-groups is "),
    (r"\bthe same phenotype_groups\b", "the same --phenotype-groups"),
    (r"^groups: the traits of ", "--phenotype-groups: the features of "),
    (r"^trans_permutations is ", "--trans-permutations is "),
    (
        r"^there can be (.+) components of (\d+) traits of (\d+) individuals ",
        r"--phenotype-pcs can be \1 for \2 features of \3 samples ",
    ),
    (r"^asymptotic p-values are ", "--asymptotic is "),
    (r"scale_kinship=True or by dividing K\b", "--scale-kinship"),
    (r"\bmaf_threshold is (too high|for pairs)", r"--maf-threshold is \1"),
    (r"\bgive maf_threshold_interaction\b", "give --maf-threshold-interaction"),
    (r"\bgive susie_loci\b", "give --susie-loci"),
    (r"\bgive num_processes and process_id\b", "give --num-processes and --process-id"),
    (r"^K (has|is) ", r"The kinship matrix \1 "),
    (r"^X has ", "The covariates have "),
    (r"^Y has ", "The phenotypes have "),
    (r"^G has no marker\b", "The genotypes have no variant"),
    (r"^G has ", "The genotypes have "),
)
"""What functions of arrays say, as a regular expression, and what a command says in its place."""


def for_commands(sentence: str) -> str:
    """Write a message in terms of files and options.

    >>> for_commands("Y has infinite values: replace them by numbers or by NaN.")
    'The phenotypes have infinite values: replace them by numbers or by NaN.'
    """
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, words, sentence)
    return sentence
