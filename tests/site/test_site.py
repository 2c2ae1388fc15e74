"""The site: its files, and every page in a real browser without a network.

The tests of the built site stand in one file, so that one of several workers builds it, once.
"""

import json

import browser as browsers
import matplotlib.pyplot as plt
import printing
import pytest
import site_check
import yaml
from building import BOOK, ROOT, needs_make

import tlhelpers as tl

TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]
CHAPTERS = [name for name in PAGES if (BOOK / f"{name}.ipynb").exists()]

# What axe finds that cannot be repaired here, with the reason: a rule and part of the element.
ALLOWED: dict[str, str] = {}


@needs_make
def test_the_site_has_every_page(site):
    assert [name for name in PAGES if not (site / f"{name}.html").is_file()] == []


@needs_make
def test_no_page_loads_anything_from_another_host(site):
    assert site_check.outside_loads(site) == []


@needs_make
def test_internal_links_and_anchors_resolve(site):
    assert site_check.broken_links(site) == []


@needs_make
def test_no_page_with_its_pictures_takes_more_than_a_megabyte(site):
    assert site_check.heavy_pages(site) == []
    lightest = min(page.stat().st_size for page in site.glob("*.html"))
    assert len(site_check.heavy_pages(site, lightest - 1)) == len(list(site.glob("*.html")))


@needs_make
def test_every_image_on_the_site_has_alt_text(site):
    assert site_check.images_without_words(site) == []


@pytest.fixture(scope="module")
def browser(chromium):
    pytest.importorskip("playwright.sync_api", reason="needs requirements.txt installed")
    pytest.importorskip("axe_playwright_python", reason="needs requirements.txt installed")
    with browsers.browser(chromium) as started:
        yield started


@pytest.fixture(scope="module")
def visits():
    """What was seen of each page: looked at once, for all tests."""
    return {}


@pytest.fixture(params=[*PAGES, "search"])
def visit(request, site, browser, visits):
    if request.param not in visits:
        visits[request.param] = browsers.inspect(browser, site / f"{request.param}.html")
    return visits[request.param]


@needs_make
@pytest.mark.browser
class TestEveryPage:
    def test_reports_no_error_and_asks_for_nothing_outside(self, visit):
        assert visit.problems == []
        assert visit.outside == []

    def test_is_no_wider_than_the_window(self, visit):
        assert visit.overflow == {1440: 0, 390: 0}

    def test_has_its_formulas_typeset(self, visit):
        formulas, typeset, wrong = visit.formulas
        assert (typeset, wrong) == (formulas, 0)

    def test_shows_its_figures_to_explore_without_a_kernel(self, visit):
        assert all(all(buttons) for buttons in visit.explorers)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_meets_wcag_levels_a_and_aa(self, visit, theme):
        assert [
            found
            for found in visit.violations[theme]
            if not any(found.startswith(rule) for rule in ALLOWED)
        ] == []


@needs_make
@pytest.mark.browser
@pytest.mark.parametrize("served", [False, True], ids=["file", "http"])
def test_the_search_finds_a_page(site, browser, served):
    context = browser.new_context(viewport=browsers.DESKTOP)
    with browsers.served(site) as address:
        start = address if served else site.resolve().as_uri()
        page, visit = browsers.open_page(context, f"{start}/search.html?q=calibration")
        links = page.wait_for_selector("#search-results ul.search a")
        assert links.get_attribute("href").split("?")[0].split("#")[0].split("/")[-1] in {
            f"{name}.html" for name in PAGES
        }
        assert visit.outside == []
        if served:
            assert visit.problems == []
    context.close()


@needs_make
@pytest.mark.browser
@pytest.mark.parametrize("visit", CHAPTERS, indirect=True)
def test_a_chapter_can_be_downloaded_and_opened_in_colab(site, visit, request):
    name = request.node.callspec.params["visit"]
    (download,) = set(visit.downloads)
    notebook = json.loads((site / download).read_text(encoding="utf-8"))
    assert notebook["cells"]
    assert (site / download).suffix == ".ipynb"
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    path = repository["url"].removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{path}/blob/{repository['branch']}/book/"
    assert set(visit.colab) == {f"{colab}{name}.ipynb"}


