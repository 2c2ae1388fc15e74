"""The whole path on folders of drawn pets: results, a second run, refusals, and what is said."""

import csv
import json
import re

import numpy as np
import pytest
from browser import DESKTOP, OVERFLOW, PHONE, WCAG, browser, open_page
from drawn_folder import draw_folder, plant_faults

import tlhelpers as tl
from tlhelpers.workflow import evidence, report
from tlhelpers.workflow import learn as learning
from tlhelpers.workflow import train as training
from tlhelpers.workflow.export import missing_for
from tlhelpers.workflow.train import train_folder

pytestmark = pytest.mark.slow  # a training takes some ten seconds

QUICK = {"backbone": "vgg16_mini", "formats": (), "minutes": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "photos"
    plant_faults(root, draw_folder(root, 90))
    (root / "dog/other.png").rename(root / "dog/<b>&amp;.png")
    return root


@pytest.fixture(scope="module")
def out(photos):
    place = photos.parent / "results"
    formats = () if missing_for("litert") else ("litert",)
    train_folder(photos, place, **{**QUICK, "formats": formats})
    return place


@pytest.fixture(scope="module")
def card(out):
    return json.loads((out / "card.json").read_text("utf-8"))


def test_the_score_is_cross_validated_and_says_so(card):
    score = card["score"]
    assert not score["held_out"]
    assert score["accuracy"]["n"] == card["data"]["n"] == sum(map(sum, score["confusion"]))
    assert score["accuracy"]["low"] < score["accuracy"]["value"] < score["accuracy"]["high"]
    assert len(score["repeats"]) == 3
    assert score["accuracy"]["value"] == pytest.approx(np.mean(score["repeats"]))
    sizes = np.array([row["n"] for row in score["by_class"]])
    difference = abs(score["balanced"]["value"] - score["accuracy"]["value"])
    assert (
        difference <= abs(sizes / sizes.sum() - 1 / len(sizes)).sum() + 1e-9
    )  # 0 where classes are even
    assert "may be somewhat too narrow" in score["covers"]
    assert card["fine_tuning"] == {
        "tried": False,
        "why": "there are too few images to tell whether it helps",
    }


def test_everything_the_report_promises_is_in_the_card(card):
    assert card["score"]["accuracy"]["value"] > card["floors"]["majority"]
    assert 0 < card["floors"]["pixels"]["value"] < 1
    assert {row["class"] for row in card["score"]["by_class"]} == {"cat", "dog"}
    assert card["calibration"]["temperature"] > 0
    assert 0.2 < card["calibration"]["answered"] <= 1
    assert card["calibration"]["wanted_error"] < 0.2
    assert [row["what"] for row in card["strangers"]["rows"]][-1].startswith(
        "a class of this folder"
    )
    assert (
        card["learning_curve"]["points"][-1]["labels"]
        > card["learning_curve"]["points"][0]["labels"]
    )
    assert len(card["alterations"]["rows"]) == 8
    assert card["naive_split"]["n_copies"] >= 6
    assert card["data"]["summary"]["left out"] == 1
    assert card["network"]["licence"]
    assert card["seconds"] > 0


def test_the_report_is_one_file_that_loads_nothing(out, card):
    page = (out / "report.html").read_text("utf-8")
    assert "http://" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert f"{card['score']['accuracy']['value']:.1%}" in page
    assert "&lt;b&gt;&amp;amp;.png" in page
    assert "<b>&amp;.png" not in page


def test_the_saved_model_predicts_what_was_judged(out, card, photos):
    run = tl.load_run(out / "model.keras")
    assert run.class_names == ("cat", "dog")
    assert run.threshold == pytest.approx(card["calibration"]["threshold"])
    table = run.predict(photos).set_index("file")
    known = table[table["class"].isin(["cat", "dog"])]
    given = [re.search("/(cat|dog)/", name)[1] for name in known.index]
    assert (known["class"] == given).mean() > 0.8
    assert table.loc[str(photos / "cat/torn.png"), "note"] == "truncated"
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    assert (run.predict(noise)["class"] == "unknown").mean() > 0.5


def test_labels_to_check_are_the_least_probable_first(out):
    with (out / "labels_to_check.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    probabilities = [float(row["probability_of_given"]) for row in rows]
    assert probabilities == sorted(probabilities)
    assert all(row["given"] != row["suggested"] for row in rows)


def test_a_second_run_computes_nothing_and_a_changed_folder_does(
    out, photos, card, capsys, monkeypatch
):
    monkeypatch.setattr(learning, "choose", None)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    train_folder(photos, out, **{**QUICK, "formats": tuple(card["settings"]["formats"])})
    assert "Nothing has changed" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(TypeError):  # another seed has other folds, which need choosing
        train_folder(photos, out, **QUICK, seed=1)


@pytest.fixture
def few_controls(monkeypatch):
    """Alter fewer pictures, and draw fewer strangers, where nobody looks at them."""
    monkeypatch.setattr(evidence, "ALTERED", 8)
    monkeypatch.setattr(evidence, "STRANGERS", 8)


def test_planted_wrong_labels_come_first_and_classes_and_fit_are_chosen(tmp_path, few_controls):
    draw_folder(tmp_path / "photos", 100)
    (tmp_path / "photos/owl").mkdir()
    moved = sorted((tmp_path / "photos/cat").iterdir())[:4]
    for path in moved:
        path.rename(tmp_path / "photos/dog" / f"wrong-{path.name}")
    chosen = {"classes": ["dog", "cat"], "fit": "pad"}
    train_folder(tmp_path / "photos", tmp_path / "out", **QUICK, **chosen)
    with (tmp_path / "out/labels_to_check.csv").open(encoding="utf-8") as file:
        first = [row["file"] for row in csv.DictReader(file)][:4]
    assert sum("wrong-" in name for name in first) >= 3
    card = json.loads((tmp_path / "out/card.json").read_text("utf-8"))
    assert card["classes"] == ["dog", "cat"]
    run = tl.load_run(tmp_path / "out/model.keras")
    assert run.card["input"]["fit"] == "pad"
    assert "the rest stays black" in (tmp_path / "out/use_keras.py").read_text("utf-8")
    with pytest.raises(ValueError, match="fit must be one of"):
        train_folder(tmp_path / "photos", tmp_path / "out", **QUICK, fit="squash")


def test_an_own_test_folder_is_the_score(tmp_path, few_controls):
    draw_folder(tmp_path / "photos/train", 60)
    draw_folder(tmp_path / "photos/test", 24, seed=5)
    train_folder(tmp_path / "photos", tmp_path / "out", **QUICK)
    card = json.loads((tmp_path / "out/card.json").read_text("utf-8"))
    assert card["score"]["held_out"]
    assert card["score"]["accuracy"]["n"] == 24
    assert card["score"]["everywhere"] is None  # own test images may be of another kind
    assert "does not cover training" in card["score"]["covers"]
    assert card["fine_tuning"]["why"] == "no time was left for it (--minutes)"


def lucky_card():
    accuracy = {"value": 1.0, "low": 0.991, "high": 1.0, "n": 409}
    score = {
        **{"held_out": True, "accuracy": accuracy, "without_weights": None, "balanced": accuracy},
        "everywhere": {"value": 0.987, "low": 0.981, "high": 0.991, "n": 2000},
        "by_class": [{"class": "cat", "n": 409, "recall": accuracy}],
    }
    told = {"strangers": {"rows": [{"what": "noise", "told": 1.0}, {"what": "one", "told": None}]}}
    rest = told | {
        "learning_curve": {"gain": None},
        "alterations": {"rows": []},
        "labels": {"rows": []},
    }
    return {"score": score, "floors": {"majority": 0.5}, "data": {"summary": {}}, **rest}


def test_a_lucky_test_split_is_not_the_whole_answer():
    card = lucky_card()
    said = report.headline(card)
    assert said.startswith("100.0% (99.1% to 100.0%) right on 409 photographs it never saw")
    assert "Of all 2,000, each named by a model that never saw it, 98.7% (98.1% to 99.1%)" in said
    assert "easier than the others by chance: expect 98.7%" in report._todo(card)
    assert "Unknown" not in report._todo(card)
    card["strangers"]["rows"][0]["told"] = 0.4
    assert "“Unknown” catches few strangers: 40% of noise" in report._todo(card)
    card["score"]["accuracy"]["value"] = 0.985
    assert "by chance" not in report._todo(card)


def test_a_class_is_weakest_only_where_chance_does_not_explain_it():
    card = lucky_card()
    recall = {"value": 0.9, "low": 0.8, "high": 0.97, "n": 40}
    card["score"]["balanced"] = {"value": 0.95, "low": 0.9, "high": 0.98, "n": 80}
    card["score"]["by_class"] = [{"class": "cat", "n": 40, "recall": recall}]
    assert "weakest" not in report._todo(card)
    recall["high"] = 0.94
    few = {"value": 0.33, "low": 0.06, "high": 0.99, "n": 3}  # lower, and may be chance
    card["score"]["by_class"].append({"class": "dog", "n": 3, "recall": few})
    assert "The weakest class is <b>cat</b>: 90.0%" in report._todo(card)


@pytest.mark.parametrize("error", [0.0, 1.0, float("nan")])
def test_an_impossible_error_rate_is_refused(tmp_path, error):
    with pytest.raises(ValueError, match="between 0 and 1"):
        train_folder(tmp_path, tmp_path / "out", wanted_error=error)
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "a file/cache"))
    (tmp_path / "a file").touch()
    monkeypatch.setattr(training, "load_folder", None)
    with pytest.raises(PermissionError, match="Set TLH_CACHE"):
        train_folder(tmp_path / "photos", tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["unknown", "Unsure", "unreadable"])
def test_a_class_called_as_an_answer_is_refused(tmp_path, name):
    draw_folder(tmp_path / "photos", 20, classes=("cat", name))
    with pytest.raises(ValueError, match=f"in place of a class.*Received: a folder {name}"):
        train_folder(tmp_path / "photos", tmp_path / "out", **QUICK)


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_a_browser_shows_the_report_without_fault(out, chromium, size, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with browser(chromium) as started:
        context = started.new_context(viewport=size, color_scheme=theme)
        page, visit = open_page(context, (out / "report.html").resolve().as_uri())
        options = {"preload": False, "resultTypes": ["violations"], "runOnly": WCAG}
        found = axe.Axe().run(page, options=options).response["violations"]
        assert page.evaluate(OVERFLOW) <= 0
        assert page.locator(".pictures img").first.evaluate("one => one.naturalWidth") > 0
    assert (visit.problems, visit.outside) == ([], [])
    assert [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]] == []
