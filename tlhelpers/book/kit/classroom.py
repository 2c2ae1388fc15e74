"""One zip for a classroom without internet: notebooks, slides, what to install, what to look at."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

SHEET = """# Before the class: each machine

Run `tlhelpers doctor` on each machine. Every line should begin with `ok` or `note`; a line that
begins with `wrong` says what to do. On the machine where this kit was made it said:

```
{report}
```

| machine | doctor ends well | chapter 1 opens and its first cell runs | mirror found (real data only) |
| --- | --- | --- | --- |
{rows}
"""


def offline_section(guide: str) -> str:
    """Return what the instructor's guide says of a room without internet.

    Args:
        guide: The guide's text in Markdown.

    Returns:
        The section below the label ``(teaching-offline)=``, heading included.

    Raises:
        ValueError: If there is no such section.

    Example:
        >>> offline_section("(teaching-offline)=\\n## A room\\n\\nBring it.\\n\\n## Next")
        '## A room\\n\\nBring it.'
    """
    _, label, rest = guide.partition("(teaching-offline)=\n")
    if not label:
        raise ValueError(
            "The guide must have a section labelled (teaching-offline)=. Received: none."
        )
    return re.split(r"\n(?:\(\S+\)=\n)?## ", rest)[0].strip()


def doctor_sheet() -> str:
    """Return a sheet to tick off: what ``tlhelpers doctor`` says here, and lines for 30 machines.

    Returns:
        Markdown.

    Example:
        >>> doctor_sheet()[:24]  # doctest: +SKIP
        '# Before the class: each'
    """
    from tlhelpers.book.doctor import examine

    own = ("cache", "mirror")  # where these are differs from machine to machine
    report = "\n".join(str(found) for found in examine() if found.subject not in own)
    rows = "\n".join(f"| {machine} | | | |" for machine in range(1, 31))
    return SHEET.format(report=report, rows=rows)


def write_zip(path: str | Path, folders: Mapping[str, Path], texts: Mapping[str, str]) -> Path:
    """Write a zip of folders and texts; the same content makes the same file.

    Args:
        path: The zip.
        folders: By the name they get in it.
        texts: By the name they get in it.

    Returns:
        The same path.

    Example:
        >>> write_zip("room.zip", {}, {"README.md": "Hello"})  # doctest: +SKIP
        PosixPath('room.zip')
    """
    path = Path(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
        for name, folder in folders.items():
            for each in sorted(one for one in folder.rglob("*") if one.is_file()):
                inside = zipfile.ZipInfo(f"{name}/{each.relative_to(folder).as_posix()}")
                inside.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(inside, each.read_bytes())
    return path
