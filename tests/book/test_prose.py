"""Glued values: what MyST-NB would store, and nothing outside a notebook."""

import pytest

from tlhelpers.book.prose import glue


def test_the_output_is_the_one_of_myst_nb(monkeypatch):
    import IPython
    from IPython.core.interactiveshell import InteractiveShell
    from myst_nb.ext.glue import glue as myst_glue

    shell = InteractiveShell.instance()
    sent = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(
        shell.display_pub, "publish", lambda data, metadata=None, **_: sent.append((data, metadata))
    )
    try:
        glue("05-gain", "12 points")
        myst_glue("05-gain", "12 points", display=False)
    finally:
        InteractiveShell.clear_instance()
    assert len(sent) == 2
    assert sent[0][0] == sent[1][0]
    assert sent[0][1] == sent[1][1]


def test_nothing_happens_outside_a_notebook(capsys):
    glue("05-gain", 1.5)
    assert capsys.readouterr().out == ""


def test_a_name_is_needed():
    with pytest.raises(ValueError, match="name"):
        glue("", 1)
