"""The report: one HTML file with everything in it, which opens offline, on a phone, in the dark."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from tlhelpers.data.audit import count
from tlhelpers.data.augmentation import CHANGES, Augmentation
from tlhelpers.data.images import read_image
from tlhelpers.files import write_atomically
from tlhelpers.workflow.drawing import bars, chart
from tlhelpers.workflow.split import Pictures

SHOWN = 12
"""Pictures shown of each kind; the tables beside the report have all."""

CUT = 0.3
"""Share of the pixels, on average, above which a crop is something to look at."""

_SIDE = 176

Card = dict[str, Any]


def write_report(path: Path, card: Card, pictures: Pictures) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        card: What was found, as ``card.json`` holds it.
        pictures: The images, of which a few are shown.
    """
    sections = [
        ("answer", "How good is it?", _answer(card)),
        ("classes", "Class by class", _classes(card)),
        ("mistakes", "Surest mistakes", _mistakes(card, pictures)),
        ("labels", "Labels to check", _labels(card, pictures)),
        ("unsure", "When it should say “unsure”", _unsure(card)),
        ("strangers", "Pictures of something else", _strangers(card)),
        ("more", "Would more labels help?", _more(card)),
        ("altered", "Other cameras, light and framing", _altered(card)),
        ("folder", "The folder", _folder(card)),
        ("use", "Using the model", _use(card, path.parent)),
        ("made", "How it was made, and limits", _made(card)),
    ]
    css = files("tlhelpers.workflow").joinpath("report.css").read_text("utf-8")
    menu = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{text}</section>' for key, title, text in sections
    )
    name = escape(card["folder"])
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: what the model can do</title><style>{css}</style></head><body><main>"
        f"<h1>{name}: {_listed(card['classes'])}</h1>"
        f'<p class="answer">{escape(headline(card))}</p><p class="soft">'
        f"{escape(card['score']['covers'])}</p>{_todo(card)}<nav>{menu}</nav>{body}"
        "</main></body></html>\n"
    )
    # A file's name may hold what no encoding has.
    write_atomically(path, page.encode("utf-8", "xmlcharrefreplace").decode("utf-8"))


def headline(card: dict[str, Any]) -> str:
    """Write the answer in a sentence, from a card."""
    score, floor = card["score"], card["floors"]["majority"]
    seen = "it never saw" if score["held_out"] else "predicted by models that never saw them"
    accuracy = score["accuracy"]
    uneven = ""
    if score["without_weights"]:
        uneven = f" Each class counted the same, {_said(score['balanced'])}."
    every = score["everywhere"]
    more = ""
    if every:
        more = (
            f" Of all {every['n']:,}, each named by a model that never saw it, {_said(every)} are "
            "right."
        )
    return (
        f"{_said(accuracy)} right on {accuracy['n']:,} photographs {seen}; guessing the commonest class gives {floor:.0%}."
        f"{more}{uneven}"
    )


def often_unsure(card: dict[str, Any]) -> str:
    """Say so, from a card, where fewer than half of the judged images would be answered, or ""."""
    found = card["calibration"]
    if found["answered"] >= 0.5:
        return ""
    return (
        f"tlhelpers predict will say “unsure” to {1 - found['answered']:.0%} of pictures like "
        f"these, since it aims at {found['wanted_error']:.1%} of wrong answers at most: correct "
        "the labels first; --error sets how many mistakes are accepted."
    )


