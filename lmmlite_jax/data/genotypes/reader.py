"""A genotype file as an array whose markers are read when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from lmmlite_jax.data.genotypes.base import GenotypeFile

__all__ = ["FileDosages"]

_NUMBERS_A_CHUNK = 2**22
_CHUNKS_KEPT = 16


class FileDosages:
    """Dosages (n, M) of some samples and variants of a file, in the order wanted.

    In float32, NaN where missing; whole copies, of a file that has no others, in int8 with -127
    there. Variants are read some thousand at a time, and those read last are kept: 256 MB at most.
    When one chunk is asked for, a thread begins to read the next.

    Parameters
    ----------
    genotypes : GenotypeFile
        The file.
    samples : (n,) int array
        Positions of the samples in the file.
    variants : (M,) int array
        Positions of the variants in the file.
    """

    def __init__(self, genotypes: GenotypeFile, samples: np.ndarray, variants: np.ndarray) -> None:
        self.genotypes = genotypes
        self.samples = samples
        self.variants = variants
        self.shape = (samples.size, variants.size)
        self._width = max(256, _NUMBERS_A_CHUNK // max(samples.size, 1))
        self._chunks: OrderedDict[int, Future[np.ndarray]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "genotypes")
        self._lock = Lock()  # a thread for each device may read

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read ``[:, markers]``, markers being a slice or an array of numbers."""
        rows, markers = key
        if rows != slice(None):
            raise IndexError("all samples are read together: give [:, markers].")
        chosen = np.arange(self.shape[1])[markers]
        numbers = chosen // self._width
        found = np.empty((self.shape[0], chosen.size), dtype=np.int8)
        for number in np.unique(numbers):
            here, chunk = numbers == number, self._chunk(int(number))
            found = found.astype(chunk.dtype, copy=False)  # all chunks of a file are of one type
            found[:, here] = chunk[:, chosen[here] - number * self._width]
        return found

    def in_turn(self, markers: np.ndarray, width: int) -> Iterator[np.ndarray]:
        """Read ascending markers ``width`` at a time, the next while the last are worked on."""
        chosen = self.variants[markers]
        for block in self.genotypes.blocks(chosen, width, self.samples, packed=True):
            yield block.dosages

    def close(self) -> None:
        """Stop reading ahead."""
        self._thread.shutdown(cancel_futures=True)
        self._chunks.clear()

    def __enter__(self) -> FileDosages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chunk(self, number: int) -> np.ndarray:
        with self._lock:
            for wanted in (number, number + 1):
                if wanted * self._width >= self.shape[1]:
                    continue
                if wanted not in self._chunks:
                    part = self.variants[wanted * self._width : (wanted + 1) * self._width]
                    self._chunks[wanted] = self._thread.submit(
                        self.genotypes.read, part, self.samples, packed=True
                    )
                self._chunks.move_to_end(wanted)
            while len(self._chunks) > _CHUNKS_KEPT:
                self._chunks.popitem(last=False)
            chunk = self._chunks[number]
        return chunk.result()
