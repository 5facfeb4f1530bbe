"""From markers to mapped loci: kinship, p-values and peaks."""
