"""Google Colab, simulated in child processes: the real tier by default, and what happens without it."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import nbformat
import numpy as np
import pytest
from building import BOOK
from PIL import Image
from toys import published_weights

from tlhelpers import load_backbone
from tlhelpers.models.backbones import ARCHITECTURES

PHOTOS = "cats_and_dogs_filtered.zip"
WEIGHTS = ARCHITECTURES["mobilenet_v2"].weights

# Colab, with the publishers moved to this machine and the classes of photographs made small.
COLAB = """
import json, os, sys, types
from dataclasses import replace
settings = json.loads(sys.argv[1])
if settings["module"]:
    sys.modules["google.colab"] = types.ModuleType("google.colab")
else:
    os.environ["COLAB_RELEASE_TAG"] = "release-colab_20260201"
import tlhelpers as tl
from tlhelpers.data import downloads, published
for name, digest in settings["digests"].items():
    row = replace(downloads.FILES[name], url=f"{settings['url']}/{name}", digest=digest)
    downloads.FILES[name] = row
downloads._WAITS, downloads._TIMEOUT = (0, 0, 0), 0.3
published.SIZES["cats_dogs"] = dict.fromkeys(published.SIZES["cats_dogs"], 210)
"""
SETUP = "rt = tl.setup(seed=0, tier=tl.choose_tier('cats_dogs', 'mobilenet_v2'))\n"
NO_SETUP = "tier = tl.choose_tier('cats_dogs', 'mobilenet_v2')\n"  # TensorFlow is not started
CHAPTER = """
from sklearn.linear_model import LogisticRegression
few = tl.load_dataset("cats_dogs").few(2, seed=0)
base = tl.load_backbone("mobilenet_v2", 224)
x = tl.extract_features(base, few.train)
head = LogisticRegression().fit(x, few.train.labels)
print("END", type(base).__name__, few.train.pack, x.shape)
"""


@pytest.fixture(scope="module")
def published_files(tmp_path_factory):
    """Photographs and weights as they are published, but few and small."""
    folder = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / PHOTOS, "w") as zipped:
        for part in ("train", "validation"):
            for kind in ("cat", "dog"):
                for number in range(210):
                    image = io.BytesIO()
                    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(image, "JPEG")
                    name = f"cats_and_dogs_filtered/{part}/{kind}s/{kind}.{number}.jpg"
                    zipped.writestr(name, image.getvalue())
    network = load_backbone("mobilenet_v2", 32, weights=None).model
    published_weights(network, folder / WEIGHTS)
    return {name: (folder / name).read_bytes() for name in (PHOTOS, WEIGHTS)}


@pytest.fixture
def colab(tmp_path, server, published_files):
    """Run code as in Colab; publish the files, and fail as ``server.troubles`` tell."""
    for name, content in published_files.items():
        (server.folder / name).write_bytes(content)

    def run(code, *, module=True, digests=None, url=None, **variables):
        given = {
            name: f"md5:{hashlib.md5(file).hexdigest()}" for name, file in published_files.items()
        }
        settings = {"module": module, "url": url or server.url, "digests": given | (digests or {})}
        kept = {k: v for k, v in os.environ.items() if k not in ("TLH_TIER", "TLH_MIRROR")}
        kept |= {"TLH_CACHE": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1", **variables}
        command = [sys.executable, "-c", COLAB + code, json.dumps(settings)]
        return subprocess.run(command, capture_output=True, text=True, env=kept, timeout=120)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("module", [True, False], ids=["google.colab", "COLAB_RELEASE_TAG"])
def test_the_real_tier_is_taken_and_announced(colab, server, module):
    # Without the module, TensorFlow is not started.
    done = colab(SETUP + CHAPTER if module else NO_SETUP + "print(tier)", module=module)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "78 MB are downloaded now, once: about 4 to 39 s at an assumed 2 to 20"
    )
    assert lines[1] == f"Files: {PHOTOS} (68.6 MB), {WEIGHTS} (9.4 MB)"
    assert lines[-1] == ("END Backbone None (2, 1280)" if module else "real")
    assert any(line.startswith("real tier · ") for line in lines) == module
    assert server.asked == [f"/{PHOTOS}", f"/{WEIGHTS}"]
    again = colab(NO_SETUP + "print(tier)", module=module)
    assert again.stdout == "real\n"
    assert len(server.asked) == 2


FAILURES = {
    "404": ([None, 404], {}, "the server answered 404"),
    "the server is cut in the middle": ([None, *["half"] * 4], {}, "the connection broke off"),
    "a wrong digest": ([], {WEIGHTS: f"md5:{'0' * 32}"}, "what came has not the expected digest"),
    "silence": (["silence"] * 4, {}, "the server did not answer in time"),
}


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in FAILURES), "no connection"]
)
def test_what_fails_is_told_in_a_sentence_and_the_chapter_goes_on_embedded(colab, server, name):
    troubles, digests, reason = FAILURES.get(name, ([], {}, "there is no connection to it"))
    server.troubles += troubles
    url = "http://127.0.0.1:9" if name == "no connection" else None
    done = colab((SETUP if name == "404" else NO_SETUP) + CHAPTER, digests=digests, url=url)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "uses the embedded tier" in line]
    assert len(told) == 1
    assert f"that failed: {reason}; so this session" in told[0]
    # Data and network alike, also where the photographs had come.
    assert done.stdout.splitlines()[-1] == "END RecordedBackbone cats_dogs (2, 1280)"
    assert ("embedded tier · " in done.stdout) == (name == "404")


@pytest.mark.slow
def test_without_a_choice_the_first_need_decides(colab, server):
    server.troubles += [404]
    done = colab(CHAPTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("uses the embedded tier") == 1
    assert "END RecordedBackbone cats_dogs" in done.stdout
    assert server.asked == [f"/{PHOTOS}"]


@pytest.mark.slow
def test_a_session_is_never_half_real(colab, server):
    """Weights that fail after photographs were given out stop it; run anew, it is embedded."""
    server.troubles += [None, 404]
    code = f"chapter = {CHAPTER!r}\ntry: exec(chapter)\nexcept RuntimeError as e: print(e)\nexec(chapter)"
    done = colab(code)
    assert done.returncode == 0, done.stderr
    assert (
        "This session began in the real tier, and goes on in the embedded one: run" in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "END RecordedBackbone cats_dogs (2, 1280)"


@pytest.mark.parametrize(
    "how",
    [pytest.param("TLH_TIER", marks=pytest.mark.slow), "load_dataset"],
)
def test_who_asks_for_the_real_tier_gets_it_or_an_error(colab, server, how):
    server.troubles += [404]
    code, variables = CHAPTER, {}
    if how == "TLH_TIER":
        code, variables = NO_SETUP + CHAPTER, {"TLH_TIER": "real"}
    else:
        code = "tl.load_dataset('cats_dogs', tier='real')"
    done = colab(code, **variables)
    assert done.returncode == 1
    assert "DownloadError: cats_and_dogs_filtered.zip (68.6 MB) was to be fetched" in done.stderr
    assert "uses the embedded tier" not in done.stdout


@pytest.mark.slow
def test_a_mirror_that_is_not_there(colab):
    done = colab(NO_SETUP + CHAPTER, TLH_MIRROR="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("uses the embedded tier") == 1
    assert "END RecordedBackbone cats_dogs" in done.stdout


@pytest.mark.slow
def test_who_asks_for_the_embedded_tier_downloads_nothing(colab, server):
    done = colab(NO_SETUP + CHAPTER, TLH_TIER="embedded")
    assert done.stdout == "END RecordedBackbone cats_dogs (2, 1280)\n"
    assert server.asked == []


# The first cells of chapters


def cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_chapters_fetch_what_they_need_before_they_begin():
    """A name of the real tier that a chapter's code mentions stands in its call of choose_tier.

    A chapter without that call uses no such name, or stays embedded where nobody chose a tier.
    """
    declared = set()
    for path in sorted(BOOK.glob("[0-9]*.ipynb")):
        code = "\n".join(cell.source for cell in cells(path))
        chooses = "choose_tier(" in code
        needs = code.split("choose_tier(")[1].split(")")[0] if chooses else ""
        declared |= {path.stem[:2]} if chooses else set()
        for name in ("cats_dogs", "cifar10", "digits", "vgg16", "mobilenet_v2"):
            load = rf'load_dataset\("{name}"(?!, tier="embedded")|load_backbone\("{name}", 224\)'
            if re.search(load, code) and 'get("TLH_TIER") or "embedded"' not in code:
                assert f'"{name}"' in needs, path.name
    assert {"01", "06", "07"} <= declared


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools") and shutil.which("git")),
    reason="needs pip, setuptools and git",
)
def test_the_install_cell_installs(tmp_path, server):
    """Run as Colab runs it, on a package of the same name in a repository that is served here."""
    sources = {cells(path)[0].source for path in BOOK.glob("*.ipynb")}
    assert len(sources) == 1
    (source,) = sources
    repository = tmp_path / "repository"
    (repository / "tlhelpers").mkdir(parents=True)
    (repository / "tlhelpers" / "__init__.py").write_text("PLACE = 'stand-in'\n")
    setup = "from setuptools import setup\nsetup(name='tlhelpers', packages=['tlhelpers'])\n"
    (repository / "setup.py").write_text(setup)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", repository]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "First"]):
        subprocess.run([*git, *command], check=True)
    bare = ["clone", "--quiet", "--bare", repository, server.folder / "book.git"]
    subprocess.run(["git", *bare], check=True)
    served = ["git", "-C", server.folder / "book.git", "update-server-info"]
    subprocess.run(served, check=True)
    address = next(line for line in source.splitlines() if line.startswith("REPOSITORY"))
    cell = source.replace(address, f'REPOSITORY = "{server.url}/book.git"')
    script = (
        "import sys, types\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        "sys.modules['tlhelpers'] = None  # as where it is not installed\n"
        f"InteractiveShell.instance().run_cell({cell!r}).raise_error()\n"
    )
    pip = {"INDEX": "1", "DEPS": "1", "BUILD_ISOLATION": "0", "INPUT": "1"}
    pip = {f"PIP_NO_{name}": value for name, value in pip.items()}
    pip |= {
        "NO_PROXY": "127.0.0.1",
        "PIP_TARGET": str(tmp_path / "installed"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **pip},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    installed = tmp_path / "installed" / "tlhelpers" / "__init__.py"
    assert installed.is_file(), done.stdout
    assert installed.read_text() == "PLACE = 'stand-in'\n", done.stdout
    assert "/book.git/HEAD" in server.asked
