"""Groups by a pattern, a mapping or a table, and the hint that there may be some."""

import re
from pathlib import Path

import pytest

from tlhelpers.data.groups import read_groups, suggest_groups

NAMES = ["ill/p1_a.png", "ill/p1_b.png", "well/p2_a.png", "well/x.png"]
GROUPS = ["p1", "p1", "p2", None]


@pytest.mark.parametrize(
    "groups",
    [
        r"(p\d+)_",
        r"p\d+(?=_)",
        {"p1_a.png": "p1", "p1_b.png": "p1", "p2_a.png": "p2"},
        {
            "ill/p1_a.png": "p1",
            "ill/p1_b.png": "p1",
            "well/p2_a.png": "p2",
            "well/x.png": float("nan"),
        },
        {"p1_a.png": "p1", "p1_b.png": "p1", "p2_a.png": "p2", "x.png": None, "gone.png": "p1"},
    ],
)
def test_patterns_and_mappings(groups):
    assert read_groups(groups, NAMES) == GROUPS


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("head", ["", "file{0}patient{0}{0}\n", "\ufeffwhich{0}patient\n"])
def test_tables(tmp_path, delimiter, head):
    path = tmp_path / "who.CSV"
    rows = "p1_a.png{0}p1\np1_b.png{0}p1\nwell/p2_a.png{0}p2{0}\nx.png{0}\n\n"
    path.write_text((head + rows).format(delimiter), encoding="utf-8")
    assert read_groups(path, NAMES) == read_groups(str(path), NAMES) == GROUPS


@pytest.mark.parametrize(
    "head",
    ["file age Group", "GROUPS age filename", "note group path", " path group", "group image"],
)
def test_columns_are_taken_by_their_names(tmp_path, head):
    columns, cells = head.split(" "), {"age": "40", "note": "", "": "7"}
    lines = [",".join(columns)]
    for name, group in zip(NAMES, ["p1", "p1", "p2", ""], strict=True):
        row = [group if "group" in one.lower() else cells.get(one, name) for one in columns]
        lines.append(",".join(row))
    (tmp_path / "who.csv").write_text("\n".join(lines))
    assert read_groups(tmp_path / "who.csv", NAMES) == GROUPS


@pytest.mark.parametrize("head", [",which,patient", "Unnamed: 0,file,patient"])
def test_the_numbers_of_rows_that_pandas_writes_are_no_files(tmp_path, head):
    rows = "0,p1_a.png,p1\n1,p1_b.png,p1\n2,well/p2_a.png,p2\n"
    (tmp_path / "who.csv").write_text(f"{head}\n{rows}")
    assert read_groups(tmp_path / "who.csv", NAMES) == GROUPS


@pytest.mark.parametrize(
    "head", ["file,age,patient", "p1_a.png,40,p1", "file,,", ",age,group", "name,group,age"]
)
def test_which_of_three_columns_is_the_group_is_not_guessed(tmp_path, head):
    rows = "p1_a.png,40,p1\np1_b.png,40,p1\n"
    (tmp_path / "who.csv").write_text(f"{head}\n{rows}")
    received = re.escape(head.split(",")[0])
    with pytest.raises(
        ValueError, match=rf"3 columns.*path, image.*\(group, .*Received: {received}"
    ):
        read_groups(tmp_path / "who.csv", NAMES)


def test_a_line_of_another_length_is_named(tmp_path):
    for rows, line in (
        ("file,group\np1_a.png,p1\n\np1, b.png,p1\n", r"p1, b.png,p1 in line 4, which has 3"),
        ("a,b\nx.png,p1,,\nx.png,p1,,2\n", r"x.png,p1,,2 in line 3, which has 4"),
        ("file,age,group\np1_a.png,4,p1\nx.png,p1\n", r"x.png,p1 in line 3, which has 2"),
    ):
        (tmp_path / "who.csv").write_text(rows)
        with pytest.raises(ValueError, match=line):
            read_groups(tmp_path / "who.csv", NAMES)


def test_numbers_and_paths_of_windows():
    assert read_groups({"p1_a.png": 1, "p1_b.png": 1}, NAMES) == ["1", "1", None, None]
    assert read_groups(None, NAMES) == [None] * 4
    assert read_groups({"p1_a.png": 1, "p1_b.png": 1.0}, NAMES) == ["1", "1", None, None]