def _todo(card: Card) -> str:
    """Say first what to do."""
    points = []
    data = card["data"]
    if data["torn"]:
        points.append(
            f"The score may be too good: {count(data['torn'], 'picture')} that look alike were not "
            "kept on one side of the split. If they are frames of a film, or show one thing, "
            "<code>--groups</code> says so."
        )
    if unsure := often_unsure(card):
        points.append(f'{escape(unsure)} See <a href="#unsure">what that costs</a>.')
    score, every = card["score"], card["score"]["everywhere"]
    if every and not every["low"] <= score["accuracy"]["value"] <= every["high"]:
        easier = score["accuracy"]["value"] > every["value"]
        points.append(
            f"The test images are {'easier' if easier else 'harder'} than the others by chance: "
            f"expect {_share(every)} rather than {score['accuracy']['value']:.1%}."
        )
    doubtful = len(card["labels"]["rows"])
    if doubtful:
        points.append(
            f'Check {count(doubtful, "label")} (<a href="#labels">labels_to_check.csv</a>, the most '
            "doubtful first), correct them, and train again."
        )
    weak = [  # beyond the interval
        row
        for row in score["by_class"]
        if row["n"] and row["recall"]["high"] < score["balanced"]["value"]
    ]
    if weak:
        worst = min(weak, key=lambda row: row["recall"]["value"])
        points.append(
            f"The weakest class is <b>{escape(worst['class'])}</b>: {_share(worst['recall'])} of its "
            f"{worst['n']:,} images are recognised."
        )
    curve = card["learning_curve"]
    if curve["gain"] is not None and curve["low"] > 0:
        points.append('More labels are likely to help: see <a href="#more">the curve</a>.')
    if data["fit"] == "crop" and data["cut"] > CUT:
        points.append(
            f"Cropping to a square cuts off {data['cut']:.0%} of the pixels on average: "
            "<code>--fit pad</code> keeps all."
        )
    summary = data["summary"]
    torn = summary.get("leak between splits", 0)
    if torn:
        points.append(
            f"{count(torn, 'image')} of your training folders "
            f"{'is' if torn == 1 else 'are'} also in a later split, and "
            f"{'was' if torn == 1 else 'were'} left out of training."
        )
    if summary.get("in several classes"):
        points.append(
            f"{count(summary['in several classes'], 'picture')} in more than one class, turned, "
            "mirrored or slightly changed ones counted: see "
            '<a href="#folder">the folder</a>.'
        )
    altered = [row for row in card["alterations"]["rows"] if row["changed"] > 0.1]
    if altered:
        most = max(altered, key=lambda row: row["changed"])
        points.append(
            f"Answers are not stable where pictures are {escape(most['what'])}: "
            f"{most['changed']:.0%} change."
            if "turned" in most["what"] or "bright" in most["what"]
            else f"Answers are not stable under “{escape(most['what'])}”: {most['changed']:.0%} change."
        )
    told = [row for row in card["strangers"]["rows"] if row["told"] is not None]
    least = min(told, key=lambda row: row["told"], default=None)
    if least and least["told"] < 0.5:
        points.append(
            f"“Unknown” catches few strangers: {least['told']:.0%} of {escape(least['what'])}. One or "
            'two odd pictures in a small folder set its limit: see <a href="#folder">the folder</a>.'
        )
    items = "".join(f"<li>{point}</li>" for point in points) or "<li>Nothing that stands out.</li>"
    return f'<div class="todo"><h2>What to look at next</h2><ul>{items}</ul></div>'


def _answer(card: Card) -> str:
    """Compare with the floors, and say which model it is."""
    score, floors = card["score"], card["floors"]
    rows = [("commonest class", floors["majority"], floors["majority"], floors["majority"])]
    rows.append(("pixels alone", *_three(floors["pixels"])))
    if card["scratch"]:
        rows.append(("trained from scratch", *_three(card["scratch"]["accuracy"])))
    kept = card["fine_tuning"].get("kept")
    rows.append(("fine-tuned" if kept else "this model", *_three(score["accuracy"])))
    figure = bars(rows, title="; ".join(f"{name} {value:.1%}" for name, value, _, _ in rows))
    text = (
        f"<p>Balanced accuracy, in which each class counts the same: {_share(score['balanced'])}. "
        "“Pixels alone” is a linear model of 16 × 16 pixels: what colour and layout give away."
    )
    if score["without_weights"]:
        plain = score["without_weights"]
        text += (
            " Classes differ in size, so each was given the same weight; without that, balanced "
            f"accuracy is {plain['balanced']:.1%} (accuracy {plain['accuracy']:.1%})."
        )
    if score["repeats"]:
        text += (
            f" The score is the mean of {len(score['repeats'])} divisions into folds, which gave "
            f"{', '.join(f'{value:.1%}' for value in score['repeats'])}."
        )
    if score["pool"]:
        text += (
            f" On the {score['pool']['n']:,} images to learn from, each predicted by a model fitted "
            f"without it, the frozen network reaches {_share(score['pool'])}."
        )
    if card["scratch"]:
        text += (
            f" Trained from scratch, on train alone, it reaches {_share(card['scratch']['accuracy'])} "
            f"of the {card['scratch']['accuracy']['n']:,} images of the test split."
        )
    naive = card["naive_split"]
    if naive:
        text += (
            f"</p><p>{naive['share']:.0%} of the images are copies, near-copies or share a group. "
            "Cross-validated on the whole folder, the score reads "
            f"{naive['torn']:.1%} where they may lie on both sides, and <b>{naive['whole']:.1%}</b> "
            f"where they are kept on one; of those {naive['n_copies']:,} images alone, "
            f"{naive['torn_copies']:.1%} against {naive['whole_copies']:.1%}."
        )
    return f"{figure}{text}</p><p>{_tuning(card['fine_tuning'])}</p>"


