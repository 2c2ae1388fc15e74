"""Fetch data and weights once, from their publishers or a mirror, and check them by digest."""

import codecs
import functools
import hashlib
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from tlhelpers.data.splits import SETTLED_NANOSECONDS
from tlhelpers.files import cache_folder, cache_place, locked, replacing, write_atomically
from tlhelpers.progress import progress_bar
from tlhelpers.runtime import begin_real, fall_back, may_fall_back

if TYPE_CHECKING:
    import requests


@dataclass(frozen=True)
class RemoteFile:
    """A file that is fetched when it is first needed.

    Args:
        name: Base name, in the cache and in a mirror.
        url: The publisher's address, or None where only a mirror has the file.
        digest: The published digest, ``"sha256:…"`` or ``"md5:…"``. None where the publisher
            gives none: then the digest of the first download is kept, and the file held to it.
        megabytes: Size in 10⁶ bytes.
        licence: The licence or terms.
        what: What it holds, in a few words.
    """

    name: str
    url: str | None
    digest: str | None
    megabytes: float
    licence: str
    what: str


def _weights(name: str, digest: str | None, megabytes: float, licence: str, of: str) -> RemoteFile:
    """Describe ImageNet weights that Keras publishes as ``<folder>/<name>``."""
    url = f"https://storage.googleapis.com/tensorflow/keras-applications/{name}"
    what = f"ImageNet weights of {of} without its top"
    return RemoteFile(name.rpartition("/")[2], url, digest, megabytes, licence, what)


# Weights: addresses and digests as in keras.applications (Keras 3.15), which has none for
# MobileNetV2. MNIST: as in keras.datasets.mnist. CIFAR-10: as on its page,
# www.cs.toronto.edu/~kriz/cifar.html.
# fmt: off
_GOOGLE = "https://storage.googleapis.com"
_MOBILENET_V2 = "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5"
_ROWS = (
    RemoteFile("cats_and_dogs_filtered.zip", f"{_GOOGLE}/mledu-datasets/cats_and_dogs_filtered.zip", None, 68.6, "no open licence: Asirra photographs (Petfinder.com, Microsoft), for research", "3,000 photographs of cats and dogs"),
    RemoteFile("cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", 170.1, "none stated; cite Krizhevsky (2009)", "CIFAR-10 as records of pixels"),
    RemoteFile("cifar10.zip", None, None, 140.0, "none stated; cite Krizhevsky (2009)", "CIFAR-10 as folders of image files"),
    RemoteFile("mnist.npz", f"{_GOOGLE}/tensorflow/tf-keras-datasets/mnist.npz", "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1", 11.5, "CC BY-SA 3.0", "MNIST digits as arrays"),
    RemoteFile("free_spoken_digits.zip", None, None, 16.2, "CC BY-SA 4.0", "3,000 recordings of spoken digits"),
    RemoteFile("rt_polarity.zip", None, None, 0.5, "none stated; cite Pang and Lee (2005)", "10,662 sentences of film reviews"),
    RemoteFile("vgg16_edges_hed_bsds500_notop.h5", None, None, 29.5, "MIT", "VGG16 without its top, trained on from ImageNet to find edges (HED on BSDS500), in half precision"),
    _weights("vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:6d6bbae143d832006294945121d1f1fc", 58.9, "CC BY 4.0 (Visual Geometry Group, Oxford)", "VGG16"),
    *(_weights(_MOBILENET_V2.format(size), None, 9.4, "Apache 2.0", f"MobileNetV2 ({size} px)") for size in (96, 128, 160, 192, 224)),
    _weights("resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:4d473c1dd8becc155b73f8504c6f6626", 94.8, "MIT", "ResNet50"),
    _weights("efficientnet_v2/efficientnetv2-b0_notop.h5", "md5:893217f2bb855e2983157299931e43ff", 24.3, "Apache 2.0", "EfficientNetV2-B0"),
    _weights("convnext/convnext_tiny_notop.h5", "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1", 111.7, "MIT", "ConvNeXt-Tiny"),
)
# fmt: on
FILES: dict[str, RemoteFile] = {row.name: row for row in _ROWS}
SUMS = "SHA256SUMS"


class DownloadError(RuntimeError):
    """A file could not be had; the message says from where and what to do."""


