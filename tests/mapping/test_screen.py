"""A screen in single precision loses nothing: what it keeps is what double precision keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmmlite_jax as lmm
from lmmlite_jax.mapping import blocks, keep, leaving, scan
from lmmlite_jax.mapping.fused import MARKERS, STEP, fused_maxima
from lmmlite_jax.model import threads
from lmmlite_jax.model.at_once import at_once
from lmmlite_jax.model.screening import margin_of_product
from lmmlite_jax.model.trait_block import TraitBlock

N, M, T = 96, 160, 24


def cohort(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kinship, traits at h² from 0 to 1, covariates, and markers that are hard to tell apart."""
    rng = np.random.default_rng(seed)
    G = rng.binomial(2, rng.uniform(0.05, 0.5, M), (N, M)).astype(float)
    if kind == "centred":
        Z = G - G.mean(axis=0)
        K = Z @ Z.T / M
    elif kind == "strains":
        K = np.kron(np.eye(N // 4), np.ones((4, 4)))
    else:
        K = lmm.simulate_cohort(N, 1, seed=seed).kinship
    values, vectors = np.linalg.eigh(K)
    root = vectors * np.sqrt(np.maximum(values, 0))
    h = np.linspace(0, 1, T)
    g, e = rng.standard_normal((2, N, T))
    effects = rng.uniform(-1, 1, T)
    Y = np.sqrt(h) * (root @ g) + np.sqrt(1 - h) * e + np.outer(G[:, 3], effects)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    G[rng.random((N, M)) < 0.01] = np.nan
    G[:, 3] = np.nan_to_num(G[:, 3], nan=1.0)
    G[:, 5] = G[:, 50] = G[:, 3]  # the same marker
    G[:, 51] = 2 - G[:, 3]  # counted from the other allele
    G[:, 20], G[:, 21] = 1.0, X[:, 1]  # nothing, and a covariate
    G[:, 22] = X[:, 1] + 1e-10 * G[:, 3]  # at the limit of what counts as collinear
    G[:, 60] = G[:, 3] + 1e-7 * rng.standard_normal(N)
    Y[rng.random(N) < 0.1, : T // 3] = np.nan
    return K, Y, X, G


@pytest.fixture(scope="module")
def nulls() -> dict[str, tuple[lmm.NullModel, np.ndarray]]:
    found = {}
    for seed, kind in enumerate(["pedigree", "centred", "strains"]):
        K, Y, X, G = cohort(kind, seed)
        found[kind] = lmm.NullModel(K, Y, X), G
    return found


@pytest.fixture(autouse=True)
def every_scan_is_screened(monkeypatch):
    monkeypatch.setattr(keep, "TRAITS_TO_SCREEN", 0)
    monkeypatch.setattr(keep, "PAIRS_ALL_REFITTED", 0)


def same(one: lmm.ScanResult, other: lmm.ScanResult) -> None:
    for name in ("marker", "trait", "beta", "se", "lod", "log10p"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("kind", ["pedigree", "centred", "strains"])
@pytest.mark.parametrize("kept", ["best", 1.5])
@pytest.mark.parametrize("device", ["cpu", "accelerator"])
def test_a_screen_changes_no_digit(kind, kept, device, nulls, monkeypatch):
    null, G = nulls[kind]
    with monkeypatch.context() as patched:
        if device == "accelerator":
            patched.setattr(leaving, "on_cpu", lambda: False)
            patched.setattr(leaving, "at_once", lambda: ACCELERATOR)
        screened = lmm.scan(null, G, keep=kept)
    traits_of = TraitBlock.for_screen.func

    def with_margins(single, double):
        def wider(block):
            traits = traits_of(block)
            margins = traits.margin + single, traits.margin_double + double
            return traits._replace(margin=margins[0], margin_double=margins[1])

        return property(wider)

    for doubt in ((2, 2), (2, 0)):  # whatever is computed, and of markers rotated in double
        monkeypatch.setattr(TraitBlock, "for_screen", with_margins(*doubt))
        same(screened, lmm.scan(null, G, keep=kept))


@pytest.mark.parametrize("kept", ["best", 1.5])
def test_blocks_of_markers_that_are_screened_together_change_nothing(kept, nulls, monkeypatch):
    null, G = nulls["pedigree"]
    whole = lmm.scan(null, G, keep=kept)
    monkeypatch.setattr(scan, "block_width", lambda *_: 16)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    same(whole, lmm.scan(null, G, keep=kept))


def test_a_trait_beyond_help_or_one_of_many_has_no_markers_rotated_in_double(nulls):
    null, _ = nulls["pedigree"]
    (label,) = null.kinship_labels
    block = next(block for blocks in null.batches(label) for block in blocks)
    traits, first = block.for_screen, np.arange(block.traits.size) == 0
    assert not traits.wants_double
    doubtful = traits._replace(margin=traits.margin + 0.1 * first)
    assert doubtful.wants_double
    one_of_many = traits._replace(
        margin=np.resize(traits.margin, 1000) + 0.1 * (np.arange(1000) == 0),
        margin_double=np.resize(traits.margin_double, 1000),
    )
    assert not one_of_many.wants_double
    assert not doubtful._replace(margin_double=traits.margin_double + 0.4 * first).wants_double


@pytest.mark.parametrize("kind", ["pedigree", "centred", "strains"])
def test_what_is_kept_is_what_all_pairs_have(kind, nulls):
    null, G = nulls[kind]
    every, best = lmm.scan(null, G), lmm.scan(null, G, keep="best")
    top = np.nanmax(every.log10p, axis=0)
    np.testing.assert_allclose(best.log10p, top, rtol=1e-9)
    tied = np.nan_to_num(every.log10p, nan=-1) >= top * (1 - 1e-9)
    assert all(tied[marker, trait] for trait, marker in enumerate(best.marker))
    assert not set(best.marker) & {5, 50}, "of the same markers the first is kept"
    hits = lmm.scan(null, G, keep=1.5)
    marker, trait = np.nonzero(every.log10p >= 1.5)
    np.testing.assert_array_equal(hits.marker, marker)
    np.testing.assert_array_equal(hits.trait, trait)
    np.testing.assert_allclose(hits.log10p, every.log10p[marker, trait], rtol=1e-9)


def test_a_threshold_holds_to_its_last_digit(nulls):
    null, G = nulls["pedigree"]
    some = lmm.scan(null, G, keep=1.5)
    for least in np.sort(some.log10p)[[0, some.log10p.size // 2, -1]]:
        at = lmm.scan(null, G, keep=float(least))
        above = lmm.scan(null, G, keep=float(np.nextafter(least, np.inf)))
        assert np.sum(some.log10p >= least) == at.log10p.size
        assert np.sum(some.log10p > least) == above.log10p.size


@pytest.mark.parametrize("kind", ["pedigree", "centred", "strains"])
def test_single_precision_is_wrong_by_less_than_its_margin(kind, nulls):
    null, G = nulls[kind]
    G = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    every = lmm.scan(null, G)
    dof = np.asarray(every.dof)
    t_squared = (np.asarray(every.beta) / np.asarray(every.se)) ** 2
    exact = np.sqrt(t_squared / (t_squared + dof - 1))  # F = share / (1 - share) · (dof - 1)
    (label,) = null.kinship_labels
    with jax.enable_x64(True):
        for block in (block for blocks in null.batches(label) for block in blocks):
            used = block.traits >= 0
            traits = block.for_screen
            for double, margin in ((False, traits.margin), (True, traits.margin_double)):
                markers = block.individuals.screen_markers(jnp.asarray(G.T[None]), double)
                b = np.asarray(markers.values, float) @ np.asarray(traits.weighted, float).T
                d = np.asarray(markers.squares, float) @ np.asarray(traits.weights, float)
                known = (
                    ~np.isnan(exact[:, block.traits[used]]) & ~np.asarray(markers.unsure)[:, None]
                )
                error = np.abs(np.abs(b) / np.sqrt(d))[:, used] - exact[:, block.traits[used]]
                assert np.all(np.abs(np.where(known, error, 0)) <= np.asarray(margin)[used])
                assert np.all(np.asarray(margin)[used] < 0.05)


ACCELERATOR = at_once()._replace(screened=32, groups=50, product="coarse")


class Counted:
    """NumPy that counts what it takes from a device."""

    def __init__(self) -> None:
        self.fetches = 0

    def __getattr__(self, name):
        return getattr(np, name)

    def asarray(self, values, *rest):
        self.fetches += isinstance(values, jax.Array)
        return np.asarray(values, *rest)


def test_fetches_from_an_accelerator_do_not_grow_with_the_blocks(nulls, monkeypatch):
    null, G = nulls["centred"]
    monkeypatch.setattr(leaving, "on_cpu", lambda: False)
    monkeypatch.setattr(leaving, "at_once", lambda: ACCELERATOR)
    counts = []
    for markers in (16, 32, 160):
        monkeypatch.setattr(leaving, "np", Counted())
        monkeypatch.setattr(
            blocks, "at_once", lambda markers=markers: at_once()._replace(markers=markers)
        )
        monkeypatch.setattr(blocks, "FEW_INDIVIDUALS", 0)
        monkeypatch.setattr(blocks, "SMALLEST", 16)
        lmm.scan(null, G, keep=1.5)
        counts.append(leaving.np.fetches)
    assert counts[0] == counts[1] == counts[2] > 0


def test_the_kernel_finds_what_its_products_have():
    """In the interpreter: what compiles for a card, and how fast that is, is not known here."""
    rng = np.random.default_rng(5)
    B, q, T, nodes = 2 * MARKERS, 2 * STEP, 150, 19
    values, weighted = (jnp.asarray(rng.normal(size=s), jnp.bfloat16) for s in ((B, q), (q, T)))
    squares, weights = (
        jnp.asarray(rng.random(size=s), jnp.float32) for s in ((B, nodes), (nodes, T))
    )
    found = fused_maxima(values, weighted, squares, weights, group=16, interpret=True)
    b = np.asarray(values, float) @ np.asarray(weighted, float)
    share = b**2 / (np.asarray(squares, float) @ np.asarray(weights, float))
    np.testing.assert_allclose(found, share.reshape(-1, 16, T).max(axis=1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["pedigree", "centred"])
def test_rounding_to_bfloat16_is_wrong_by_less_than_its_margin(kind, nulls):
    null, G = nulls[kind]
    G = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    (label,) = null.kinship_labels
    with jax.enable_x64(True):
        block = next(block for blocks in null.batches(label) for block in blocks)
        markers = block.individuals.screen_markers(jnp.asarray(G.T[None]), True)
        found = [
            leaving.group_maxima(markers, block.for_screen, product=product, some=some)
            for product, some in (("single", M), ("coarse", M), ("coarse", M // 2))
        ]
    fine, coarse, in_parts = (np.sqrt(np.asarray(maxima)) for maxima, _ in found)
    sure = np.isfinite(fine)
    assert (
        0 < np.abs(coarse[sure] - fine[sure]).max() <= margin_of_product("coarse", N, np.zeros(1))
    )
    np.testing.assert_allclose(in_parts, coarse, rtol=1e-6)
    for maxima, top in found:
        np.testing.assert_array_equal(top, np.where(sure, maxima, 0).max(axis=0))


@pytest.mark.parametrize(
    ("options", "most"),
    [({"keep": "best"}, 11), ({"keep": 1.2}, 12), ({"keep": "best", "variance": "refit"}, 12)],
)
def test_programs_are_few(options, most, compilations):
    K, Y, X, G = cohort("pedigree", 7)
    Y = np.nan_to_num(Y)
    jax.clear_caches()
    before = compilations()
    lmm.scan(lmm.NullModel(K, Y, X), G, **options)
    assert compilations() - before <= most


def test_traits_whose_heritability_is_unknown_are_screened_too():
    """Without a kinship the likelihood does not depend on it."""
    Y = np.random.default_rng(1).standard_normal((30, 4))
    ((block,),) = lmm.NullModel(None, Y).batches("")
    assert np.isnan(block.hsq).all()
    assert (np.asarray(block.for_screen.margin) < 1e-3).all()