def _probability(value: float) -> str:
    """Write a probability; one near 1 with the digits that tell it from 1."""
    return f"{value:.2f}" if value < 0.995 else f"{value:.4f}"


def _tuning(tuning: Card) -> str:
    """Say what became of fine-tuning."""
    if not tuning["tried"]:
        return f"Fine-tuning was not tried: {escape(tuning['why'])}."
    gain = f"{100 * tuning['gain']:+.1f} points ({100 * tuning['low']:+.1f} to {100 * tuning['high']:+.1f})"
    verdict = "so it was kept" if tuning["kept"] else "so the frozen network was kept"
    return f"Fine-tuning changed the accuracy on {tuning['n']:,} validation images by {gain}, {verdict}."


def _classes(card: Card) -> str:
    """Write precision and recall, and who is taken for whom."""
    rows = [
        (
            escape(row["class"]),
            f"{row['n']:,}",
            _share(row["precision"]),
            _share(row["recall"]),
        )
        for row in card["score"]["by_class"]
    ]
    head = ("class", "images", "precision: right when it says so", "recall: of those there are")
    table = _table(head, rows, numbers={1})
    if card["score"]["repeats"]:
        table += (
            "<p class='soft'>Here the probabilities of all divisions into folds are averaged for each "
            "image, which tends to be right more often than the single predictions of the score.</p>"
        )
    names, counts = card["classes"], card["score"]["confusion"]
    if len(names) > 30:
        pairs = sorted(
            (
                (n, names[i], names[j])
                for i, row in enumerate(counts)
                for j, n in enumerate(row)
                if i != j and n
            ),
            reverse=True,
        )[:30]
        confused = [(escape(a), escape(b), f"{n:,}") for n, a, b in pairs]
        return table + _table(("label", "taken for", "images"), confused, numbers={2})
    lines = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row) or 1
        cells = "".join(
            f'<td style="background:rgba(var(--heat),{0.35 * n / total:.2f})">{n:,}</td>'
            for n in row
        )
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    head_row = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    return (
        f"{table}<h3>Who is taken for whom</h3><p class='soft'>Rows: the label. Columns: the "
        f"answer.</p><div class='scroll' tabindex='0'><table class='confusion'><tr><th></th>{head_row}</tr>"
        f"{''.join(lines)}</table></div>"
    )


def _mistakes(card: Card, pictures: Pictures) -> str:
    """Show the surest mistakes."""
    rows = card["mistakes"]
    if not rows:
        return f"<p>None: all {card['score']['accuracy']['n']:,} were named rightly.</p>"
    shown = [
        (
            row,
            f"labelled <b>{escape(row['label'])}</b>, answered <b>{escape(row['answer'])}</b> "
            f"({row['probability']:.0%})",
        )
        for row in rows[:SHOWN]
    ]
    of = f", the {len(shown)} surest of which are" if len(rows) > len(shown) else ""
    return f"<p>{count(len(rows), 'mistake')}{of} shown here.</p>{_gallery(shown, pictures)}"


