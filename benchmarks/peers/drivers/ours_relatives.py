"""lmmlite-jax with a kinship, where the task has none."""

from driver import main
from ours import cis, cis_nominal, susie
from ours_map import trans

main(
    {
        "trans": lambda d: trans(d, kinship=True),
        "cis": lambda d: cis(d, d.K),
        "cis-nominal": lambda d: cis_nominal(d, d.K),
        "susie": lambda d: susie(d, d.K),
    }
)
