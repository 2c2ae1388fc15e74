"""Read a built site's pages: what they load, where their links lead, what their figures say."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Tags and attributes whose address a browser fetches without being asked.
LOADS = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
NOT_FETCHED = {"alternate", "author", "canonical", "help", "license", "me", "next", "prev"}
CSS_ADDRESS = re.compile(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")\s;]+)""")


class Page(HTMLParser):
    """The addresses, anchors and images of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[tuple[str, str | None]] = []
        self._in_style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_style = tag == "style"
        self.anchors |= {str(values[key]) for key in ("id", "name") if values.get(key)}
        kinds = set((values.get("rel") or "").split())
        if not (tag == "link" and kinds & NOT_FETCHED):
            for key in LOADS.get(tag, ()):
                value = values.get(key) or ""
                # A srcset lists several addresses; a comma in another is part of it.
                for part in value.split(",") if key == "srcset" else [value]:
                    self.loaded += part.split()[:1]
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append((str(values.get("src")), values.get("alt")))
        self.loaded += CSS_ADDRESS.findall(values.get("style") or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loaded += CSS_ADDRESS.findall(data)


def read_pages(site: Path) -> list[Page]:
    """Read every page of a site; theme fragments, which are no pages, are left out."""
    return [Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def is_outside(address: str) -> bool:
    """Tell whether an address names another host."""
    return bool(urlsplit(address).netloc)


def outside_loads(site: Path) -> list[str]:
    """List what pages and style sheets load from another host."""
    found = [
        f"{page.path.name} loads {address}"
        for page in read_pages(site)
        for address in page.loaded
        if is_outside(address)
    ]
    for sheet in sorted(site.rglob("*.css")):
        addresses = CSS_ADDRESS.findall(sheet.read_text(encoding="utf-8", errors="replace"))
        found += [f"{sheet.name} loads {address}" for address in addresses]
    return found


def broken_links(site: Path) -> list[str]:
    """List links and loads that lead to no file or no anchor of the site."""
    pages = {page.path.resolve(): page for page in read_pages(site)}
    broken = []
    for path, page in pages.items():
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file():
                broken.append(f"{page.path.name}: no file for {address}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                broken.append(f"{page.path.name}: no anchor for {address}")
    return broken


def images_without_words(site: Path) -> list[str]:
    """List images whose alternative text is missing, empty or only the file's name."""
    return [
        f"{page.path.name}: {source} has alt text {alt!r}"
        for page in read_pages(site)
        for source, alt in page.images
        if not alt or not alt.strip() or alt == source or "_images/" in alt
    ]


def heavy_pages(site: Path, most: int = 1_000_000) -> list[str]:
    """List pages that take more bytes with their pictures; what all pages share isn't counted."""
    found = []
    for page in read_pages(site):
        # A picture written into the page ("data:…") is part of its own bytes.
        sources = [source for source, _ in page.images if not source.startswith("data:")]
        pictures = {(page.path.parent / unquote(source)).resolve() for source in sources}
        weight = sum(path.stat().st_size for path in {page.path, *pictures} if path.is_file())
        if weight > most:
            found.append(f"{page.path.name}: {weight / 1e6:.2f} MB")
    return found