def _labels(card: Card, pictures: Pictures) -> str:
    """Show the images whose label to check."""
    rows = card["labels"]["rows"]
    if not rows:
        return "<p>Models fitted on the other images agree with every label.</p>"
    shown = [
        (
            row,
            f"labelled <b>{escape(row['given'])}</b>; looks like <b>{escape(row['suggested'])}</b> "
            f"({1 - row['probability_of_given']:.0%} against the label)",
        )
        for row in rows[:SHOWN]
    ]
    return (
        f"<p>Of {card['labels']['n']:,} images, {len(rows):,} have a label that models fitted on the "
        "<em>other</em> images find less likely than another. Some are wrong labels, some are hard "
        "pictures. All are in <code>labels_to_check.csv</code>, the most doubtful first.</p>"
        f"{_gallery(shown, pictures)}"
    )


def _unsure(card: Card) -> str:
    """Draw calibration, and coverage against accuracy."""
    found = card["calibration"]
    curves = [
        (name, list(zip(found[key]["confidence"], found[key]["accuracy"], strict=True)))
        for name, key in (("as shipped", "after"), ("before tempering", "before"))
    ]
    low = min(point for _, points in curves for pair in points for point in pair)
    low = min(0.8, max(0, math.floor(5 * low)) / 5)
    calibration = chart(
        curves,
        title="Share right against stated probability, before and after tempering",
        across="stated probability",
        up="share right",
        limits=(low, 1.0, low, 1.0),
        diagonal=True,
    )
    worst = min(right for _, right in found["coverage"])
    span = next(
        span for span in (0.04, 0.08, 0.2, 0.4, 1.0) if span >= 1 - worst
    )  # for round ticks
    marks = (
        [(found["answered"], f"threshold {_probability(found['threshold'])}")]
        if found["threshold"]
        else []
    )
    least = min(0.2, *(answered for answered, _ in found["coverage"]))
    coverage = chart(
        [("", found["coverage"])],
        title="Accuracy of the answers that are given, against the share of images answered",
        across="share of images answered, the surest first",
        up="right among these",
        limits=(least, 1.0, 1 - span, 1.0),
        marks=marks,
    )
    wanted, error = found["wanted_error"], found["error_of_answered"]
    if found["threshold"] == 0:
        says = f"No threshold is needed for {wanted:.1%} of wrong answers: it always answers."
    elif found["answered"] < 0.5:
        says = (
            f"<span class='warn'>{wanted:.1%} of wrong answers can hardly be had: it would say "
            f"“unsure” below {_probability(found['threshold'])}, and answer only {found['answered']:.1%} of "
            "the judged images.</span> Correct the labels first, or allow more with "
            "<code>--error</code>."
        )
    else:
        says = (
            f"For {wanted:.1%} of wrong answers it says “unsure” below a probability of "
            f"<b>{_probability(found['threshold'])}</b>. It then answers {found['answered']:.1%} of the judged "
            f"images, and {_share(error)} of these answers are wrong."
        )
    how = (
        "The threshold was chosen on other images than these."
        if card["score"]["held_out"]
        else "The threshold was chosen on these same images, so expect a little worse."
    )
    weighted = (
        " Since classes were given the same weight, probabilities are as if all were equally common."
        if card["score"]["without_weights"]
        else ""
    )
    return (
        f"<p>{says} {how}</p>{coverage}<h3>Can its probabilities be believed?</h3><p>The mean gap "
        f"between stated probability and share right is {found['before']['error']:.1%} before and "
        f"{found['after']['error']:.1%} after its logits are divided by {found['temperature']:.2f}, "
        f"which the saved model does. Of true probabilities of as many images it would be about "
        f"{found['by_chance']:.1%}, by chance.{weighted}</p>{calibration}"
    )


