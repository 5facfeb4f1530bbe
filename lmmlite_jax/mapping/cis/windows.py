"""Windows of markers near genes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lmmlite_jax.model.inputs import ArrayOrFrame

__all__ = ["cis_windows"]


def cis_windows(
    chromosome: ArrayOrFrame,
    position: ArrayOrFrame,
    gene_chromosome: ArrayOrFrame,
    start: ArrayOrFrame,
    end: ArrayOrFrame | None = None,
    *,
    distance: int = 1_000_000,
) -> Int[np.ndarray, "m 2"]:
    """Markers near each gene, as FastQTL and tensorQTL take them.

    Parameters
    ----------
    chromosome, position : (M,)
        Chromosome of each marker, and its position in base pairs. The markers of a chromosome
        follow one another, in ascending order of position.
    gene_chromosome, start : (m,)
        Chromosome of each gene and the position from which distances are counted, such as the
        transcription start site.
    end : (m,), optional
        End of each gene; ``start`` where left out.
    distance : int
        Base pairs before ``start`` and after ``end`` that belong to the window.

    Returns
    -------
    (m, 2) array
        The first marker in the window and the one after the last; equal where there is none.

    Raises
    ------
    ValueError
        If the markers are not in order.

    Examples
    --------
    >>> from lmmlite_jax import cis_windows
    >>> cis_windows([1, 1, 1, 2], [100, 900, 1500, 100], [1, 2], [200, 5000], distance=700)
    array([[0, 2],
           [4, 4]])
    """
    labels, places = np.asarray(chromosome).astype(str), np.asarray(position)
    begins = np.asarray(start)
    ends = begins if end is None else np.asarray(end)
    of_genes = np.asarray(gene_chromosome).astype(str)
    windows = np.zeros((begins.size, 2), dtype=np.int64)
    for label in np.unique(of_genes):
        markers = np.flatnonzero(labels == label)
        if markers.size == 0:
            continue
        own = places[markers]
        if np.ptp(markers) != markers.size - 1 or np.any(np.diff(own) < 0):
            raise ValueError(
                f"the markers of chromosome {label} are not in order: sort them by chromosome and "
                "position."
            )
        genes = np.flatnonzero(of_genes == label)
        windows[genes, 0] = np.searchsorted(own, begins[genes] - distance, "left")
        windows[genes, 1] = np.searchsorted(own, ends[genes] + distance, "right")
        windows[genes] += markers[0]
    return windows
