"""Links to other sites: well formed, listed by page, and honestly reported when they are asked for."""

import sys

import links
import pytest
from servers import serving


def test_every_link_to_another_site_is_well_formed():
    pages = links.outside_links()
    assert {"01_concepts", "G_resources", "references"} <= set(pages)
    assert sum(map(len, pages.values())) > 80
    assert [link for found in pages.values() for link in found if links.malformed(link)] == []


@pytest.mark.parametrize(
    "link",
    [
        *("http://keras.io/", "https:/keras.io/", "www.keras.io", "https://keras/guides"),
        *("https://keras.io/a b", "https://keras.io/guides."),
        *("https://doi.org/10.1/x", "https://doi.org/https://doi.org/10.1109/5.726791"),
        *("https://arxiv.org/abs/2110.309", "https://arxiv.org/pdf/2110.03091v"),
    ],
)
def test_a_malformed_link_is_found(link, tmp_path):
    (tmp_path / "a.md").write_text(f"See [it]({link}), and [more](https://keras.io/).")
    (listed, fine) = links.outside_links(tmp_path)["a"]
    assert links.malformed(listed)
    assert not links.malformed(fine)


def test_links_are_listed_where_they_stand_and_the_books_own_are_not(tmp_path):
    own = "https://github.com/OWNER/transfer-learning-in-practice"
    (tmp_path / "a.md").write_text(
        f"[b](b.md#c) [o]({own}) <https://d2l.ai/> [w](https://en.wikipedia.org/wiki/A_(b))"
    )
    (tmp_path / "r.bib").write_text(
        "@a{x,\n  doi = {10.1109/5.726791},\n  eprint = {1711.05101}\n}"
    )
    assert links.outside_links(tmp_path) == {
        "a": ["https://d2l.ai/", "https://en.wikipedia.org/wiki/A_(b)"],
        "r": ["https://doi.org/10.1109/5.726791", "https://arxiv.org/abs/1711.05101"],
    }


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("here", "is there"),
        (404, "is GONE"),
        (403, "refused to answer a program (403): look at it"),
        ("hang up", "gave no answer"),
        ("garbage", "gave no answer"),
    ],
)
def test_what_came_of_asking_is_said(trouble, said, tmp_path):
    with serving(tmp_path) as server:
        server.troubles = [trouble]
        assert links.answer(f"{server.url}/x").startswith(said)


def test_a_malformed_link_is_not_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["links.py", "--try"])
    monkeypatch.setattr(links, "outside_links", lambda: {"a": ["www.keras.io", "https://d2l.ai/"]})
    monkeypatch.setattr(links, "answer", lambda link: {"https://d2l.ai/": "is there"}[link])
    assert links.main() == 1
    assert capsys.readouterr().out.endswith("1 answered, 1 wrong\n")


def test_the_list_says_that_nothing_was_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["links.py"])
    assert links.main() == 0
    listed = capsys.readouterr().out
    assert "G_resources\n  https://keras.io/guides/transfer_learning/\n" in listed
    assert listed.endswith("none was asked for, 0 wrong\n")
