"""A real browser without a network, and what it reports while it shows a page."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PATIENCE = 120_000  # milliseconds; a busy machine is slow, not broken
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

TYPESET = """() => document.readyState == 'complete' &&
    document.querySelectorAll('mjx-container').length >= document.querySelectorAll('.math').length"""

# Every radio button of every explorer is chosen in turn; what is shown then must be the one
# state that carries the marks of all chosen buttons.
EXPLORERS = """() => [...document.querySelectorAll('.tl-explore')].map(explorer =>
    [...explorer.querySelectorAll('input')].map(button => {
        button.click();
        const marks = [...explorer.querySelectorAll('input:checked')].map(one => one.className);
        const seen = [...explorer.querySelectorAll('.tlx-state')].filter(
            state => getComputedStyle(state).display != 'none' && state.offsetHeight > 20);
        return seen.length == 1 && marks.every(mark => seen[0].classList.contains(mark));
    }))"""

# What axe need not see again and again, since it looks at each of thousands of elements for itself:
# code that is hidden, entries of the API beyond the first twenty, which one template makes, and of the
# words of code and of signatures that can be seen, all but three of each look.
FEWER_ALIKE = """() => {
    for (const hidden of document.querySelectorAll('pre')) {
        if (!hidden.checkVisibility()) hidden.textContent = hidden.textContent;
    }
    [...document.querySelectorAll('dl.py')].slice(20).forEach(entry => entry.remove());
    const seen = {};
    for (const word of document.querySelectorAll('pre span, dt.sig span, dt.sig em')) {
        if (!word.checkVisibility()) continue;
        const look = `${word.closest('pre, dt').parentElement.className} ${word.className}`;
        seen[look] = (seen[look] || 0) + 1;
        if (seen[look] > 3) word.replaceWith(...word.childNodes);
    }
    document.querySelectorAll('pre, dt').forEach(block => block.normalize());
}"""

ADDRESSES = "links => links.map(link => link.getAttribute('href'))"

# Two pictures after the window has changed, what follows it at once has followed. The theme waits for
# 0.3 s before it lets the keyboard reach what scrolls.
SLOWLY = 350  # milliseconds
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"


@dataclass
class Visit:
    """What a browser saw of one page.

    Attributes:
        problems: Errors in the console, uncaught exceptions, requests that failed.
        outside: Addresses on other hosts that were asked for.
        formulas: Formulas on the page, those that were typeset, and those with an error in them.
        overflow: By width of the window, how many pixels the page is wider than it.
        explorers: For each figure to explore, whether each of its buttons shows its picture.
        violations: By theme, what axe found against WCAG's levels A and AA.
        downloads: What the buttons for the page's source lead to.
        colab: What the links to Colab lead to.
    """

    problems: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    formulas: tuple[int, int, int] = (0, 0, 0)
    overflow: dict[int, int] = field(default_factory=dict)
    explorers: list[list[bool]] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    colab: list[str] = field(default_factory=list)


@contextmanager
def browser(chromium: str) -> Iterator[Any]:
    """Start the Chromium that is installed, without a screen and without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=PATIENCE)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def open_page(context: Any, address: str) -> tuple[Any, Visit]:
    """Open a page, wait until it is quiet, and note what goes wrong from now on."""
    visit = Visit()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on(
        "console",
        lambda message: visit.problems.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: visit.problems.append(str(error)))
    page.on(
        "requestfailed", lambda request: visit.problems.append(f"{request.url} {request.failure}")
    )
    page.on(
        "request",
        lambda request: (
            visit.outside.append(request.url)
            if urlsplit(request.url).hostname not in (None, "127.0.0.1")
            else None
        ),
    )
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page, visit


def inspect(started: Any, path: Path) -> Visit:
    """Look at one page as a file: on a desktop in the light theme, on a phone in the dark one."""
    from axe_playwright_python.sync_playwright import Axe

    context = started.new_context(viewport=DESKTOP, color_scheme="light")
    page, visit = open_page(context, path.resolve().as_uri())
    page.add_style_tag(content=STILL)
    page.wait_for_function(TYPESET)
    counts = [len(page.query_selector_all(one)) for one in (".math", "mjx-container", "mjx-merror")]
    visit.formulas = (counts[0], counts[1], counts[2])
    visit.downloads = page.eval_on_selector_all(".btn-download-source-button", ADDRESSES)
    visit.colab = page.eval_on_selector_all("a[href*='colab.research']", ADDRESSES)
    for size in (PHONE, DESKTOP):  # of the whole page, before any of it is taken away
        page.set_viewport_size(size)
        page.wait_for_function(SETTLED)
        visit.overflow[size["width"]] = page.evaluate(OVERFLOW)
    page.evaluate(FEWER_ALIKE)
    for size, theme in ((DESKTOP, "light"), (PHONE, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
        page.wait_for_timeout(SLOWLY)
        options = {"preload": False, "resultTypes": ["violations"], "runOnly": WCAG}
        found = Axe().run(page, options=options).response["violations"]
        visit.violations[theme] = [
            f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]
        ]
    visit.explorers = page.evaluate(EXPLORERS)
    context.close()
    return visit
