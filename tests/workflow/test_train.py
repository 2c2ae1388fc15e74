"""The whole path on folders of drawn pets: results, a second run, refusals, and what is said."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from browser import DESKTOP, OVERFLOW, PHONE, WCAG, browser, open_page
from drawn_folder import draw_folder, plant_faults
from PIL import Image

import tlhelpers as tl
from tlhelpers.data.augmentation import Augmentation
from tlhelpers.transfer import recipes
from tlhelpers.workflow import evidence, report
from tlhelpers.workflow import export as exports
from tlhelpers.workflow import learn as learning
from tlhelpers.workflow import train as training
from tlhelpers.workflow.export import ExportError, missing_for
from tlhelpers.workflow.split import gather
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


def test_a_default_format_that_fails_is_left_out_and_one_that_was_asked_for_stops(
    tmp_path, few_controls, monkeypatch, capsys
):
    def broken(path):
        raise ImportError("DLL load failed")

    def other(path):
        return lambda images: np.tile([0.1, 0.9], (len(images), 1))

    monkeypatch.setattr(exports, "_write", lambda *a: a[2].write_bytes(b"a model"))
    monkeypatch.setattr(exports, "missing_for", lambda name: [])
    monkeypatch.setattr(training, "missing_for", lambda name: [])
    monkeypatch.setitem(exports._RUNNERS, "litert", other)
    monkeypatch.setitem(exports._RUNNERS, "onnx", broken)
    photos, out = tmp_path / "photos", tmp_path / "out"
    draw_folder(photos, 40)
    train_folder(photos, out, **QUICK | {"formats": None})
    assert "onnx was left out: The model could not be written" in capsys.readouterr().out
    assert not list(out.glob("model.tflite")) + list(out.glob("model.onnx"))
    assert tl.load_run(out / "model.keras").class_names == ("cat", "dog")
    card = json.loads((out / "card.json").read_text("utf-8"))
    assert [one["format"] for one in card["exports"]] == ["keras"]
    assert card["not_exported"]["litert"].startswith("model.tflite must give what the model gives")
    assert card["not_exported"]["onnx"].endswith("written as onnx and run: DLL load failed")
    page = (out / "report.html").read_text("utf-8")
    assert "onnx was left out: The model could not be written as onnx and run: DLL load" in page
    assert "<code>--export litert onnx</code>" in page
    train_folder(photos, out, **QUICK | {"formats": None})
    assert "Nothing has changed" in capsys.readouterr().out
    with pytest.raises(ExportError, match=r"model\.tflite must give"):
        train_folder(photos, out, **QUICK | {"formats": ("litert", "onnx")})
    assert (out / "report.html").read_text("utf-8") == page


def test_the_report_explains_a_near_tie(tmp_path):
    proof = exports.Proof("keras", "model.keras", 300, 1.0, 1e-7, 9.0)
    card = {"exports": [vars(proof)], "not_exported": {}, "network": {"input_size": 64}}
    assert "names another class" not in report._use(card, tmp_path)
    card["exports"] += [vars(proof) | {"format": "onnx", "agree": 299 / 300}]
    page = report._use(card, tmp_path)
    assert "99.67%" in page
    assert "the model gave two classes the same probability" in page


def test_a_file_that_cannot_be_used_is_a_change(tmp_path):
    """Else the list of such files beside an earlier result would be out of date."""
    draw_folder(tmp_path, 20)

    def key():
        return training._key(gather(tl.load_folder(tmp_path, image_size=64)), {}, {})

    keys = [key(), key()]
    for name in ("torn.png", "notes.txt"):
        (tmp_path / "cat" / name).write_bytes(b"no image")
        keys.append(key())
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_that_look_alikes_were_torn_apart_reaches_the_card(tmp_path):
    """Two bursts a class can't be on three sides; six may."""
    told = []
    for bursts in (4, 12):
        for burst in range(bursts):
            scene = np.random.default_rng(burst).integers(0, 256, (10, 10, 3), np.uint8)
            scene = Image.fromarray(scene).resize((80, 80), Image.Resampling.BICUBIC)
            folder = tmp_path / str(bursts) / ("open", "shut")[burst % 2]
            folder.mkdir(parents=True, exist_ok=True)
            for frame in range(10):
                scene.crop((frame % 3, frame % 2, 77, 77)).save(folder / f"{burst}_{frame}.png")
        pictures = gather(tl.load_folder(tmp_path / str(bursts), image_size=64))
        told.append(training._about_data(pictures, [])["torn"])
    assert told == [40, 0]