def _strangers(card: Card) -> str:
    """Say how well strange pictures are told."""
    found = card["strangers"]
    rows = [
        (
            escape(row["what"]),
            f"{row['n']:,}" if row["n"] else "",
            f"{row['auroc']:.3f}",
            "" if row["told"] is None else f"{row['told']:.0%}",
        )
        for row in found["rows"]
    ]
    head = ("strangers", "n", "AUROC", "called unknown")
    return (
        "<p><code>tlhelpers predict</code> says “unknown” where a picture's features are further from "
        "the training images than 99 % of those are from each other. Of this folder's own judged "
        f"images, {found['own_called_unknown']:.1%} are called unknown. AUROC is the chance that a "
        "stranger is further away than an own image: 1 always, 0.5 a coin.</p>"
        f"{_table(head, rows, numbers={1, 2, 3})}<p class='soft'>Drawings and noise are easy "
        "strangers; a class much like yours is a harder one, and the last row tries that. The "
        "exported files give probabilities only; “unknown” needs this package.</p>"
    )


def _more(card: Card) -> str:
    """Draw the learning curve."""
    found = card["learning_curve"]
    points = found["points"]
    if len(points) < 2:
        return "<p>Too few images to tell.</p>"
    low, high = min(point["least"] for point in points), max(point["most"] for point in points)
    room = max(0.01, 0.15 * (high - low))
    figure = chart(
        [("", [(point["labels"], point["accuracy"]) for point in points])],
        title="Accuracy against number of labelled images",
        across="labelled images",
        up="accuracy",
        limits=(0, points[-1]["labels"], max(0.0, low - room), min(1.0, high + room)),
        percent_across=False,
    )
    if found["gain"] is None:
        return figure
    gain = f"{100 * found['gain']:+.1f} points ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
    if found["low"] > 0:
        says = f"The last doubling brought {gain}: more labels are likely to help."
    else:
        says = (
            f"The last doubling changed accuracy by {gain}, in which no gain can be told from chance. "
            "Correcting labels may do more than adding images."
        )
    return (
        f"<p>{says}</p>{figure}<p class='soft'>Heads on the frozen network, with the penalty chosen "
        "on all labels; below all of them, means of three draws. The interval covers which images "
        "were judged.</p>"
    )


def _altered(card: Card) -> str:
    """Write how answers change with the picture."""
    found = card["alterations"]
    rows = [("as they are", _share(found["plain"]), "")]
    rows += [
        (escape(row["what"]), _share(row["accuracy"]), f"{row['changed']:.1%}")
        for row in found["rows"]
    ]
    return (
        f"<p>{found['n']:,} of the judged images, altered, and named again.</p>"
        f"{_table(('pictures', 'right', 'other answer'), rows, numbers={2})}"
    )


def _folder(card: Card) -> str:
    """Write what the folder holds, and what is wrong in it."""
    data = card["data"]
    rows = []
    for split, counts in data["counts"].items():
        where = ", ".join(data["split_folders"].get(split, ())) or "divided by content"
        listed = ", ".join(
            f"{escape(name)} {n:,}" for name, n in zip(card["classes"], counts, strict=True)
        )
        rows.append((split, f"{sum(counts):,}", escape(where), listed))
    table = _table(("split", "images", "from", "classes"), rows, numbers={1})
    notes = "".join(f"<li>{escape(note)}</li>" for note in data["notes"])
    parts = [table, f"<ul>{notes}</ul>" if notes else ""]
    for kind, n in data["summary"].items():
        some = [fault for fault in data["faults"] if fault["kind"] == kind][:50]
        items = "".join(
            f"<li>{' = '.join(map(escape, fault['files'][:8]))}"
            + (f" <small>({escape(fault['detail'])})</small></li>" if fault["detail"] else "</li>")
            for fault in some
        )
        rest = f"<li>and {n - len(some):,} more</li>" if n > len(some) else ""
        parts.append(
            f"<details><summary>{escape(kind)}: {n:,}</summary><ul>{items}{rest}</ul></details>"
        )
    if not data["summary"]:
        parts.append("<p>No unreadable, tiny or plain pictures and no copies were found.</p>")
    together = "What belongs together was kept in one split"
    if data["torn"]:
        together = (
            f"{count(data['torn'], 'picture')} that look alike were not kept in one split: they are "
            "more than half of a class, or leave it fewer than three scenes"
        )
    parts.append(
        f"<p class='soft'>Nothing was deleted or changed. {together}. The whole list is "
        "<code>audit.csv</code>.</p>"
    )
    return "".join(parts)


