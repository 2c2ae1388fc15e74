"""JPEG files with a hole: decoders fill it with grey and say nothing."""

import re

HOLE = bytes(64)
"""As many zeros in a row as coded pictures don't have, unless zeros are the code of nothing new."""

# A marker that ends coded data: a 255 there is followed by 0, or by the number of a restart.
_ENDING = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


def has_hole(content: bytes) -> bool:
    """Tell whether part of a JPEG file's picture was overwritten with zeros.

    So are files whose download was broken off, or whose disk lost a block. libjpeg goes on decoding,
    and Pillow keeps its warning to itself. Zeros are a Huffman code like any other: the one that a
    file's tables list first (ITU-T T.81, annex C). Where that means "no change" in all tables of a
    scan, a hole can't be told from a plain surface: of 25 photographs, that hid no hole in files as
    cameras write them or with optimised tables, five at quality 30, and nearly all in progressive
    files, whose later scans are not looked at.

    Example:
        >>> has_hole(bytes(1000))
        False
    """
    if content[:2] != b"\xff\xd8" or HOLE not in content:
        return False
    first: dict[int, int] = {}  # by class and number of a table, what the code of zeros means
    place = 2
    while (found := _ENDING.search(content, place)) and content[found.end() - 1] != 0xD9:
        start, kind = found.end(), content[found.end() - 1]
        place = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        segment = content[start + 2 : place]
        if kind == 0xC4:
            while len(segment) > 17:
                first[segment[0]] = segment[17]
                segment = segment[17 + sum(segment[1:17]) :]
        elif kind == 0xDA and len(segment) >= 6:
            end = found.end() if (found := _ENDING.search(content, place)) else len(content)
            if HOLE in content[place:end] and not _may_be_plain(segment, first):
                return True
    return False


def _may_be_plain(scan: bytes, first: dict[int, int]) -> bool:
    """Tell whether zeros may stand for what doesn't change, in a scan with this header."""
    tables = scan[2 : 1 + 2 * scan[0] : 2]
    begin, end, bits = scan[-3:]
    if bits >> 4:
        return True
    changes = [first.get(one >> 4, 0) for one in tables] if begin == 0 else []
    # The end of a block, or of many blocks.
    runs = [first.get(16 | one & 15, 0) for one in tables] if end else []
    return not any(changes) and all(one % 16 == 0 and one != 0xF0 for one in runs)
