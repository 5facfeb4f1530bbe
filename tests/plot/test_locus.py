import numpy as np
from pictures import assert_refused, dots

from lmmlite_jax.plot import plot_locus

LOCUS = {
    "log10p": [0.2, np.nan, 6.1],
    "position": [1_010_000, 1_020_000, 1_060_000],
    "start": np.int64(1_050_000),
    "end": 1_090_000.0,
}


def test_a_gene_lies_below_its_variants_in_megabases():
    axes = plot_locus(**LOCUS, name="gene")
    np.testing.assert_allclose(dots(axes), [[1.01, 0.2], [1.06, 6.1]])
    (gene,) = axes.lines
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["gene"]
    np.testing.assert_allclose(gene.get_xdata(), [1.05, 1.09])
    assert np.all(np.asarray(gene.get_ydata()) < 0)
    assert axes.get_title(loc="left") == "gene"


def test_a_gene_that_ends_before_it_starts_is_refused():
    assert_refused(
        plot_locus, LOCUS | {"end": 1_000}, "the gene starts at 1050000 and ends at 1000"
    )
