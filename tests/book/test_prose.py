"""What prose takes from cells: claims pass in words and fail loudly; glued values are MyST-NB's."""

import numpy as np
import pytest

from tlhelpers import claim, runtime
from tlhelpers.book.prose import ClaimError, glue


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


def test_what_holds_is_printed(capsys):
    claim("frozen beats scratch", np.float32(0.25), at_least=0.1)
    claim("the error is small", 0.02, at_most=0.05)
    claim("about a half", 0.5, at_least=0.5, at_most=0.5)
    assert capsys.readouterr().out.splitlines() == [
        "✓ frozen beats scratch: 0.250, at least 0.100",
        "✓ the error is small: 0.020, at most 0.050",
        "✓ about a half: 0.500, at least 0.500 and at most 0.500",
    ]


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0.05, {"at_least": 0.1}),
        (0.2, {"at_most": 0.1}),
        (0.2, {"at_least": 0.3, "at_most": 0.4}),
        (0.5, {"at_least": 0.3, "at_most": 0.4}),
        (float("nan"), {"at_least": 0.1}),
        (float("nan"), {"at_most": 0.1}),
        (np.float64("-inf"), {"at_least": 0.0}),
    ],
)
def test_what_does_not_hold_stops_the_chapter(value, limits, capsys):
    with pytest.raises(ClaimError, match=r"The text says: tuning helps. Measured: .*it takes at "):
        claim("tuning helps", value, **limits)
    assert capsys.readouterr().out == ""


def test_in_colab_only_the_real_tier_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(runtime, "_chosen_tier", None)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260201")
    claim("tuning helps", 0.05, at_least=0.1)
    told = "✗ The text says: tuning helps. Measured: 0.050, where it takes at least 0.100. "
    assert capsys.readouterr().out.startswith(told)
    monkeypatch.setenv("TLH_TIER", "embedded")
    with pytest.raises(ClaimError):
        claim("tuning helps", 0.05, at_least=0.1)
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    monkeypatch.setenv("TLH_TIER", "real")
    with pytest.raises(ClaimError):
        claim("tuning helps", 0.05, at_least=0.1)


def test_a_claim_that_could_not_fail():
    with pytest.raises(ValueError, match="at_least or at_most"):
        claim("all is well", 1.0)
