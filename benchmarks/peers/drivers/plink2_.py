"""plink2: whole processes, from files to files."""

import numpy as np
from driver import command, main


def kinship(d):
    def run():
        n = len(d.K)
        options = "--make-rel cov square bin --allow-extra-chr --out found"
        command(d, f"plink2 --bfile {d.folder}/genotypes {options}")
        return {"K": np.fromfile(d.out / "found.rel.bin").reshape(n, n)}

    return run


main({"kinship": kinship})
