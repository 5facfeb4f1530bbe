"""lmmlite-jax with a kinship, where the task has none."""

from driver import main
from ours import cis, susie

main({"cis": lambda d: cis(d, d.K), "susie": lambda d: susie(d, d.K)})