def mirror() -> str | None:
    """Return the folder or URL that ``TLH_MIRROR`` names, or None when it names none."""
    return os.environ.get("TLH_MIRROR") or None


def mirror_names() -> frozenset[str] | None:
    """Return the names of the files that the mirror lists, or None without a mirror."""
    place = mirror()
    return None if place is None else frozenset(_mirrored(place))


def fetch(name: str, to: str | Path | None = None) -> Path:
    """Return a verified local copy of a file, fetching it if there is none.

    With ``TLH_MIRROR`` set nothing but the mirror is contacted: a folder's files are checked
    against its ``SHA256SUMS`` and used where they lie, a URL's are fetched into the cache. A
    download appears in its place only when it is whole and its digest right; copies in the cache
    are checked again before each process uses them. What may pass, such as a busy server or a
    broken connection, is tried again three times.

    Args:
        name: Base name of a file in :data:`FILES` or in the mirror.
        to: Folder to copy the file to. Defaults to leaving it where it is.

    Returns:
        Path of the file.

    Raises:
        ValueError: If the name is unknown.
        DownloadError: If the file can't be had, or has the wrong digest.
        OSError: If the disk is full or the folder may not be written to.

    Example:
        >>> fetch("mnist.npz")  # doctest: +SKIP
        PosixPath('/home/ada/.cache/tlhelpers/files/731c5ac60275/mnist.npz')
    """
    path = _from_mirror(name, place) if (place := mirror()) else _from_publisher(known_file(name))
    target = path if to is None else Path(to) / name
    if not (target.exists() and target.samefile(path)):
        with replacing(target, path.stat().st_size) as part:
            shutil.copyfile(path, part)
    return target


def settle(needed: Callable[[], list[str]]) -> None:
    """Where the real tier is only Colab's default, fetch files now, or go on in the embedded tier.

    Nothing happens where somebody chose the tier: there :func:`fetch` succeeds or raises.

    Args:
        needed: Returns the base names of the files; a mirror may have to be asked for them.

    Raises:
        DownloadError: If one can't be had after something else of the real tier was given out: a
            session is never half real, half embedded.
    """
    if not may_fall_back():
        return
    try:
        names = list(dict.fromkeys(needed()))
        _announce([known_file(name) for name in names if not _at_hand(name)])
        for name in names:
            fetch(name)
    except DownloadError as error:
        reason = str(error).split(". ")[0]
        if not fall_back():
            raise DownloadError(
                f"{reason}. This session began in the real tier, and goes on in the embedded one: "
                "run the notebook again from its first cell. To try the real tier once more, "
                "restart it first."
            ) from None
        print(f"{reason}; so this session uses the embedded tier, which downloads nothing.")
    else:
        if names:
            begin_real()


MEGABYTES_A_SECOND = (2, 20)
"""Assumed, for a first guess of how long a download takes: a home's line, and a data centre's."""


def _announce(files: list[RemoteFile]) -> None:
    """Say what will be downloaded, how much it is, and about how long it takes."""
    if not files:
        return
    slow, fast = MEGABYTES_A_SECOND
    size = sum(file.megabytes for file in files)
    print(
        f"{size:,.0f} MB are downloaded now, once: about {size / fast:,.0f} to {size / slow:,.0f} s "
        f"at an assumed {slow} to {fast} MB/s. TLH_TIER=embedded downloads nothing.\n"
        f"Files: {', '.join(f'{one.name} ({one.megabytes:g} MB)' for one in files)}",
        flush=True,
    )


def _at_hand(name: str) -> bool:
    """Tell whether a file need not be downloaded: a mirror's folder has it, or the cache."""
    place = mirror()
    if place and not _is_url(place):
        return True
    return any((cache_folder() / "files").glob(f"*/{name}"))


def digest_of(path: str | Path, algorithm: str = "sha256") -> str:
    """Return a file's digest as in ``"sha256:06af…"``, read once a process while it is unchanged."""
    facts = Path(path).stat()
    state = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    # Within a tick of the file system's clock a file can change and keep its times.
    settled = time.time_ns() - max(state[2:]) > SETTLED_NANOSECONDS
    digest = _digest if settled else _digest.__wrapped__
    return digest(str(Path(path).resolve()), state, algorithm)


