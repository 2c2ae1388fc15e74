"""Repair what the theme and its companions get wrong, and link the whole book as one file."""

import os
import re
from typing import Any

CITATION_ROLE = re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"')
CITATION_LIST_ROLE = re.compile(r'<div role="list" class="citation-list">')


def fix_page(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Change a page's context before it is written.

    - Thebe, which is switched off, still adds its settings, and adds them twice: an error in the
      browser's console.
    - Docutils gives citations a role that ARIA has withdrawn, inside a list that holds no items.
    - Without a default mode the theme reports an invalid one.
    - ``make pdf`` names the file it makes in ``TLH_PDF``; the first page then offers it.

    Args:
        app: The Sphinx application.
        page: Name of the page.
        template: Name of its template.
        context: What the template is given; changed in place.
        doctree: The page's content, or None.
    """
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', '')}".lower()
    ]
    if "body" in context:
        body = re.sub(
            r'<script type="text/x-thebe-config">.*?</script>', "", context["body"], flags=re.S
        )
        body = body.replace("<script>kernelName = 'python3'</script>", "")
        body = CITATION_ROLE.sub(r"\1", body)
        body = CITATION_LIST_ROLE.sub('<div class="citation-list">', body)
        if page == "index" and os.environ.get("TLH_PDF"):
            link = f'<p><a href="{os.environ["TLH_PDF"]}">The whole book as one PDF file</a></p>\n'
            body = body.replace('<section id="chapters">', link + '<section id="chapters">', 1)
        context["body"] = body
    context.setdefault("default_mode", "auto")


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx, after the other extensions."""
    app.connect("html-page-context", fix_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
