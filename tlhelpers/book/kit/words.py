"""A chapter's text for readers outside the book: with no role, directive or link that needs its site."""

import ast
import functools
import re
import unicodedata
from pathlib import Path

from tlhelpers.book.kit.chapter import Chapter

DIRECTIVE = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{(?P<kind>[\w-]+)\} *(?P<title>[^\n]*)\n"
    r"(?P<options>(?::[\w-]+:[^\n]*\n)*)(?P<body>.*?)^(?P=fence) *$",
    re.M | re.S,
)
LABEL = re.compile(r"^\([\w-]+\)=\n", re.M)
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
LINK = re.compile(r"(?<!!)\[([^\[\]\n]*)\]\((#[\w-]+|[\w./-]+\.(?:ipynb|md)(?:#[\w-]+)?)\)")
ACCENT = re.compile(r"\{?\\(['\"`^~])\{?(\w)\}?\}?")
ACCENTS = dict(zip("'\"`^~", "\u0301\u0308\u0300\u0302\u0303", strict=True))


def plain(text: str, chapter: Chapter) -> str:
    """Return Markdown that reads well outside the book.

    Args:
        text: Markdown of the chapter.
        chapter: The chapter, whose outputs hold the numbers that ``{glue:text}`` shows.

    Returns:
        The same with numbers in place of their roles, works by author and year, admonitions as
        quotations, and only such links as lead to another chapter or out of the book.

    Example:
        >>> plain("As in [](05_cats.ipynb#freeze), {ref}`e23 <e23>`.", Chapter("09_x", [], ()))
        'As in [chapter 5](05_cats.ipynb), e23.'
    """
    works, glued = cited(chapter.folder / "references.bib"), _glued(chapter)

    def role(match: re.Match[str]) -> str:
        """Give what a role stands for."""
        name, content = match.groups()
        if name.startswith("glue"):
            return glued.get(content, content)
        if name.startswith("cite"):
            them = [works.get(key.strip(), (key.strip(), "")) for key in content.split(",")]
            if name == "cite:t":
                return ", ".join(f"{who} ({year})" if year else who for who, year in them)
            return f"[{'; '.join(' '.join(work).strip() for work in them)}]"
        if name == "numref":
            return f"the figure “{content.split('-', 2)[-1]}”"
        return re.sub(r" *<[^>]*>$", "", content)

    return LINK.sub(_link, ROLE.sub(role, LABEL.sub("", DIRECTIVE.sub(_directive, text))))


def _glued(chapter: Chapter) -> dict[str, str]:
    """Return the numbers that a chapter's outputs hold for its prose."""
    glued = {}
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is not None:
                value = "".join(output["data"].get("application/papermill.record/text/plain", ""))
                glued[name] = str(ast.literal_eval(value)) if value else ""
    return glued


def _directive(match: re.Match[str]) -> str:
    """Give a directive as Markdown: code as code, a figure by its caption, the rest as quotations."""
    kind, title, body = match["kind"], match["title"], match["body"].strip("\n")
    if kind == "code-block":
        return f"```{title}\n{body}\n```"
    if kind == "figure":
        alt = re.search(r"^:alt: *(.*)$", match["options"], re.M)
        return f"*{body.strip()}*" + (f" ({alt[1]}.)" if alt else "")
    lines = [f"**{title or kind.capitalize()}**", *([""] if body else []), *body.splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _link(match: re.Match[str]) -> str:
    """Give a link that leads to another chapter's file, or the words of one that leads nowhere."""
    words, page = match[1], match[2].partition("#")[0]
    if re.match(r"\d\d_", page):
        return f"[{words or f'chapter {int(page[:2])}'}]({page})"
    return words or f"appendix {page[:1]}"


@functools.cache
def cited(bibliography: Path) -> dict[str, tuple[str, str]]:
    """Read who wrote the works of a bibliography, and when.

    Args:
        bibliography: A BibTeX file.

    Returns:
        Authors and year by key; none where there is no such file.

    Example:
        >>> cited(Path("book/references.bib"))["he2016resnet"]  # doctest: +SKIP
        ('He et al.', '2016')
    """
    found = {}
    text = bibliography.read_text("utf-8") if bibliography.is_file() else ""
    for entry in re.split(r"^@", text, flags=re.M)[1:]:
        key = entry.partition("{")[2].partition(",")[0].strip()
        fields = dict(re.findall(r"^ *(author|year) *= *\{(.*)\},?$", entry, re.M))
        names = [name.partition(",")[0] for name in fields.get("author", key).split(" and ")]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        who = ACCENT.sub(lambda m: unicodedata.normalize("NFC", m[2] + ACCENTS[m[1]]), who)
        found[key] = re.sub(r"[{}\\]", "", who), fields.get("year", "")
    return found