@functools.lru_cache(maxsize=256)
def _digest(path: str, state: tuple[int, ...], algorithm: str) -> str:
    """Digest a file; what tells that it was changed is among the arguments as the memory's key."""
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def has_digest(path: str | Path, digest: str) -> bool:
    """Tell whether a file can be read and has this digest (``"sha256:…"`` or ``"md5:…"``)."""
    try:
        return Path(path).is_file() and digest_of(path, digest.split(":")[0]) == digest
    except OSError:
        return False


def vouched_by(name: str) -> str:
    """Say whose list vouched for a fetched file that holds something else, and what to do."""
    if place := mirror():
        return f"{SUMS} of the mirror {_shown(place)} lists it: put the right file there, and its digest."
    url = FILES[name].url if name in FILES else None
    return f"It came from {url or name}: remove {cache_place() / 'files'} to fetch it again, or set TLH_MIRROR."


def known_file(name: str) -> RemoteFile:
    """Look a name up in :data:`FILES`."""
    if name not in FILES:
        raise ValueError(f"Unknown file. Received: {name!r}. Known: {', '.join(sorted(FILES))}.")
    return FILES[name]


def _from_mirror(name: str, place: str) -> Path:
    """Take a file from a mirror's folder, or fetch it from a mirror's URL."""
    listed = _mirrored(place)
    if name not in listed:
        raise DownloadError(
            f"{name} was to be fetched from the mirror {_shown(place)}, which has only: "
            f"{', '.join(sorted(listed)) or 'nothing'}. Nothing else is contacted while "
            "TLH_MIRROR is set; add the file there, or use the embedded tier (TLH_TIER=embedded)."
        )
    if _is_url(place):
        return _cached(name, f"{place.rstrip('/')}/{quote(name)}", listed[name])
    path = Path(place).expanduser() / name
    if not has_digest(path, listed[name]):
        raise DownloadError(
            f"The mirror's {path} is missing, unreadable or damaged: its digest is not the one in "
            f"{SUMS} there. Copy the file to the mirror again."
        )
    return path


def _from_publisher(file: RemoteFile) -> Path:
    """Fetch by the published digest, or by the one noted when the file first came."""
    if file.url is None:
        raise DownloadError(
            f"{file.name} ({file.what}) has no public address: only a mirror holds it. Set "
            "TLH_MIRROR to one that does, or use the embedded tier (TLH_TIER=embedded)."
        )
    if file.digest:
        return _cached(file.name, file.url, file.digest)
    noted = read_sums(cache_folder() / "files" / "first-use" / SUMS)
    path = _cached(file.name, file.url, noted.get(file.name), "first-use")
    if file.name not in noted:
        with locked(path.parent / f".{SUMS}.lock"):
            write_sums(path.parent, {**read_sums(path.parent / SUMS), file.name: digest_of(path)})
        print(f"{file.name}: no digest is published; from now on it is held to {digest_of(path)}")
    return path


def _cached(name: str, url: str, digest: str | None, shelf: str | None = None) -> Path:
    """Return a file of the cache, downloaded unless a right copy is on its shelf.

    A shelf is named after the digest, so that versions of a file don't replace each other.
    """
    shelf = shelf or str(digest).split(":")[1][:12]
    target = cache_folder() / "files" / shelf / name
    if not (digest and has_digest(target, digest)):
        with locked(target.parent / f".{name}.lock"):
            # Another process may have brought it while this one waited.
            if not (digest and has_digest(target, digest)):
                _download(name, url, digest, target)
    return target


