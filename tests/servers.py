"""Publishers and mirrors for tests: a small web server that fails where it is told to."""

import contextlib
import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from tlhelpers.data.downloads import FILES, RemoteFile


class Server(http.server.ThreadingHTTPServer):
    """Notes what is asked for; ``troubles`` are used up, one for each request, before files."""

    def __init__(self, folder: Path) -> None:
        """Serve a folder on a free port of this machine."""
        self.folder = folder
        self.asked: list[str] = []
        self.troubles: list[int | str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=folder))

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args: object) -> None:
        """Keep the test's output clean."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Answers by the next trouble, or with the file."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if trouble is None:
            super().do_GET()
        elif trouble == "garbage":
            self.wfile.write(b"no HTTP\r\n\r\n")
            self.close_connection = True
        elif trouble == "hang up":
            self.connection.close()
        elif trouble == "half":
            self._answer(200, b"half of it", length=100_000)
        elif trouble == "silence":
            threading.Event().wait(0.6)
        elif trouble == "loop":
            self._answer(302, b"", location=self.path)
        elif isinstance(trouble, int):
            self._answer(trouble, b"busy")
        else:
            self._answer(200, trouble.encode())

    def _answer(
        self, status: int, content: bytes, length: int | None = None, location: str | None = None
    ) -> None:
        """Send a whole answer, or one whose length is not what it says."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server in a thread."""
    folder.mkdir(parents=True, exist_ok=True)
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


NAME = "mnist.npz"
CONTENT = bytes(range(256)) * 40


def sha256(content: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def make_mirror(folder: Path, **contents: bytes) -> Path:
    """Write files, whose names have ``__`` for the dot, and their list."""
    folder.mkdir(exist_ok=True)
    names = {name.replace("__", "."): content for name, content in contents.items()}
    for name, content in names.items():
        (folder / name).write_bytes(content)
    lines = (f"{sha256(content)}  {name}\n" for name, content in names.items())
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def small_mirror(folder: Path, content: bytes = CONTENT) -> Path:
    """Make a mirror of one file that lists another, which isn't there."""
    make_mirror(folder, **{NAME: content})
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64} *other.bin\n")
    return folder


def publish(monkeypatch, url: str, digest: str | None = None, name: str = "data.bin") -> str:
    """Put a file into the table of those that are published."""
    monkeypatch.setitem(FILES, name, RemoteFile(name, url, digest, 0.01, "MIT", "test data"))
    return name


def leftovers(folder: Path) -> list[Path]:
    """List everything that isn't a whole file, a folder or a lock."""
    hidden = [path for path in folder.rglob("*") if path.name.startswith(".")]
    return [path for path in hidden if path.suffix != ".lock"]
