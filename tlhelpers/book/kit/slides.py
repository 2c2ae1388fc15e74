"""A chapter's figures as slides: one HTML file, which opens without internet and prints."""

from pathlib import Path
from typing import Any

from tlhelpers.book.kit.chapter import Chapter, source
from tlhelpers.book.kit.words import plain

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ nb.metadata.title | e }}</title>
<style>
html { scroll-snap-type: y mandatory; font: 1.25rem/1.4 system-ui, sans-serif; color: #1a1a1a; }
body { margin: 0; background: #fff; }
section { box-sizing: border-box; min-height: 100vh; padding: 3vh 5vw; scroll-snap-align: start;
  display: flex; flex-direction: column; justify-content: center; page-break-after: always; }
h1 { font-size: 2.4rem; } h2 { font-size: 1.6rem; margin: 0 0 1vh; }
figure { margin: 0; } img { max-width: 100%; height: 68vh; object-fit: contain; object-position: left; }
figcaption { font-size: 1rem; max-width: 60rem; }
</style>
</head>
<body>
<section><h1>{{ nb.metadata.title | e }}</h1><p>{{ nb.cells | length }} figures.
Arrow keys turn the pages.</p></section>
{% for cell in nb.cells %}
<section>
<h2>{{ cell.metadata.heading | e }}</h2>
<figure>
<img alt="{{ cell.metadata.alt | e }}" src="data:image/png;base64,{{ cell.outputs[0].data['image/png'] }}">
<figcaption>{{ cell.metadata.caption | e }}</figcaption>
</figure>
</section>
{% endfor %}
<script>
addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1};
  if (!(event.key in step)) return;
  event.preventDefault();
  const pages = [...document.querySelectorAll("section")];
  const at = pages.findIndex(page => page.getBoundingClientRect().bottom > innerHeight / 2);
  pages[Math.max(0, Math.min(pages.length - 1, at + step[event.key]))].scrollIntoView();
});
</script>
</body>
</html>
"""


def figures(chapter: Chapter) -> list[dict[str, Any]]:
    """Return a chapter's pictures as it stored them.

    Args:
        chapter: The chapter.

    Returns:
        For each its ``heading``, ``caption``, ``alt`` text and ``png``, in base64.

    Example:
        >>> figures(read_chapter("book/05_cats_dogs_vgg16.ipynb"))[0]["heading"]  # doctest: +SKIP
        'The classic fine-tune, line by line'
    """
    found, heading = [], chapter.title
    for cell in chapter.cells:
        if cell["cell_type"] == "markdown":
            heads = [line for line in source(cell).splitlines() if line.startswith("#")]
            heading = heads[-1].lstrip("# ") if heads else heading
        shown = cell["metadata"].get("mystnb", {})
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                found.append(
                    {
                        "heading": plain(heading, chapter),
                        "caption": plain(shown.get("figure", {}).get("caption", ""), chapter),
                        "alt": shown.get("image", {}).get("alt", ""),
                        "png": "".join(output["data"]["image/png"]).replace("\n", ""),
                    }
                )
    return found


def write_slides(chapter: Chapter, path: str | Path) -> Path:
    """Write a chapter's figures as slides.

    Args:
        chapter: The chapter.
        path: The HTML file.

    Returns:
        The same.

    Raises:
        ModuleNotFoundError: Where nbconvert is not installed.

    Example:
        >>> write_slides(chapter, "slides/05.html")  # doctest: +SKIP
        PosixPath('slides/05.html')
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    cells = []
    for shown in figures(chapter):
        picture = nbformat.v4.new_output("display_data", {"image/png": shown.pop("png")})
        cells.append(nbformat.v4.new_code_cell("", outputs=[picture], metadata=shown))
    document = nbformat.v4.new_notebook(cells=cells, metadata={"title": chapter.title})
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"figures.html.j2": TEMPLATE})], template_file="figures.html.j2"
    )
    page, _ = exporter.from_notebook_node(document)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")
    return path
