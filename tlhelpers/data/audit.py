"""What was understood of a folder, as a page to read and an object to use."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_NAMED = 8  # files, classes or groups named before the rest is counted


@dataclass(frozen=True)
class FolderAudit:
    """What :func:`tlhelpers.load_folder` found, decided and left out; ``print`` shows it.

    Attributes:
        folder: The folder.
        class_names: The classes, in the order of the labels.
        counts: Images of each class, by the name of the split.
        split_folders: The folders each split was read from; none for a split that was carved.
        seed: The seed it was carved with.
        skipped: Files left out, each with the reason.
        copies: Groups of files in which the same picture is stored.
        near_copies: Groups of files that look the same but are not: other sizes, crops, turned.
        several_classes: Those of both that lie in several classes.
        groups: Number of groups that ``groups`` named.
        torn: Pictures that look so much alike that groups of them were not kept together.
        tiny: Pictures of less than 32 pixels, too small to look for near-copies of.
        fit: How pictures become square.
        cut: Share of the pixels that cropping cuts off, on average.
        most_cut: The file it cuts most of, and the share; None where nothing is cut.
        grey_range: Values that become 0 and 255, where grey has more than 8 bits; else None.
        grey_files: How many such files there are.
        settled: Whether no test picture can be in train once the folder has grown.
        notes: What may need a decision.
    """

    folder: Path
    class_names: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    split_folders: Mapping[str, tuple[str, ...]]
    seed: int
    skipped: tuple[tuple[Path, str], ...]
    copies: tuple[tuple[Path, ...], ...]
    near_copies: tuple[tuple[Path, ...], ...]
    several_classes: tuple[tuple[Path, ...], ...]
    groups: int
    torn: int
    tiny: int
    fit: str
    cut: float
    most_cut: tuple[Path, float] | None
    grey_range: tuple[int, int] | None
    grey_files: int
    settled: bool
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Write all of it, a line for each thing."""
        totals = [sum(of_class) for of_class in zip(*self.counts.values(), strict=True)]
        classes = [f"{name} {n:,}" for name, n in zip(self.class_names, totals, strict=True)]
        lines = [f"{count(len(totals), 'class', 'es')}: {first_few(classes)}"]
        for name, counts in self.counts.items():
            parts = ", ".join(
                f"{one} {n:,}" for one, n in zip(self.class_names, counts, strict=True)
            )
            if len(counts) > _NAMED:
                least, most = min(counts), max(counts)
                parts = f"{least:,}{'' if least == most else f' to {most:,}'} of each class"
            folders = self.split_folders[name]
            where = f"from {', '.join(folders)}" if folders else f"by content, seed {self.seed}"
            lines.append(f"{name} {sum(counts):,} ({where}): {parts}")
        if self.groups:
            lines.append(f"kept together: {count(self.groups, 'group')} of groups=")
        lines += self.what_is_wrong()
        if self.tiny:
            lines.append(
                f"{count(self.tiny, 'picture')} of less than 32 pixels: of those, only copies with "
                "the same pixels are found"
            )
        if self.most_cut:
            path, share = self.most_cut
            lines.append(
                f"cropped to a square: {self.cut:.0%} of the pixels are cut off on average, at most "
                f"{share:.0%} ({self.shown(path)})"
                + ('; fit="pad" keeps all' if self.cut > 0.3 else "")
            )
        if self.grey_range:
            low, high = self.grey_range
            lines.append(
                f"grey of more than 8 bits: {count(self.grey_files, 'file')}, in all of which the "
                f"values {low:,} to {high:,} become 0 to 255"
            )
        lines += [f"note: {note}" for note in self.notes]
        return "\n  ".join(
            [f"{printable(self.folder.resolve().name)}: {sum(totals):,} images", *lines]
        )

    def what_is_wrong(self) -> list[str]:
        """Return a line each on files skipped, on copies, and on copies in several classes."""
        lines = []
        if self.skipped:
            reasons = Counter(reason for _, reason in self.skipped)
            named = [f"{self.shown(path)} ({reason})" for path, reason in self.skipped]
            sums = f" ({first_few([f'{n:,} {r}' for r, n in reasons.most_common()])})"
            lines.append(
                f"{count(len(self.skipped), 'file')} skipped"
                f"{sums if len(self.skipped) > _NAMED else ''}: {first_few(named)}"
            )
        for groups, what in (
            (self.copies, "stored more than once, kept on one side"),
            (self.near_copies, "with near-copies, kept on one side"),
            (
                self.several_classes,
                "in more than one class, turned, mirrored or slightly changed ones counted",
            ),
        ):
            if groups:
                example = " = ".join(self.shown(path) for path in groups[0][:_NAMED])
                lines.append(f"{count(len(groups), 'picture')} {what}: {example}")
        return lines

    def shown(self, path: Path) -> str:
        """Write a path below the folder."""
        return printable(path.relative_to(self.folder).as_posix())


def count(number: int, noun: str, ending: str = "s") -> str:
    """Write a count with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def first_few(names: Iterable[str]) -> str:
    """Write the first names of a list, and how many more there are."""
    every = list(names)
    more = f", and {len(every) - _NAMED:,} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def printable(name: str) -> str:
    """Write a file's name so that any stream can print it and any file can hold it.

    Args:
        name: A name, which may hold line breaks, or bytes that are no text.

    Returns:
        The name, with escapes for those.

    Example:
        >>> printable("a" + chr(10) + "b")
        'a\\\\nb'
    """
    control = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in control else one
        for one in name
    )