def _download(name: str, url: str, digest: str | None, target: Path) -> None:
    """Download a file with pooch beside its place, check it, and move it in."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    size = int(FILES[name].megabytes * 1e6) if name in FILES else None
    amount = f" ({size / 1e6:g} MB)" if size else ""
    print(f"Fetching {name}{amount} from {_shown(url)} to {target.parent} (TLH_CACHE)", flush=True)
    # A killed process leaves its part behind: it is in the way of nobody, and overwritten.
    part = target.with_name(f".{name}.part")

    def download(address: str, path: str, _: object) -> None:
        # Pooch's own file could be read by its owner only, and a cache may be shared.
        os.remove(path)
        _patiently(lambda: _save(address, path, name), name, url)
        _check_kind(Path(path), name, url, digest)

    try:
        shutil.rmtree(part, ignore_errors=True)
        with replacing(target, size) as whole:
            os.replace(pooch.retrieve(url, digest, name, part, downloader=download), whole)
    except ValueError:
        raise _failure(name, url, "what came has not the expected digest") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


_TIMEOUT = 30  # seconds without an answer


def _save(url: str, path: str, name: str) -> None:
    """Write what comes from a URL to a file, with progress."""
    import requests

    with requests.get(url, timeout=_TIMEOUT, stream=True) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        size = int(answer.headers.get("Content-Length", 0))
        with progress_bar(size, name, "B", unit_scale=True) as bar:
            for chunk in answer.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))


_MAGIC = {".zip": b"PK\x03\x04", ".npz": b"PK\x03\x04", ".h5": b"\x89HDF\r\n\x1a\n"}


def _check_kind(path: Path, name: str, url: str, digest: str | None) -> None:
    """Refuse a web page, and a first download that can't be what its name says."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise _failure(name, url, "a web page came instead, as where a network wants a login first")
    right = head.startswith(_MAGIC.get(Path(name).suffix, b""))
    if digest is None and not (right and (Path(name).suffix != ".zip" or zipfile.is_zipfile(path))):
        raise _failure(name, url, f"what came is no whole {Path(name).suffix} file")


_Got = TypeVar("_Got")
_WAITS = (1, 2, 4)  # seconds, each before another try
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


def _patiently(get: Callable[[], _Got], name: str, url: str) -> _Got:
    """Make a request, and make it again where the failure is one that may pass."""
    import requests

    waits = iter(_WAITS)
    while True:
        try:
            return get()
        except requests.RequestException as error:
            if error.response is not None:
                error.response.close()
            reason, may_pass = _network_reason(error, url)
            wait = next(waits, None) if may_pass else None
            if wait is None:
                raise _failure(name, url, reason) from None
        except OSError as error:
            if error.errno is not None:
                raise
            # A certificate file that isn't there: requests says so with a bare OSError.
            raise _failure(name, url, str(error)) from None
        print(f"{name}: {reason}; trying again in {wait} s")
        time.sleep(wait)


def _network_reason(error: "requests.RequestException", url: str) -> tuple[str, bool]:
    """Say in a few words why a request failed, and whether that may pass."""
    import requests
    from urllib3.exceptions import NewConnectionError

    code = None if error.response is None else error.response.status_code
    refused = isinstance(getattr(next(iter(error.args), None), "reason", None), NewConnectionError)
    if code == 407 or "407 Proxy" in str(error):
        return (
            "the proxy wants a name and password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
            False,
        )
    if isinstance(error, requests.exceptions.ProxyError):
        proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
        return f"the proxy {_shown(str(proxy))} can't be used (see HTTPS_PROXY and NO_PROXY)", False
    if isinstance(error, (ValueError, requests.exceptions.TooManyRedirects)):
        return f"the address, or a proxy's, does not work ({type(error).__name__})", False
    if code is not None:
        return f"the server answered {code}", code in _MAY_PASS
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "its certificate can't be verified (behind a proxy that reads encrypted traffic, "
            "REQUESTS_CA_BUNDLE must name a file with the proxy's own)"
        ), False
    if isinstance(error, requests.exceptions.Timeout):
        return "the server did not answer in time", True
    return (
        ("there is no connection to it", False) if refused else ("the connection broke off", True)
    )


def _failure(name: str, url: str, reason: str) -> DownloadError:
    """Word a failed download and the ways out."""
    size = f" ({FILES[name].megabytes:g} MB)" if name in FILES else ""
    return DownloadError(
        f"{name}{size} was to be fetched from {_shown(url)}, and that failed: {reason}. Set "
        "TLH_MIRROR=<folder or URL> to a place that holds it, or use the embedded tier, "
        "which downloads nothing (TLH_TIER=embedded)."
    )


def _shown(place: str) -> str:
    """Return an address without a name and password that it may hold."""
    return re.sub(r"(?<=://)[^/]*@", "", place)


def _is_url(place: str) -> bool:
    """Tell a URL from a folder."""
    return place.lower().startswith(("http://", "https://"))


