"""Settings shared by every test: a cache of its own, quiet logs, what may be skipped and why."""

import os
import shutil
import tempfile
from pathlib import Path

# Each worker has its share of the cores, and so has what it starts: two trainings that take both
# cores take longer than each on its own, since their threads wait for one another.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    _share = _cores[int(_WORKER[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
    os.sched_setaffinity(0, _share or _cores)

# Sets what TensorFlow reads when it is imported, so before any test module imports that.
import tlhelpers  # noqa: E402, F401

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["PYTHONHASHSEED"] = "0"
# Tests, and the kernels that nbval starts, must see neither the user's tier nor the user's cache.
os.environ.pop("TLH_TIER", None)
os.environ.pop("COLAB_RELEASE_TAG", None)
os.environ["TLH_LIVE"] = "0"  # nor do sliders slide where nobody watches
_CACHE = tempfile.mkdtemp(prefix="tlhelpers-tests-")
os.environ["TLH_CACHE"] = _CACHE

import matplotlib  # noqa: E402
import pytest  # noqa: E402
from building import find_chromium, make  # noqa: E402
from servers import serving  # noqa: E402

from tlhelpers.transfer import recipes  # noqa: E402

matplotlib.use("Agg")  # for tests; a kernel keeps its own inline backend
recipes.MOST_AT_ONCE = 32  # every batch is filled up, and most tests have a few dozen images

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, and let nbval ignore stderr (progress bars, library notices)."""
    no_mirror = pytest.mark.skip(
        reason="TLH_MIRROR is unset: it names a folder or URL of real data"
    )
    no_browser = pytest.mark.skip(reason="no Chromium found: install chromium to run browser tests")
    has_browser = find_chromium() is not None
    for item in items:
        if item.get_closest_marker("mirror") and not os.environ.get("TLH_MIRROR"):
            item.add_marker(no_mirror)
        if item.get_closest_marker("browser") and not has_browser:
            item.add_marker(no_browser)
        skipped = getattr(item.parent, "skip_compare", None)
        if skipped is not None and "stderr" not in skipped:
            item.parent.skip_compare = (*skipped, "stderr")


def pytest_unconfigure() -> None:
    """Remove the cache these tests used."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirror, and no waiting between tries."""
    from tlhelpers.data import downloads

    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("TLH_MIRROR", "TLH_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "_WAITS", (0, 0, 0))
    downloads._content_at.cache_clear()
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def eagerly():
    """Run Keras without graphs, whose tracing takes longer than a few small steps.

    From the first test that uses it to the end of its file.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def server(tmp_path: Path):
    """A web server for the folder ``served``."""
    with serving(tmp_path / "served") as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    found = find_chromium()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all workers share: unpacking and decoding real data take a while."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if _WORKER else base) / "real"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site built from the stored outputs."""
    out = tmp_path_factory.mktemp("site")
    built = make("html", out)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return out / "_build" / "html"
