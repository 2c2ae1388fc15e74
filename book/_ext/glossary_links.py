"""Link the first use of each glossary term in a chapter's running text to the glossary."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

GLOSSARY = "F_glossary"
CHAPTER = re.compile(r"\d\d_")
# Words that chapters also use in another sense: linked in the chapter that introduces them, if any.
INTRODUCED = dict.fromkeys(("domain", "source", "target", "task"), "01")
INTRODUCED |= {"feature": "02", "leak": "02", "loss": "02", "cut": "04", "mirror": ""}
# A term inside one of these is no running text, or is a link already.
LEFT_ALONE = (
    nodes.Admonition, nodes.admonition, nodes.caption, nodes.literal, nodes.reference, nodes.table,
    nodes.title, addnodes.glossary, addnodes.pending_xref,
)  # fmt: skip


def terms_of(glossary: str) -> list[str]:
    """List the English terms of the glossary's text, longest first."""
    block = re.search(r"^```\{glossary\}\n(.*?)^```", glossary, re.M | re.S)
    terms = re.findall(r"(?:^|\n\n)([A-Za-z].*)", block[1]) if block else []
    return sorted(terms, key=len, reverse=True)


def link_first_uses(doctree: nodes.document, terms: list[str], page: str) -> None:
    """Turn the first use of each term, or of its plural, into a link to the glossary."""
    left = dict.fromkeys(one for one in terms if INTRODUCED.get(one, page[:2]) == page[:2])
    for text in list(doctree.findall(nodes.Text)):
        above, paragraph = text.parent, False
        while above is not None and not isinstance(above, LEFT_ALONE):
            paragraph = paragraph or isinstance(above, nodes.paragraph)
            above = above.parent
        if above is not None or not paragraph or not left:
            continue
        parts, rest = [], str(text)
        pattern = rf"\b({'|'.join(map(re.escape, left))})(e?s)?\b"
        while left and (found := re.search(pattern, rest, re.I)):
            term = next(one for one in left if one.lower() == found[1].lower())
            link = addnodes.pending_xref(
                "", nodes.inline("", found[0], classes=["glossary-term"]), refdoc=page,
                refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True,
            )  # fmt: skip
            parts += [nodes.Text(rest[: found.start()]), link]
            rest = rest[found.end() :]
            del left[term]
            pattern = rf"\b({'|'.join(map(re.escape, left))})(e?s)?\b"
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])


def on_page(app: Any, doctree: nodes.document) -> None:
    """Link a page's terms, where the book has a glossary and the page is a chapter."""
    glossary = Path(app.srcdir) / f"{GLOSSARY}.md"
    page = app.env.docname
    if CHAPTER.match(page) and glossary.is_file():
        link_first_uses(doctree, terms_of(glossary.read_text(encoding="utf-8")), page)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", on_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
