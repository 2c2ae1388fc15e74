"""List the book's links to other sites, by page, and say which are malformed.

    python tests/tools/links.py          list them; exit 1 where one is malformed
    python tests/tools/links.py --try    ask for each once, which needs internet

No answer says nothing of a page: this machine, its network or the site may be what is in the way.
"""

import argparse
import http.client
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
# What a link in Markdown leads to, if it leads out or seems meant to: "http:/x.org", "www.x.org".
LINK = re.compile(
    r"\]\(\s*((?:[a-zA-Z][\w+.-]*:|//|www\.)(?:[^()\n]|\([^()\n]*\))*?)\s*\)|<(\w+://[^>\n]*)>"
)
NAMED = re.compile(r"^ *(doi|eprint|url) *= *\{(.*)\},?$", re.M)
RESOLVER = {"doi": "https://doi.org/", "eprint": "https://arxiv.org/abs/", "url": ""}
# Characters of RFC 3986, a host with a domain, and an end that belongs to no sentence around it.
FORM = re.compile(r"https://([a-z0-9-]+\.)+[a-z]{2,}(/([\w~:/?#@!$&'()*+,;=.-]|%[0-9A-F]{2})*)?")
DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/\S+")
OWN = re.compile(
    r"https://(colab\.research\.google\.com/)?github(\.com)?/[^/]+/transfer-learning-in-practice\b"
)
ARXIV = re.compile(r"https://arxiv\.org/abs/(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})")


def outside_links(book: Path = ROOT / "book") -> dict[str, list[str]]:
    """Return a book's links to other sites by page, works cited under their bibliography's name.

    The book's own repository, and Colab with it, is an address that whoever publishes it sets.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(book.iterdir()):
        links = dict.fromkeys(_links(path))
        kept = [link for link in links if not OWN.match(link)]
        if kept:
            found[path.stem] = kept
    return found


def _links(path: Path) -> Iterator[str]:
    """Yield the links to other sites that a file of the book names."""
    if path.suffix == ".bib":
        for kind, value in NAMED.findall(path.read_text("utf-8")):
            yield RESOLVER[kind] + value
    elif path.suffix in (".md", ".ipynb"):
        text = path.read_text("utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for inline, bracketed in LINK.findall(text):
            yield inline or bracketed


def malformed(link: str) -> bool:
    """Tell whether a link can't be meant: no https, no domain, a space, a sentence's full stop."""
    for host, form in (("doi.org", DOI), ("arxiv.org", ARXIV)):
        if urlsplit(link).netloc == host and urlsplit(link).path.strip("/"):
            return not form.fullmatch(link)
    return not FORM.fullmatch(link) or link[-1] in ".,;:!"


def answer(link: str, seconds: float = 15) -> str:
    """Ask for a link, and say what came of it."""
    asked = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(asked, timeout=seconds) as page:
            return "is there" if page.url == link else f"is there, and leads on to {page.url}"
    except urllib.error.HTTPError as error:  # many sites refuse programs: 403, 405, 429
        gone = error.code in (404, 410)
        return "is GONE" if gone else f"refused to answer a program ({error.code}): look at it"
    except (OSError, http.client.HTTPException) as error:
        return f"gave no answer ({getattr(error, 'reason', error)}): not known"


def main() -> int:
    """List the links of the book."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--try", action="store_true", dest="ask", help="ask for each link once")
    ask = parser.parse_args().ask
    pages = outside_links()
    every = list(dict.fromkeys(link for links in pages.values() for link in links))
    with ThreadPoolExecutor(8) as pool:
        asked = [link for link in every if not malformed(link)] if ask else []
        said = dict(zip(asked, pool.map(answer, asked), strict=True))
    for page, links in pages.items():
        print(page)
        for link in links:
            state = "is MALFORMED" if malformed(link) else said.get(link, "")
            print(f"  {link}  {state}".rstrip())
    wrong = [link for link in every if malformed(link) or said.get(link) == "is GONE"]
    unknown = sum("not known" in one or "look at" in one for one in said.values())
    tried = f", {len(asked) - unknown} answered" if ask else ", none was asked for"
    print(f"{len(every)} links to other sites on {len(pages)} pages{tried}, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