def _mirrored(place: str) -> dict[str, str]:
    """Read the mirror's list of digests."""
    if _is_url(place):
        url = f"{place.rstrip('/')}/{SUMS}"
        return parse_sums(_content_at(url), _shown(url))
    sums = Path(place).expanduser() / SUMS
    if not sums.is_file():
        raise DownloadError(
            f"TLH_MIRROR must name an http or https URL, or a folder that holds {SUMS}. "
            f"Received: {place}. Make one with: tlhelpers fetch --to DIR"
        )
    return read_sums(sums)


@functools.lru_cache(maxsize=8)
def _content_at(url: str) -> bytes:
    """Read a small file from a URL, once per process."""
    import requests

    def get() -> bytes:
        content = b""
        with requests.get(url, timeout=_TIMEOUT, stream=True) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(1 << 16):
                content += chunk
                if len(content) > _MAX_SUMS:
                    break
        return content

    return _patiently(get, SUMS, url)


_MAX_SUMS = 10**6  # bytes; a mirror's list has some hundred
_SUMS_LINES = (
    re.compile(r"\\?(?P<digest>[0-9a-f]{64})\s+[*^?]?(?P<name>\S.*)", re.I),  # sha256sum, shasum
    re.compile(r"SHA2?-?256 ?\((?P<name>.+)\) ?= ?(?P<digest>[0-9a-f]{64})", re.I),  # BSD, OpenSSL
    # PowerShell's Get-FileHash, as a table and as CSV.
    re.compile(r'"?SHA256"?[\s,]+"?(?P<digest>[0-9a-f]{64})"?[\s,]+"?(?P<name>[^"]+)"?', re.I),
)
_POWERSHELL_LIST = re.compile(r"Algorithm\s*: SHA256\s+Hash\s*: (\w{64})\s+Path\s*: (.+)")
_NO_ENTRY = re.compile(r'([-\s]*|[#;].*|"?Algorithm"?[\s,]+"?Hash"?[\s,]+"?Path"?\s*)', re.I)


def parse_sums(content: bytes, source: str) -> dict[str, str]:
    """Read a list of digests as sha256sum, shasum, OpenSSL or PowerShell writes it.

    Args:
        content: UTF-8 or UTF-16, or another encoding as long as names are ASCII; at most 1 MB.
        source: Where it is from, for messages.

    Returns:
        ``"sha256:…"`` by base name.

    Raises:
        DownloadError: If a line is something else, or a name has two digests.
    """
    if len(content) > _MAX_SUMS:
        raise DownloadError(f"{source} must list digests. Received: more than {_MAX_SUMS:,} bytes.")
    bom, zeros = content[:2], content[:2].find(b"\0")
    utf16 = {-1: "utf-8-sig", 0: "utf-16-be", 1: "utf-16-le"}[zeros]
    encoding = "utf-16" if bom in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else utf16
    text = _POWERSHELL_LIST.sub(r"\1  \2", content.decode(encoding, "replace"))
    listed: dict[str, str] = {}
    for number, line in enumerate(re.split(r"\r?\n|\0", text), start=1):
        if _NO_ENTRY.fullmatch(line):
            continue
        found = next(filter(None, (form.fullmatch(line.strip()) for form in _SUMS_LINES)), None)
        name = re.split(r"[/\\]", found["name"].strip())[-1] if found else ""
        if not found or not name:
            raise DownloadError(
                f"{source} must give a SHA-256 digest and a file name in each line. Received in "
                f"line {number}: {line.strip()[:60]!r}. Write it again: sha256sum * > {SUMS}"
            )
        digest = f"sha256:{found['digest'].lower()}"
        if listed.setdefault(name, digest) != digest:
            raise DownloadError(
                f"{source} must give a file one digest. Received: two for {name}. Remove one."
            )
    return listed


def read_sums(path: Path) -> dict[str, str]:
    """Read a list of digests from a file; one that is missing lists nothing."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            return parse_sums(file.read(_MAX_SUMS + 1), str(path))
    except OSError as error:
        raise DownloadError(f"{path} can't be read: {error.strerror}.") from None


def write_sums(folder: Path, digests: dict[str, str]) -> None:
    """Write a folder's list of digests, ``"sha256:…"`` by base name."""
    lines = (f"{digests[name].removeprefix('sha256:')}  {name}\n" for name in sorted(digests))
    write_atomically(folder / SUMS, "".join(lines))