def test_what_decides_the_score_is_in_the_card_and_in_the_report(out, card, tmp_path):
    page = (out / "report.html").read_text("utf-8")
    assert card["settings"]["groups"] is None
    assert (card["data"]["fit"], card["data"]["grey_range"]) == ("crop", None)
    assert card["data"]["torn"] == 0
    assert card["data"]["cut"] == 0
    assert "cropped to the square in the middle, which cuts off 0% on average" in page
    assert "what looks alike; no <code>--groups</code>" in page
    assert "What belongs together was kept in one split." in page
    table = tmp_path / "who.CSV"
    table.write_text("file,group\na.png,p1\n")
    told = training._about_groups(str(table))
    assert (
        told
        == {
            "file": "who.CSV",
            "sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        }
        == training._about_groups(table)
    )
    assert f"3 groups by <code>who.CSV</code>, <code>sha256:{told['sha256'][:16]}" in (
        report._groups(told, 3)
    )
    pattern = training._about_groups(r"(<p>\d)_")
    assert "1 group by <code>(&lt;p&gt;\\d)_</code>" in report._groups(pattern, 1)
    tables = [training._about_groups({"a.png": one}) for one in ("p1", "p2")]
    assert tables[0] != tables[1]
    assert "a table given in Python, <code>sha256:" in report._groups(tables[0], 1)
    data = {"fit": "pad", "cut": 0.0, "grey_range": (0, 4095)}
    assert "black; in grey of more than 8 bits 0 to 4,095 become" in report._framing(data)


def test_a_model_that_would_seldom_answer_says_so_in_the_end(tmp_path, few_controls, capsys):
    written = draw_folder(tmp_path / "photos", 60)
    for name in sorted(written)[::2]:  # labels are chance
        path = tmp_path / "photos" / name
        other = {"cat": "dog", "dog": "cat"}[path.parent.name]
        path.rename(tmp_path / "photos" / other / path.name)
    train_folder(tmp_path / "photos", tmp_path / "out", **QUICK, wanted_error=0.01)
    assert re.search(
        r"“unsure” to \d+% of pictures like these, since it aims at 1.0% of wrong answers.*"
        r"--error.*\nThe report is",
        capsys.readouterr().out,
    )


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
    data = {"summary": {}, "torn": 0, "fit": "crop", "cut": 0.3}
    found = {"answered": 0.5, "wanted_error": 0.01}
    return {
        **{"score": score, "floors": {"majority": 0.5}, "data": data, "calibration": found},
        **rest,
    }


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


def test_what_spoils_the_result_is_said_first():
    card = lucky_card()
    assert "is" not in report.often_unsure(card)
    assert "too good" not in report._todo(card)
    assert "Cropping" not in report._todo(card)
    card["data"] |= {"torn": 40, "cut": 0.46}
    card["calibration"]["answered"] = 0.23
    first, second, *_, last = report._todo(card).split("<li>")[1:]
    assert "too good: 40 pictures that look alike were not kept on one side" in first
    assert "<code>--groups</code>" in first
    assert "“unsure” to 77% of pictures like these, since it aims at 1.0% of wrong" in second
    assert "Cropping to a square cuts off 46% of the pixels on average" in last
    assert "<code>--fit pad</code>" in last
    card["data"]["fit"] = "pad"
    assert "Cropping" not in report._todo(card)
    card["data"] |= {"counts": {}, "notes": [], "faults": []}
    said = report._folder(card)
    assert "What belongs together was kept" not in said
    assert "40 pictures that look alike were not kept in one split" in said


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


def test_no_view_makes_a_change_that_is_left_out(tmp_path, few_controls, monkeypatch, capsys):
    """Both trainings are real, and short; a warning would be an error here."""
    for split, n in (("train", 40), ("test", 12)):
        draw_folder(tmp_path / "photos" / split, n, seed=n, classes=("left", "right"))
    short = recipes.Training(1, 16, 1e-3)
    for name in ("fine_tuning", "from_scratch"):
        monkeypatch.setattr(recipes, name, lambda *a, **k: short)
    apply, drawn_by = Augmentation.apply, set()

    def spy(self, image, rng):
        drawn_by.add(self)
        return apply(self, image, rng)

    monkeypatch.setattr(Augmentation, "apply", spy)
    chosen = Augmentation(flip=False, shift=0)
    how = QUICK | {"minutes": 1e6, "scratch": True}
    train_folder(tmp_path / "photos", tmp_path / "out", **how, augmentation=chosen)
    card = json.loads((tmp_path / "out/card.json").read_text("utf-8"))
    assert card["fine_tuning"]["tried"]
    assert card["scratch"]["accuracy"]["n"] == 12
    assert drawn_by == {chosen}
    assert "another label" not in capsys.readouterr().out
    assert card["settings"]["augmentation"] == asdict(chosen)
    assert card["data"]["notes"] == []
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "<td>for fine-tuning and training from scratch: turned by up to 10°, scaled by" in page
    assert "; left out: flip, shift</td>" in page
    monkeypatch.setattr(learning, "choose", None)
    train_folder(tmp_path / "photos", tmp_path / "out", **how, augmentation=chosen)
    printed = capsys.readouterr().out
    assert "Nothing has changed" in printed
    assert "another label" not in printed
    with pytest.raises(TypeError):  # other views have other results, which need choosing
        train_folder(tmp_path / "photos", tmp_path / "out", **how)
    assert "--no-augment flip shift" in capsys.readouterr().out


def test_the_report_tells_of_views_where_there_were_some_or_they_were_chosen(out):
    assert "augmented views" not in (out / "report.html").read_text("utf-8")

    def views(tried, scratch, **changes):
        settings = {"augmentation": asdict(Augmentation(**changes))}
        tuning = {"tried": tried}
        return report._views({"settings": settings, "fine_tuning": tuning, "scratch": scratch})

    assert views(False, None) == ""
    assert views(False, None, flip=False) == "none were made; left out: flip"
    assert views(True, None) == (
        "for fine-tuning: mirrored left and right, turned by up to 10°, scaled by up to 15%, "
        "shifted by up to 10%, brightness and contrast changed by up to 20%"
    )
    none = {"flip": False, "rotate": 0, "zoom": 0, "shift": 0, "brightness": 0}
    assert views(False, {"seconds": 1.0}, **none) == (
        "for training from scratch: no change; left out: flip, rotate, zoom, shift, brightness"
    )


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


# In a process of its own: in that of the tests a library may have taken Ctrl-C for itself.
CTRL_C = """
import contextlib, signal, sys
from tlhelpers.workflow.train import _interruptible

def swallow():
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)

def wrap():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        raise RuntimeError("unknown failure") from error

def end():
    pass

def fail():
    raise RuntimeError("of its own")

signal.signal(signal.SIGINT, signal.default_int_handler)
for library in (globals()[sys.argv[1]], end, fail):
    try:
        with _interruptible():
            library()
    except BaseException as error:
        print(type(error).__name__, error)
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize("library", ["swallow", "wrap"])
def test_ctrl_c_ends_a_block_whose_library_catches_it(library):
    command = [sys.executable, "-c", CTRL_C, library]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        *("KeyboardInterrupt ", "True"),
        "True",
        *("RuntimeError of its own", "True"),
    ], done.stderr