def _use(card: Card, folder: Path) -> str:
    """Say which files there are, that they agree, and how to use them."""
    rows = [
        (
            f"<code>{escape(one['file'])}</code>",
            f"{one['megabytes']:.1f} MB",
            f"{one['agree']:.2%}",
            f"{one['difference']:.1e}",
            f"{one['n']:,}",
        )
        for one in card["exports"]
    ]
    head = ("file", "size", "same class as judged", "largest difference", "images")
    parts = [
        "<p>With this package: <code>tlhelpers predict model.keras new/ --csv answers.csv</code>. "
        "Without it, each file takes RGB images of "
        f"{card['network']['input_size']} × {card['network']['input_size']} pixels with values from "
        "0 to 255 (preprocessing is inside) and gives a probability for each class. Each was loaded "
        "again and run on every judged image:</p>",
        _table(head, rows, numbers={1, 2, 3, 4}),
    ]
    if any(one["agree"] < 1 for one in card["exports"]):
        parts.append(
            "<p class='soft'>Where a file names another class, the model gave two classes the same "
            "probability, to within twice the largest difference.</p>"
        )
    everything = [*(one["format"] for one in card["exports"][1:]), *card["not_exported"]]
    for name, reason in card["not_exported"].items():
        parts.append(
            f"<p class='warn'>{escape(name)} was left out: {escape(reason.rstrip('.'))}. Once that is "
            'put right (<code>pip install "tlhelpers[export]"</code> installs what writes and checks '
            f"exports), train again with <code>--export {' '.join(everything)}</code>.</p>"
        )
    for one in card["exports"]:
        script = folder / f"use_{one['format']}.py"
        if script.exists():
            parts.append(
                f"<details><summary>{script.name}</summary><pre>"
                f"{escape(script.read_text('utf-8'))}</pre></details>"
            )
    return "".join(parts)


