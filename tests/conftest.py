"""Shapes and types of every annotated array are checked while the tests run."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

# Several processes test at a time: the cores are theirs, not BLAS's, whose threads wait spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

install_import_hook("lmmlite_jax", "beartype.beartype")

MOST_MAPS = 20_000


def pytest_configure(config: pytest.Config) -> None:
    """Compile fast, and share compiled programs between processes: that is most of the time."""
    from lmmlite_jax.__main__ import start_soon

    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    start_soon()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = TemporaryDirectory(prefix="lmmlite-jax-programs-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The page of examples in Python takes as long as the worked ones."""
    for item in items:
        if item.path.name == "guide.md":
            item.add_marker(pytest.mark.long)


def _shared(folder: str) -> Path:
    """A folder of the real data, or a skip that says what to set."""
    data = os.environ.get("LMMLITE_JAX_DATA")
    root = Path(data).parent if data else Path(__file__).parents[2] / "shared"
    path = Path(data) if data and folder == "data" else root / folder
    if not path.is_dir():
        pytest.skip(
            f"real data not found in {path}: set LMMLITE_JAX_DATA to the folder data that has the "
            "folder oracles beside it"
        )
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets."""
    return _shared("data")


@pytest.fixture(scope="session")
def oracle_dir() -> Path:
    """Folder of what the reference programs print on them."""
    return _shared("oracles")


@pytest.fixture(scope="session")
def recla(data_dir):
    import lmmlite_jax as lmm

    return lmm.load_recla(data_dir / "recla" / "recla.RData")


@pytest.fixture(scope="session")
def compilations():
    """Function that counts XLA's compilations so far."""
    import jax

    count = 0

    def listen(event: str, _seconds: float, **_details: object) -> None:
        nonlocal count
        count += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: count


@pytest.fixture(scope="module", autouse=True)
def _few_programs_at_a_time():
    """Each compiled program holds some hundred memory maps, of which Linux allows 65,530."""
    import jax

    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