def test_a_file_is_found_however_its_path_is_written(tmp_path):
    names = ["ill/\u00e9_1.png", "ill/e\u0301_2.png", "well/1.png", "ill/1.png"]
    keys = ["/home/me/photos/ill/e\u0301_1.png", ".\\ill\\\u00e9_2.png", "photos/well/1.png"]
    table = {**dict.fromkeys(map(Path, keys), "P1"), names[3]: "p\u0031 "}
    assert read_groups(table, names) == ["p1"] * 4
    path = tmp_path / "who.csv"
    path.write_text("\n".join(f"{key},P1" for key in keys), encoding="utf-8")
    assert read_groups(path, names) == ["p1"] * 3 + [None]


def test_a_pattern_that_finds_nothing_between_its_parentheses_gives_no_group():
    assert read_groups(r"_(p\d|)", ["a/1_p1.png", "a/2_.png", "a/3_x.png"]) == ["p1", None, None]


@pytest.mark.parametrize("groups", [["p1"], {"p1"}, 3, re.compile("p")])
def test_what_says_no_group_is_refused_in_a_sentence(groups):
    with pytest.raises(TypeError, match=r"groups must be a mapping.*Received: "):
        read_groups(groups, NAMES)


def test_two_groups_for_a_file_are_refused(tmp_path):
    (tmp_path / "who.csv").write_text("p1_a.png,p1\nx.png,p3\np1_a.png,p2\n")
    with pytest.raises(ValueError, match=r"one group. Received: p1 and p2 for ill/p1_a.png"):
        read_groups(tmp_path / "who.csv", NAMES)
    with pytest.raises(ValueError, match=r"one pair of parentheses.*with 2"):
        read_groups(r"(ill|well)/(p\d)", NAMES)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"regular expression.*'\(p'"):
        read_groups("(p", NAMES)
    with pytest.raises(ValueError, match=r"give a group to some files.*ill/p1_a.png"):
        read_groups("q", NAMES)
    with pytest.raises(ValueError, match="give a group to some files"):
        read_groups({}, NAMES)
    with pytest.raises(FileNotFoundError, match="no CSV file of groups"):
        read_groups(tmp_path / "none.csv", NAMES)
    for content in (b"", b"one\ntwo\n"):
        (tmp_path / "who.csv").write_bytes(content)
        with pytest.raises(ValueError, match="must have two columns"):
            read_groups(tmp_path / "who.csv", NAMES)
    (tmp_path / "who.csv").write_text("p1_a.png,p1\nfoo\n")
    with pytest.raises(ValueError, match=r"as the first: 2.*Received: foo in line 2"):
        read_groups(tmp_path / "who.csv", NAMES)
    (tmp_path / "who.csv").write_bytes("p1_a.png,ä".encode("utf-16"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_groups(tmp_path / "who.csv", NAMES)


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ([f"a/patient{n // 4}_{n % 4}.png" for n in range(40)], 10),
        ([f"a/p{n // 4:03}-{side}.png" for n in range(20) for side in ("left", "right")], 5),
        ([f"a/2024-05-{n // 6 + 1:02} {n}.jpg" for n in range(60)], 10),
        ([f"a/tom{n // 4}/{n}.png" for n in range(40)], 10),
        ([f"train/{c}/cow{n // 4}/{n}.png" for c in "ab" for n in range(40)], 10),
    ],
)
def test_names_that_suggest_groups(names, groups):
    hint = suggest_groups(names, ["a", "b"])
    assert f"suggest {groups} groups" in hint
    pattern = hint.split('groups=r"')[1].split('"')[0]
    assert len(set(read_groups(pattern, names))) == groups


@pytest.mark.parametrize(
    "names",
    [
        [f"a/{n}.png" for n in range(40)],
        [f"a/IMG_{n:04}.JPG" for n in range(40)],
        [f"a/cat.{n}.jpg" for n in range(40)],
        [f"a/image ({n}).jpg" for n in range(40)],
        [f"a/{hash((n, 1)):x}.jpg" for n in range(40)],
        [f"train/a/{n}.png" for n in range(40)],
        [],
    ],
)
def test_names_that_suggest_nothing(names):
    assert suggest_groups(names, ["a", "b"]) == ""