def _made(card: Card) -> str:
    """Write what was used."""
    network, settings = card["network"], card["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items() if number)
    machine, kept = card["machine"], card["fine_tuning"].get("kept")
    rows = [
        ("images", f"{card['data']['n']:,}, <code>{escape(card['data']['digest'][:23])}…</code>"),
        ("what belongs together", _groups(settings["groups"], card["data"]["groups"])),
        ("framing", _framing(card["data"])),
        (
            "network",
            f"{escape(network['name'])} up to {escape(network['stage'])}, "
            f"{network['parameters']:,} parameters; {escape(network['paper'])}",
        ),
        (
            "weights",
            f"{escape(network['source'])}: {escape(network['file'])}, "
            f"<code>sha256:{network['sha256'][:16]}…</code>",
        ),
        ("licence of the weights", escape(network["licence"])),
        (
            "head",
            f"{'fine-tuned with the network; first ' if kept else ''}logistic regression on pooled "
            f"features, classes weighted alike, C = {card['choice']['inverse_penalty']:g}, chosen by "
            "grouped cross-validation",
        ),
        *([("augmented views", views)] if (views := _views(card)) else []),
        ("seed", f"{settings['seed']}"),
        ("time and memory", f"{card['seconds']:.0f} s, {card['peak_memory_gib']:.1f} GiB at most"),
        (
            "machine",
            f"{escape(machine['device'])}, {escape(machine['system'])}",
        ),
        ("versions", escape(versions)),
    ]
    return (
        f"{_table(('', ''), rows)}<h3>Limits</h3><ul><li>The score holds for pictures like these: same "
        "cameras, same places, same way of choosing. A new place or season needs a new test."
        "</li><li>Pictures of none of the classes get one of their names, unless “unknown” or "
        "“unsure” catches them.</li><li>What belongs together is found where pictures look alike. "
        "Different pictures of one person, animal or thing are found only if <code>--groups</code> "
        "says so; else the score may be too good.</li><li>The licence of the weights is above; that "
        "of your photographs is yours to know.</li></ul>"
    )


def _groups(named: Card | None, groups: int) -> str:
    """Say by what pictures were kept together."""
    if named is None:
        return "what looks alike; no <code>--groups</code>"
    by = named.get("pattern") or named.get("file")
    digest = f", <code>sha256:{named['sha256'][:16]}…</code>" if "sha256" in named else ""
    what = f"<code>{escape(by)}</code>" if by else "a table given in Python"
    return f"what looks alike, and {count(groups, 'group')} by {what}{digest}"


def _views(card: Card) -> str:
    """Say what made augmented views, and by which changes; "" where nothing did by default."""
    amounts = card["settings"]["augmentation"]
    makers = {"fine-tuning": card["fine_tuning"]["tried"], "training from scratch": card["scratch"]}
    made_by = " and ".join(name for name, ran in makers.items() if ran)
    if not made_by and Augmentation(**amounts) == Augmentation():
        return ""
    left_out = ", ".join(name for name in CHANGES if not amounts[name])
    rest = f"; left out: {left_out}" if left_out else ""
    if not made_by:
        return f"none were made{rest}"
    says = {
        "flip": "mirrored left and right",
        "rotate": f"turned by up to {amounts['rotate']:g}°",
        "zoom": f"scaled by up to {amounts['zoom']:.0%}",
        "shift": f"shifted by up to {amounts['shift']:.0%}",
        "brightness": f"brightness and contrast changed by up to {amounts['brightness']:.0%}",
    }
    made = ", ".join(says[name] for name in CHANGES if amounts[name]) or "no change"
    return f"for {made_by}: {made}{rest}"


def _framing(data: Card) -> str:
    """Say how pictures became squares of 8 bits."""
    how = {
        "crop": f"cropped to the square in the middle, which cuts off {data['cut']:.0%} on average",
        "pad": "made square by black",
        "stretch": "stretched to a square",
    }[data["fit"]]
    if not data["grey_range"]:
        return how
    low, high = data["grey_range"]
    return f"{how}; in grey of more than 8 bits {low:,} to {high:,} become 0 to 255"


def _gallery(rows: Iterable[tuple[Card, str]], pictures: Pictures) -> str:
    """Show pictures, whole, with what there is to say."""
    paths, split = pictures.paths, pictures.data.train
    parts = []
    for row, text in rows:
        try:
            pixels = read_image(paths[row["row"]], _SIDE, fit="pad", grey_range=split.grey_range)
        except (OSError, ValueError):
            continue
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=72)
        data = base64.b64encode(file.getvalue()).decode()
        parts.append(
            f'<figure><img alt="" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{text}<br>{escape(row['file'])}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(parts)}</div>'


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[int] | None = None
) -> str:
    """Write a table that scrolls where it is too wide; cells are HTML."""
    align = [' class="n"' if place in (numbers or ()) else "" for place in range(len(head))]
    top = "".join(f"<th{how}>{name}</th>" for how, name in zip(align, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{a}>{c}</td>" for a, c in zip(align, row, strict=True)) + "</tr>"
        for row in rows
    )
    top = f"<tr>{top}</tr>" if any(head) else ""
    return f'<div class="scroll" tabindex="0"><table>{top}{lines}</table></div>'


def _three(value: Card) -> tuple[float, float, float]:
    """Return a share and its ends."""
    return value["value"], value["low"], value["high"]


def _said(value: Card) -> str:
    """Write a share with its interval, as plain text."""
    return f"{value['value']:.1%} ({value['low']:.1%} to {value['high']:.1%})"


def _share(value: Card) -> str:
    """Write a share with its interval."""
    if value["value"] is None:
        return "–"
    return f"{value['value']:.1%} <small>({value['low']:.1%} to {value['high']:.1%})</small>"


def _listed(names: Sequence[str]) -> str:
    """Name the classes, or count them."""
    return escape(", ".join(names) if len(names) <= 12 else f"{len(names)} classes")