# The whole book as one file


def test_the_first_page_offers_the_pdf_file_only_where_it_is_made(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import page_fixes

    def body(page):
        context = {"body": '<p>a</p><section id="chapters">b</section>'}
        page_fixes.fix_page(None, page, "page.html", context, None)
        return context["body"]

    assert "book.pdf" not in body("index")
    monkeypatch.setenv("TLH_PDF", "book.pdf")
    assert body("index").count('<a href="book.pdf">') == 1
    assert "book.pdf" not in body("05_cats_dogs_vgg16")


@pytest.mark.browser
def test_a_page_is_printed(chromium, tmp_path):
    (tmp_path / "page.html").write_text("<!doctype html><title>x</title><p>Printed.", "utf-8")
    printing.print_page(chromium, tmp_path / "page.html", tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


# A figure to explore, without the book around it


def draw(depth, rate):
    figure, axis = plt.subplots(figsize=(5, 2))
    axis.plot([0, depth], [0, rate])
    return figure


@pytest.fixture
def explorer(browser, tmp_path):
    explorer = tl.widgets.explore(
        draw, {"depth": (1, 2, 3), "rate": (0.1, 0.01)}, start={"depth": 2}, alt="A line"
    )
    markup = f"<!doctype html><html lang=en><title>x</title><h1>x</h1>{explorer._repr_html_()}"
    (tmp_path / "page.html").write_text(markup, encoding="utf-8")
    context = browser.new_context(viewport=browsers.PHONE, java_script_enabled=False)
    page, visit = browsers.open_page(context, (tmp_path / "page.html").as_uri())
    yield page
    assert visit.problems == []
    context.close()


def shown(page):
    return [one.get_attribute("alt") for one in page.query_selector_all("img") if one.is_visible()]


@pytest.mark.browser
def test_a_figure_to_explore_follows_the_mouse_and_the_keyboard(explorer):
    assert shown(explorer) == ["A line (depth 2, rate 0.1)"]
    explorer.click("text='0.01'")
    assert shown(explorer) == ["A line (depth 2, rate 0.01)"]
    explorer.keyboard.press("Shift+Tab")
    explorer.keyboard.press("ArrowRight")
    assert shown(explorer) == ["A line (depth 3, rate 0.01)"]
    explorer.keyboard.press("Enter")  # sends no form
    assert shown(explorer) == ["A line (depth 3, rate 0.01)"]


@pytest.mark.browser
def test_two_copies_of_a_figure_to_explore_do_not_disturb_each_other(browser, tmp_path):
    markup = tl.widgets.explore(draw, {"depth": (1, 2), "rate": (1,)}, alt="A line")._repr_html_()
    (tmp_path / "page.html").write_text(f"<!doctype html>{markup}{markup}", encoding="utf-8")
    context = browser.new_context(viewport=browsers.DESKTOP)
    page, _ = browsers.open_page(context, (tmp_path / "page.html").as_uri())
    page.click("text='2' >> nth=1")
    assert shown(page) == ["A line (depth 1, rate 1)", "A line (depth 2, rate 1)"]
    context.close()


# The checks themselves


@pytest.mark.browser
def test_the_checks_find_what_they_look_for(browser, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html data-theme=light><p style='width: 2000px'>wide</p>"
        "<p style='color: #ccc'>pale</p><img src=gone.png>"
        "<script>console.error('told'); fetch('https://x.example/y'); undefined_function()</script>"
        "<script>matchMedia('(prefers-color-scheme: dark)').addEventListener("
        "'change', () => document.documentElement.dataset.theme = 'dark')</script>"
    )
    visit = browsers.inspect(browser, tmp_path / "bad.html")
    problems = "\n".join(visit.problems)
    for one in ("told", "undefined_function", "gone.png", "x.example/y"):
        assert one in problems
    assert visit.outside == ["https://x.example/y"]
    assert min(visit.overflow.values()) > 500
    for theme in ("light", "dark"):
        rules = {found.split(":")[0] for found in visit.violations[theme]}
        assert {"image-alt", "html-has-lang", "color-contrast"} <= rules
