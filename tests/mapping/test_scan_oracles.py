"""scan against what GEMMA and R/qtl2 print on real data."""

import numpy as np
import pytest
from helpers import centred

import lmmlite_jax as lmm

pd = pytest.importorskip("pandas")


def read_bed(stem, individuals):
    """Dosages of the .bim's first allele, NaN where missing, by the format's own definition."""
    count = len(individuals)
    raw = np.fromfile(stem.with_suffix(".bed"), dtype=np.uint8)
    assert raw[:3].tolist() == [0x6C, 0x1B, 1]
    packed = raw[3:].reshape(-1, -(-count // 4))
    codes = np.stack([(packed >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2)
    dosage = np.array([2, np.nan, 1, 0])[codes.reshape(len(packed), -1)[:, :count]]
    return dosage.T


@pytest.fixture(scope="module")
def synth500(data_dir, oracle_dir):
    folder = data_dir / "synth500"
    fam = pd.read_csv(folder / "synth500.fam", sep=r"\s+", header=None)
    bim = pd.read_csv(folder / "synth500.bim", sep=r"\s+", header=None)
    G = read_bed(folder / "synth500", fam[1])
    pheno, cov = (
        pd.read_csv(folder / f"{name}.txt", sep=r"\s+", header=None).set_index(1)[2]
        for name in ("pheno", "cov")
    )
    kinship = np.load(folder / "gemma_centered_kinship.npz")
    K = kinship[next(name for name in kinship.files if kinship[name].ndim == 2)]
    ids = fam[1]
    X = np.column_stack([np.ones(len(ids)), cov.loc[ids]])
    table = pd.read_csv(oracle_dir / "synth500_gemma_lmm4.csv.gz").set_index("rs")
    return K, pheno.loc[ids].to_numpy(), G, X, table.loc[bim[1]]


def assert_is_gemma(K, Y, G, X, table):
    """Every marker of each trait, by GEMMA's own laws; how many had tests with a null ML fit.

    A column of Y has a table of its own.
    """
    null = lmm.NullModel(K, Y, X)
    wald = lmm.scan(null, G, variance="refit", asymptotic=True)
    lrt = lmm.scan(null, G, variance="refit", test="lrt", asymptotic=True)
    score = lmm.scan(lmm.NullModel(K, Y, X, reml=False), G, test="score", asymptotic=True)
    scored = 0
    for j, of_trait in enumerate(table):
        beta, se, hsq = (np.asarray(x)[:, j] for x in (wald.beta, wald.se, wald.hsq))
        np.testing.assert_allclose(beta, of_trait["beta"], rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(se, of_trait["se"], rtol=2e-5)
        ratio = np.clip(hsq / np.maximum(1 - hsq, 1e-300), 1e-5, 1e5)
        np.testing.assert_allclose(ratio, of_trait["l_remle"], rtol=2e-3)
        p = 10 ** -np.asarray(wald.log10p)[:, j]
        np.testing.assert_allclose(p, of_trait["p_wald"], rtol=1e-3)
        regular = (of_trait["l_mle"] < 9e4).to_numpy()
        if null_is_regular(K, Y[:, j], X, np.asarray(score.hsq)[j]):
            p = 10 ** -np.asarray(score.log10p)[:, j]
            np.testing.assert_allclose(p, of_trait["p_score"], rtol=1e-3)
            p = 10 ** -np.asarray(lrt.log10p)[:, j]
            np.testing.assert_allclose(p[regular], of_trait["p_lrt"][regular], rtol=1e-3)
            scored += 1
        # GEMMA's others are the spike at h² = 1: ours are maxima inside.
        hsq = np.asarray(lrt.hsq)[:, j]
        assert np.all((hsq[~regular] < 0.999) | np.isnan(hsq[~regular]))
    return scored


def null_is_regular(K, y, X, hsq):
    """Whether GEMMA's ML fit without marker, up to λ = 1e5, is a maximum and not the spike."""
    rot = lmm.eigen_rotation(K, y, X)
    spike, ours = lmm.calc_ll([1e5 / (1 + 1e5), hsq], rot.Kva, rot.y, rot.X, reml=False)
    return ours > spike


def test_every_marker_of_synth500_is_gemmas(synth500):
    K, y, G, X, table = synth500
    assert assert_is_gemma(K, y[:, None], G, X, [table]) == 1
    assert (table["l_mle"] >= 9e4).sum() == 1306


def test_geuvadis_is_gemmas(data_dir, oracle_dir):
    folder = data_dir / "geuvadis"
    fam = pd.read_csv(folder / "Geuvadis.fam", sep=r"\s+", header=None)
    bim = pd.read_csv(folder / "Geuvadis.bim", sep=r"\s+", header=None)
    expression = pd.read_csv(folder / "Geuvadis_CEU_YRI_Expr.txt", sep="\t", index_col=0)
    covariates = pd.read_csv(folder / "Geuvadis_CEU_YRI_covariates.txt", sep="\t", index_col=0)
    kinship = pd.read_csv(folder / "Geuvadis_chr1_kinship.normalized.txt", sep="\t", index_col=0)
    links = pd.read_csv(folder / "Geuvadis_CEU_gte.txt", sep="\t", header=None)
    table = pd.read_csv(oracle_dir / "geuvadis_gemma_lmm4.csv.gz")
    genotyped, expressed = links[0].astype(str), links[1].astype(str)
    G = pd.DataFrame(
        read_bed(folder / "Geuvadis", fam[1]), index=fam[1].astype(str), columns=bim[1]
    )
    K = kinship.set_axis(kinship.index.astype(str)).set_axis(kinship.columns.astype(str), axis=1)
    genes, variants = list(dict.fromkeys(table["gene"])), list(dict.fromkeys(table["rs"]))
    X = np.column_stack([np.ones(len(links)), covariates.loc[expressed]])
    Y = expression[expressed].loc[genes].T.to_numpy()
    of_gene = [table[table["gene"] == gene].set_index("rs").loc[variants] for gene in genes]
    scored = assert_is_gemma(
        centred(K.loc[genotyped, genotyped].to_numpy()),  # as GEMMA does with every kinship
        Y,
        G.loc[genotyped, variants].to_numpy(),
        X,
        of_gene,
    )
    assert scored == 5


def test_founder_scan_of_recla_is_r_qtl2s(recla, data_dir, oracle_dir):
    """8 founders, missing phenotypes, a kinship for each chromosome."""
    data = np.load(data_dir / "recla" / "allele_probs_chr4_chr7.npz", allow_pickle=True)
    lods = pd.read_csv(oracle_dir / "recla_qtl2_scan1_lod.csv.gz")
    hsq = pd.read_csv(oracle_dir / "recla_qtl2_scan1_hsq.csv", index_col="chromosome")
    traits = list(lods.columns[2:])
    pheno = recla.pheno.loc[data["ids"].astype(str), traits]
    K = {str(c): 2 * data[f"kinship_loco_{c}"] for c in (4, 7)}
    X = np.column_stack([np.ones(len(pheno)), data["sex_female"].astype(float)])
    G = np.moveaxis(data["allele_probs"], 1, 2)
    result = lmm.scan(lmm.NullModel(K, pheno.to_numpy(), X), G, chromosome=data["chromosome"])
    np.testing.assert_allclose(result.lod, lods[traits], atol=1e-5)
    np.testing.assert_allclose(result.hsq, hsq.loc[[4, 7], traits], atol=1e-5)
    assert result.beta.shape == (121, 26, 8)
