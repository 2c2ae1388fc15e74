"""Badges, setup cells and the address they name; and Colab's packages, which stay as they are."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.util import find_spec

import addresses
import nbformat
import notebooks
import pytest
from building import BOOK, ROOT
from packaging.requirements import Requirement

NEW = nbformat.v4
FORK = "https://github.com/someone/a-fork"
PLACE = {"url": FORK, "branch": "main", "path_to_book": "book"}
SETUP = """import sys

REPOSITORY = "https://github.com/OWNER/transfer-learning-in-practice"
if "google.colab" in sys.modules:
    %pip install --quiet "tlhelpers @ git+{REPOSITORY}"
"""

# Colab's own list of its packages, as published in February 2026
# (github.com/googlecolab/backend-info, pip-freeze.gpu.txt): those that the package asks for.
COLAB = {
    "filelock": "3.24.3",
    "keras": "3.10.0",
    "matplotlib": "3.10.0",
    "numpy": "2.0.2",
    "packaging": "26.0",
    "pandas": "2.2.2",
    "pillow": "11.3.0",
    "platformdirs": "4.9.2",
    "pooch": "1.9.0",
    "scikit-learn": "1.6.1",
    "scipy": "1.16.3",
    "tensorflow": "2.19.0",
    "threadpoolctl": "3.6.0",
    "tqdm": "4.67.3",
}
ASKED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]


def chapter(title="# Title\n\nText."):
    setup = NEW.new_code_cell(SETUP, metadata={"tlhelpers": {"setup": True}})
    return NEW.new_notebook(cells=[NEW.new_markdown_cell(title), setup])


def test_every_chapter_names_the_address_of_the_configuration():
    assert addresses.differences(BOOK, addresses.repository()) == [], "run make outputs"


def test_a_chapter_gets_one_badge_that_opens_it():
    once = addresses.write_address(chapter(), "01_x", PLACE)
    assert once.cells[0].source == (
        "# Title\n\n[![Open in Colab](_static/colab.svg)](https://colab.research.google.com/github/"
        "someone/a-fork/blob/main/book/01_x.ipynb)\n\nText."
    )
    assert f'\nREPOSITORY = "{FORK}"\n' in once.cells[1].source
    before = nbformat.from_dict(once)
    assert addresses.write_address(once, "01_x", PLACE) == before
    moved = addresses.write_address(once, "01_x", PLACE | {"url": "https://github.com/a/b"})
    assert moved.cells[0].source.count("Open in Colab") == 1
    assert "github/a/b/blob" in moved.cells[0].source
    bare = addresses.write_address(chapter("# Title"), "01_x", PLACE)
    assert bare.cells[0].source.endswith("01_x.ipynb)")
    assert (BOOK / "_static" / "colab.svg").is_file()


@pytest.fixture
def fork(tmp_path):
    """A copy of the configuration, with a book of two chapters."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book").mkdir()
    for name in ("01_x", "02_y"):
        nbformat.write(notebooks.normalise(chapter()), tmp_path / "book" / f"{name}.ipynb")
    return tmp_path


def test_one_command_moves_the_book(fork):
    changed = addresses.move(f"{FORK}.git", fork)
    assert changed == ["_config.yml", "01_x.ipynb", "02_y.ipynb"]
    place = addresses.repository(fork / "_config.yml")
    assert place["url"] == FORK
    assert addresses.differences(fork / "book", place) == []
    assert addresses.move(FORK, fork) == []
    before = (ROOT / "_config.yml").read_text("utf-8").splitlines()
    after = (fork / "_config.yml").read_text("utf-8").splitlines()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_chapters_that_differ_are_found(fork):
    addresses.move(FORK, fork)
    path = fork / "book" / "02_y.ipynb"
    good = path.read_text("utf-8")
    for wrong, part in (
        (good.replace("02_y.ipynb", "01_x.ipynb"), "the badge below the title"),
        (good.replace("[![Open in Colab]", "[![Open]"), "the badge below the title"),
        (good.replace(f'\\"{FORK}\\"', f'\\"{FORK}2\\"'), "the setup cell"),
        (good.replace('"setup": true', '"setup": false'), "the setup cell"),
    ):
        assert wrong != good
        path.write_text(wrong, encoding="utf-8")
        assert addresses.differences(fork / "book", PLACE) == [f"02_y.ipynb: {part}"]


@pytest.mark.parametrize("address", ["someone/a-fork", "https://gitlab.com/a/b", f"{FORK}/tree/x"])
def test_an_address_that_colab_could_not_open_is_refused(fork, address):
    with pytest.raises(ValueError, match="Received: "):
        addresses.move(address, fork)
    assert addresses.repository(fork / "_config.yml") == addresses.repository()


def test_a_chapter_asks_colab_for_a_gpu_only_where_that_is_said_to_help():
    """A chapter with an accelerator tells the minutes it saves: metadata tlhelpers.gpu."""
    for path in BOOK.glob("*.ipynb"):
        metadata = nbformat.read(path, as_version=4).metadata
        assert ("accelerator" in metadata) == ("gpu" in metadata.get("tlhelpers", {})), path.name


# Installing in Colab


def install_in_colab(tmp_path, asked):
    """Let pip's resolver say what it would install where Colab's packages are installed."""
    venv.create(tmp_path / "colab", with_pip=False)
    (packages,) = (tmp_path / "colab").glob("**/site-packages")
    for name, version in COLAB.items():
        info = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text("")
    bin_folder = "Scripts" if sys.platform == "win32" else "bin"
    command = [sys.executable, "-m", "pip", "--python", tmp_path / "colab" / bin_folder / "python"]
    command += ["install", "--dry-run", "--no-index", "--quiet", "--report", "-", *asked]
    return subprocess.run(command, capture_output=True, text=True)


needs_pip = pytest.mark.skipif(find_spec("pip") is None, reason="needs pip")


@needs_pip
def test_installing_leaves_colabs_packages_as_they_are(tmp_path):
    assert {Requirement(line).name for line in ASKED} == set(COLAB)
    done = install_in_colab(tmp_path, ASKED)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["install"] == []


@needs_pip
def test_a_bound_that_would_replace_a_package_is_noticed(tmp_path):
    done = install_in_colab(tmp_path, [*ASKED[:-1], "numpy>=2.1"])
    assert done.returncode != 0
    assert "numpy>=2.1" in done.stderr


def test_the_setup_cell_installs_the_package_alone():
    for path in BOOK.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.metadata.get("tlhelpers", {}).get("setup"):
                installs = re.findall(r"%pip install (.*)", cell.source)
                assert installs == ['--quiet "tlhelpers @ git+{REPOSITORY}"'], path.name
                assert not re.search(r"--upgrade|-U\b|\[", " ".join(installs))
