import functools
import http.server
import threading

import numpy as np
import pytest

from lmmlite_jax.data import load_recla, recla


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve bytes as recla.RData on this machine, with an empty cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    handler = functools.partial(_QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def start(content):
        (folder / "recla.RData").write_bytes(content)
        address = f"http://127.0.0.1:{server.server_port}/recla.RData"
        monkeypatch.setattr(recla, "_URL", address)
        return folder / "recla.RData"

    yield start
    server.shutdown()
    server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_the_mice_of_the_user_guide_have_their_names_and_shapes(data_dir):
    mice = load_recla(data_dir / "recla" / "recla.RData")
    assert mice.kinship.shape == (261, 261)
    assert mice.pheno.shape == (261, 26)
    assert int(mice.pheno.isna().sum().sum()) == 45
    assert mice.covariates == ("intercept", "sex")
    assert (mice.covar["intercept"] == 1).all()
    assert set(mice.covar["sex"]) == {0, 1}
    assert mice.phenotypes[0] == "OF_distance_first4"
    assert mice.individuals[:3] == ("1", "4", "5")
    assert list(mice.kinship.index) == list(mice.pheno.index) == list(mice.covar.index)
    assert mice.hsq is None
    np.testing.assert_allclose(np.diag(mice.kinship), 1.0)


def test_the_file_is_downloaded_once(data_dir, serve):
    served = serve((data_dir / "recla" / "recla.RData").read_bytes())
    assert load_recla().pheno.shape == (261, 26)
    served.unlink()
    assert load_recla().pheno.shape == (261, 26)


def test_a_download_with_another_checksum_is_refused(serve):
    serve(b"something else")
    with pytest.raises(ValueError, match=r"is not the recla.RData known here.*Pass the path"):
        load_recla()


def test_no_network_says_what_to_do_instead(serve, monkeypatch):
    serve(b"")
    monkeypatch.setattr(recla, "_URL", "http://127.0.0.1:9/recla.RData")
    with pytest.raises(ConnectionError, match=r"could not be downloaded.*pass its path"):
        load_recla()


def test_a_file_that_is_not_the_original_is_refused(tmp_path):
    path = tmp_path / "recla.RData"
    path.write_bytes(b"RDX2 of other mice")
    with pytest.raises(ValueError, match=r"is not R/lmmlite's recla.RData: its SHA-256"):
        load_recla(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.RData: there is no such file"):
        load_recla(tmp_path / "nowhere.RData")
