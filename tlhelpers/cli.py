"""The command line: ``tlhelpers doctor``, ``train``, ``predict``, ``fetch``, ``run`` and the like."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tlhelpers import __version__
from tlhelpers.data.augmentation import CHANGES, Augmentation
from tlhelpers.experiments import field, study
from tlhelpers.runtime import accept_any_character


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows ``tlhelpers`` on the command line. Defaults to ``sys.argv``.

    Returns:
        Exit status: 0 where all went well, 1 where something is wrong, 2 for wrong arguments, 130
        after Ctrl-C.

    Example:
        >>> main(["doctor"])  # doctest: +SKIP
        0
    """
    accept_any_character()
    try:
        try:
            options = _parser().parse_args(arguments)
        finally:
            sys.stdout.flush()
        try:
            status = options.command(options)
        except KeyboardInterrupt:
            print(f"Interrupted. {options.interrupted}".rstrip(), file=sys.stderr)
            status = 130
        except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            print(f"tlhelpers: {error}", file=sys.stderr)
            status = 1
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough, as in `tlhelpers doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _add_fit(parser: argparse.ArgumentParser) -> None:
    """Let a command say how pictures become square."""
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "stretch"),
        default="crop",
        help="how pictures become square: crop takes the middle, pad adds black, stretch changes "
        "proportions (default: crop)",
    )


def _parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    parser = argparse.ArgumentParser(
        prog="tlhelpers",
        description="Tools for the book Transfer Learning in Practice. "
        "`tlhelpers COMMAND --help` says more about each.",
    )
    parser.add_argument("--version", action="version", version=f"tlhelpers {__version__}")
    parser.set_defaults(interrupted="")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor",
        help="look whether the chapters can run here",
        description="Look at Python, packages, devices, settings, the cache and the shipped weights, "
        "and say what to do about what is wrong. Nothing is downloaded or changed. The exit status "
        "is 1 where a chapter could not run.",
    )
    doctor.add_argument(
        "--deep", action="store_true", help="also check every stored feature, which takes a while"
    )
    doctor.set_defaults(command=_doctor)

    cache = commands.add_parser("cache", help="show what the cache holds, or clear it of features")
    cache.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    cache.add_argument(
        "--older-than",
        type=float,
        default=0.0,
        metavar="DAYS",
        help="clear only what was not used for so long (default: all)",
    )
    cache.set_defaults(command=_cache)

    fetch = commands.add_parser("fetch", help="fetch data and weights, or make a classroom mirror")
    fetch.add_argument("names", nargs="*", help="files to fetch (default: all)")
    fetch.add_argument("--to", metavar="DIR", help="make a mirror there (default: cache)")
    fetch.set_defaults(
        command=_fetch,
        interrupted="Files that were whole are kept; the same command fetches the others.",
    )

    run = commands.add_parser(
        "run",
        help="execute a chapter and keep the result",
        description="Execute a copy of a chapter from top to bottom, and write it with its outputs "
        "to a folder. The chapter itself stays as it is.",
        epilog="Example: tlhelpers run 05 --tier real",
    )
    run.add_argument("chapter", help="a chapter's number, such as 05, or a notebook file")
    run.add_argument(
        "--tier",
        choices=("embedded", "real"),
        help="embedded: recorded features and drawn images, nothing is downloaded; real: photographs and ImageNet "
        "weights (default: what TLH_TIER says, else real in Google Colab and embedded elsewhere)",
    )
    run.add_argument(
        "--backbone",
        metavar="NAME",
        help="in the real tier: a pre-trained network in place of the chapter's own, such as "
        "mobilenet_v2",
    )
    run.add_argument(
        "--cut", metavar="STAGE", help="in the real tier: the stage at which that network ends"
    )
    run.add_argument(
        "--to",
        type=_file,
        default=Path("results"),
        metavar="DIR",
        help="folder for the executed chapter (default: results)",
    )
    run.set_defaults(
        command=_run, interrupted="Nothing was written; start again with the same command."
    )

    train = commands.add_parser(
        "train",
        help="train on a folder of your own photographs, and write model, exports and report",
        description="Look at a folder of class folders, divide it so that nothing leaks, train on "
        "it, and write a model, its exports and a report to a folder. Nothing in the folder of "
        "photographs is changed.",
        epilog="Example: tlhelpers train photos/ --out results/",
    )
    train.add_argument("photos", type=_file, help="a folder that holds one folder per class")
    train.add_argument("--out", type=_file, required=True, metavar="DIR", help="results go here")
    train.add_argument(
        "--classes", nargs="+", metavar="NAME", help="the class folders (default: all)"
    )
    train.add_argument(
        "--groups",
        metavar="CSV_OR_PATTERN",
        help="what belongs together: a CSV file with columns named file and group, or a regular "
        "expression whose parentheses find the group in a file's path",
    )
    _add_fit(train)
    train.add_argument(
        "--backbone",
        metavar="NAME",
        help="the network, such as mobilenet_v2 (default: the best of those at hand)",
    )
    train.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        metavar="M",
        help="time; fine-tuning is tried only if it fits in (default: 10)",
    )
    train.add_argument(
        "--scratch", action="store_true", help="also train from random weights, which takes long"
    )
    train.add_argument(
        "--no-augment",
        nargs="+",
        choices=CHANGES,
        default=(),
        metavar="CHANGE",
        help="changes that would alter a label, which augmented views must not make: of flip, "
        "rotate, zoom, shift and brightness",
    )
    train.add_argument(
        "--export",
        nargs="+",
        metavar="FORMAT",
        help="of litert, onnx and openvino (default: the first two, where installed and working)",
    )
    train.add_argument(
        "--error",
        type=float,
        metavar="SHARE",
        help='wrong answers that the threshold for "unsure" aims at (default: half of what answering '
        "everything would give)",
    )
    train.add_argument("--seed", type=int, default=0, metavar="K", help="default: 0")
    train.set_defaults(
        command=_train,
        interrupted="What was computed of the images is kept; the same command goes on with the rest.",
    )

    predict = commands.add_parser(
        "predict",
        help="name the class of each image in a folder, with a trained model",
        description="Predict all images in a folder and in the folders in it, and write a CSV file: "
        "file, class (or unsure, or unknown), probability, and a note. Files that can't be read are "
        "listed in it.",
        epilog="Example: tlhelpers predict results/model.keras new/ --csv answers.csv",
    )
    predict.add_argument("model", type=_file, help="the model.keras of a results folder")
    predict.add_argument("images", type=_file, help="an image file or a folder")
    predict.add_argument(
        "--csv", type=_file, required=True, metavar="FILE", help="the answers are written there"
    )
    predict.set_defaults(command=_predict, interrupted="Nothing was written.")

    extract = commands.add_parser(
        "extract",
        help="extract a network's features from millions of images, in shards, on several workers",
        description="Extract pooled features from all images below a folder, into Parquet files of "
        "some thousand rows, with a table of what could not be read and a manifest of digests. Run "
        "again, it does the shards anew whose files were changed, or can be read by now.",
        epilog="Example: tlhelpers extract photos/ --to features/ --cluster ray --workers 16",
    )
    extract.add_argument("photos", type=_file, help="a folder of images, in folders of any depth")
    extract.add_argument(
        "--to", type=_file, required=True, metavar="DIR", help="folder of the shards"
    )
    extract.add_argument(
        "--backbone", default="mobilenet_v2", metavar="NAME", help="default: mobilenet_v2"
    )
    extract.add_argument(
        "--size", type=int, default=224, metavar="PX", help="pixels a side (default: 224)"
    )
    extract.add_argument(
        "--cut", metavar="STAGE", help="its last stage (default: the whole network)"
    )
    _add_fit(extract)
    extract.add_argument(
        "--grey-range",
        nargs=2,
        type=int,
        metavar=("LOW", "HIGH"),
        help="values that become black and white in grey of more than 8 bits, such as 0 4095 "
        "(default: none, and such files count as unreadable)",
    )
    extract.add_argument("--engine", choices=("auto", "keras", "openvino"), default="auto")
    extract.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    extract.add_argument(
        "--shard", type=int, default=4096, metavar="N", help="images in a file (default: 4096)"
    )
    extract.add_argument(
        "--cluster", choices=("ray",), help="run on a Ray cluster, or start one here"
    )
    extract.add_argument(
        "--workers", type=int, default=1, metavar="N", help="of the cluster (default: 1)"
    )
    extract.set_defaults(
        command=_extract,
        interrupted="Finished shards are kept; the same command goes on with the rest.",
    )

    kit = commands.add_parser(
        "kit",
        help="make the teaching kit from the chapters",
        description="Make, from a clone's chapters, notebooks for students and for their instructor, "
        "releases for nbgrader and otter, slides of the figures, and a zip for a classroom without "
        'internet. Needs pip install -e ".[teach]".',
    )
    kit.add_argument(
        "--to",
        type=_file,
        default=Path("_build/kit"),
        metavar="DIR",
        help="the kit's folder (default: _build/kit); an earlier kit there is replaced, unless "
        "something in it was changed or added",
    )
    kit.set_defaults(command=_kit, interrupted="An earlier kit is as it was.")

    grade = commands.add_parser(
        "grade",
        help="grade a folder of returned chapters",
        description="Run the answers of each returned notebook in a process of its own, with limits "
        "and without network, on the book's own copy of what they depend on, and write a row for "
        "each to a CSV file. Stored outputs are not believed. Run it in a clone of the project.",
        epilog="Example: tlhelpers grade returned/ --csv grades.csv",
    )
    grade.add_argument("returned", type=_file, help="a folder of returned notebooks; only read")
    grade.add_argument(
        "--csv", type=_file, required=True, metavar="FILE", help="a new file for the marks"
    )
    grade.add_argument(
        "--seconds",
        type=float,
        default=120.0,
        metavar="S",
        help="time for each exercise, with what it needs of the chapter (default: 120)",
    )
    grade.add_argument(
        "--memory",
        type=float,
        default=8.0,
        metavar="GB",
        help="memory for each notebook (default: 8, of which TensorFlow reserves two or three)",
    )
    grade.add_argument(
        "--jobs",
        type=_at_least(1),
        default=0,
        metavar="N",
        help="notebooks at a time (default: one for each two processors)",
    )
    grade.set_defaults(
        command=_grade,
        interrupted="Rows that were done are kept; the same command goes on with the rest.",
    )

    record = commands.add_parser(
        "record",
        help="run experiments at full size on real data, and record the results",
        description="Run experiments on photographs, CIFAR-10 and MNIST at full size, which takes "
        "hours on a processor, and add each result to a JSON file as soon as it is there. What the "
        "file holds is not run again, so an interrupted recording resumes, and several processes may "
        "share the work. Without a name the experiments are listed.",
        epilog="Example: tlhelpers record digits --seeds 1 --to results",
    )
    record.add_argument(
        "experiments", nargs="*", metavar="NAME", help="what to record; or: features [PACK …]"
    )
    record.add_argument("--all", action="store_true", help="record every experiment")
    record.add_argument("--list", action="store_true", help="list the experiments, and run none")
    record.add_argument(
        "--to",
        type=_file,
        metavar="DIR",
        help="folder of the JSON files (default: book/_data/field where there is one, else results)",
    )
    record.add_argument("--backbones", nargs="+", metavar="NAME", help="only these networks")
    record.add_argument("--methods", nargs="+", metavar="NAME", help="only these methods")
    _add_counts(record)
    record.set_defaults(
        command=_record,
        interrupted="Each finished result is recorded; the same command goes on with the rest.",
    )

    learn = commands.add_parser(
        "study",
        help="run what is missing of the controlled study (appendix B)",
        description="Compare a network trained from scratch, frozen and fine-tuned on five targets, "
        "and on drawn pets of falling relatedness, and add each result to a JSON file as soon as it "
        "is there. Everything takes days on a processor; an interrupted study resumes.",
        epilog="Example: tlhelpers study --targets mnist --labels 5 --seeds 1 --to results",
    )
    learn.add_argument(
        "--to",
        type=_file,
        metavar="DIR",
        help="folder of the JSON files (default: book/_data/study where there is one, else "
        "results/study)",
    )
    learn.add_argument(
        "--targets",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(study.TARGETS)} and {study.SWEEP_NAME} (default: all)",
    )
    learn.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="of scratch, frozen, tuned, matched (tuned for as long as scratch), longer (scratch "
        "for twice as long), vgg16 and mobilenet_v2 (frozen features of those); default: the first "
        "three",
    )
    _add_counts(learn)
    learn.set_defaults(
        command=_study,
        interrupted="Each finished result is recorded; the same command goes on with the rest.",
    )
    return parser


def _add_counts(parser: argparse.ArgumentParser) -> None:
    """Add the options for numbers of labels and of seeds."""
    parser.add_argument(
        "--labels",
        nargs="+",
        type=_at_least(2),
        metavar="N",
        help="only these numbers of labelled images per class",
    )
    parser.add_argument(
        "--seeds", type=_at_least(1), metavar="K", help="repeat with K seeds: 0, 1, … K − 1"
    )


def _at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of at least some size."""

    def read(text: str) -> int:
        """Read the number."""
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(
                f"a whole number of at least {least} is needed. Received: {text!r}"
            )
        return number

    return read


def _file(text: str) -> Path:
    """Read the name of a file or folder; shells leave the ~ of --csv=~/answers.csv as it is."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a file's or a folder's name is needed. Received: nothing")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user, or none with a home
        raise argparse.ArgumentTypeError(f"{error} Received: {text!r}") from None


def _doctor(options: argparse.Namespace) -> int:
    """Examine the environment."""
    from tlhelpers.book.doctor import examine, report

    return report(examine(deep=options.deep))


def _cache(options: argparse.Namespace) -> int:
    """Show the cache's size by kind, or remove stored features."""
    from tlhelpers.book.cache import clear, size_by_kind
    from tlhelpers.files import cache_place

    if options.action == "clear":
        print(f"{clear(options.older_than) / 1e6:,.1f} MB of stored features were removed.")
    for kind, size in size_by_kind(cache_place()).items():
        print(f"{size / 1e6:10,.1f} MB  {kind}")
    print(f"The cache is {cache_place()}; TLH_CACHE names another place.")
    print(
        "`tlhelpers cache clear` removes features. The rest is fetched, unpacked or tried again where "
        "its folder is removed while nothing runs."
    )
    return 0


def _fetch(options: argparse.Namespace) -> int:
    """Fetch files into the cache, or make or complete a mirror."""
    from tlhelpers.book.mirrors import fetch_all
    from tlhelpers.data.downloads import FILES, DownloadError, fetch, mirror_names

    failed = []
    if options.to is None:
        listed = mirror_names()
        published = [file.name for file in FILES.values() if file.url]
        for name in options.names or (published if listed is None else sorted(listed)):
            try:
                path = fetch(name)
            except (DownloadError, OSError) as error:
                print(error, file=sys.stderr)
                failed.append(name)
            else:
                print(f"{name}: {path}")
    else:
        for fetched in fetch_all(options.to, options.names or None):
            print(f"{fetched.status:>8}  {fetched.name}  {fetched.bytes / 1e6:.1f} MB")
            failed += [fetched.name] if fetched.status == "failed" else []
    if failed:
        print(f"Not fetched: {', '.join(failed)}. Repeat the command to try again.")
        return 1
    if options.to is not None:
        print(f"The mirror is complete. Use it: export TLH_MIRROR={Path(options.to).resolve()}")
    return 0


def _run(options: argparse.Namespace) -> int:
    """Execute one chapter."""
    from tlhelpers.book.notebooks import execute, find_chapters

    named = Path(options.chapter)
    if named.suffix == ".ipynb":
        chapter = named
    else:
        found = find_chapters(_book_folder(), [options.chapter])
        if len(found) > 1:
            raise ValueError(
                f"One chapter can be run at a time. Received: {options.chapter!r}, which fits "
                f"{', '.join(path.stem for path in found)}."
            )
        chapter = found[0]
    settings = {"TLH_LIVE": "0", **_network_settings(options, chapter)}
    if options.tier:
        settings["TLH_TIER"] = options.tier
    done = execute(chapter, options.to / chapter.name, cwd=chapter.parent, env=settings)
    print(f"{done.name} took {done.seconds:.0f} s and {done.peak_memory_mb / 1024:.1f} GiB.")
    print(f"The executed chapter is {done.path}: open it with Jupyter.")
    return 0


def _network_settings(options: argparse.Namespace, chapter: Path) -> dict[str, str]:
    """Check --backbone and --cut, which would be noticed late or not at all, and hand them on."""
    from tlhelpers.models.backbones import ARCHITECTURES, check_stage
    from tlhelpers.runtime import tier

    given = {"TLH_BACKBONE": options.backbone, "TLH_CUT": options.cut}
    settings = {name: value for name, value in given.items() if value is not None}
    if not settings or not chapter.is_file():
        return {}
    own = re.search(r"TLH_BACKBONE\W+(\w+)", chapter.read_text("utf-8", "replace"))
    if own is None:
        raise ValueError(
            f"--backbone and --cut are for chapters with a network to choose. Received: "
            f"{chapter.stem}, which has none."
        )
    if (options.tier or tier()) != "real":
        raise ValueError(
            "--backbone and --cut choose among the real tier's networks. Received: the embedded "
            "tier; add --tier real."
        )
    name = own[1] if options.backbone is None else options.backbone
    if name not in ARCHITECTURES:
        raise ValueError(f"--backbone is one of {', '.join(ARCHITECTURES)}. Received: {name!r}.")
    if options.cut is not None:
        check_stage(options.cut, tuple(ARCHITECTURES[name].stages), name)
    return settings


def _train(options: argparse.Namespace) -> int:
    """Train on a folder of photographs."""
    from tlhelpers.runtime import setup
    from tlhelpers.workflow.train import train_folder

    # ImageNet weights are what it is about; exports are proven in the precision they are stored in.
    tier = None if os.environ.get("TLH_TIER") else "real"
    setup(options.seed, tier=tier, precision="float32")
    train_folder(
        options.photos,
        options.out,
        classes=options.classes,
        groups=options.groups,
        fit=options.fit,
        backbone=options.backbone,
        minutes=options.minutes,
        scratch=options.scratch,
        formats=None if options.export is None else tuple(options.export),
        wanted_error=options.error,
        augmentation=_leave_out(options.no_augment),
        seed=options.seed,
    )
    return 0


def _leave_out(changes: Sequence[str]) -> Augmentation:
    """Return the usual changes of a view without some."""
    off: dict[str, Any] = {name: False if name == "flip" else 0 for name in changes}
    return Augmentation(**off)


def _extract(options: argparse.Namespace) -> int:
    """Extract features in shards."""
    from tlhelpers.data.audit import count, first_few, printable
    from tlhelpers.runtime import setup
    from tlhelpers.workflow.shards import extract_shards

    setup(tier=None if os.environ.get("TLH_TIER") else "real", precision="float32")
    manifest = extract_shards(
        options.photos,
        options.to,
        backbone=options.backbone,
        image_size=options.size,
        cut=options.cut,
        engine=options.engine,
        precision=options.precision,
        fit=options.fit,
        grey_range=options.grey_range,
        shard=options.shard,
        workers=options.workers,
        cluster=options.cluster,
    )
    about = json.loads(manifest.read_text("utf-8"))
    counts, skipped = about["counts"], about["skipped"]
    print(
        f"Features of {count(counts['features'], 'image')} are in {manifest.parent}; "
        f"{count(counts['unreadable'], 'file')} could not be read, listed there with the reason."
    )
    if skipped:
        named = first_few(f"{printable(name)} ({reason})" for name, reason in skipped.items())
        print(f"{len(skipped):,} left out, and listed there too: {named}.")
    return 0


def _predict(options: argparse.Namespace) -> int:
    """Predict the images of a folder."""
    from tlhelpers.data.audit import count
    from tlhelpers.runtime import quiet_stderr, start_keras
    from tlhelpers.workflow.predict import load_run, write_answers

    with quiet_stderr():
        start_keras()
    run = load_run(options.model)
    counts = write_answers(run, options.images, options.csv)
    answers = ", ".join(f"{answer} {n:,}" for answer, n in counts.most_common())
    print(f"{count(counts.total(), 'file')}: {answers}. The answers are in {options.csv}.")
    return 0


def _kit(options: argparse.Namespace) -> int:
    """Make the teaching kit."""
    from tlhelpers.book.kit import make_kit

    print(f"The kit is ready: {make_kit(_book_folder(), options.to, print)}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    """Grade a class."""
    from tlhelpers.book.kit.grading import Limits, grade_folder
    from tlhelpers.book.kit.sandbox import has_namespaces

    if not has_namespaces():
        print(
            "This system lets no process be kept apart by the kernel: network and files are refused "
            "in Python only, which stops accidents and not malice. Use a machine or a container "
            "that holds nothing else.",
            file=sys.stderr,
        )
    rows = grade_folder(
        options.returned,
        options.csv,
        _book_folder(),
        limits=Limits(options.seconds, options.memory),
        jobs=options.jobs,
        keep_out=[Path("_build/kit")],
    )
    odd = [row for row in rows if row.reason != "graded"]
    for row in odd:
        print(f"{row.file}: {row.reason}")
    print(
        f"{len(rows)} files, {len(odd)} with something to look at. The marks are in {options.csv}."
    )
    return 0


def _record(options: argparse.Namespace) -> int:
    """Record experiments."""
    from tlhelpers.experiments.records import OtherDataError, settings_recorded
    from tlhelpers.runtime import setup

    if options.experiments[:1] == ["features"]:
        return _record_features(options)
    names = list(field.EXPERIMENTS) if options.all else options.experiments
    if options.list or not names:
        _list_experiments()
        return 0
    chosen = {name: getattr(options, name) for name in ("backbones", "methods", "labels", "seeds")}
    plans = {name: field.choose(name, **chosen) for name in names}
    folder = _results_folder(options.to, Path("book/_data/field"), Path("results"))
    before = {
        name: settings_recorded(folder / f"{name}.json", plan) for name, plan in plans.items()
    }
    setup(tier="real")
    status = 0
    for name, plan in plans.items():
        path, new, rest = folder / f"{name}.json", 0, " Another process is at the rest, or was."
        try:
            for row in field.run_experiment(name, folder, **chosen):
                new += 1
                print(f"{name}: {_line(row)} {row['backbone']}: {_outcome(row)}", flush=True)
        except OtherDataError as error:  # the other experiments may have theirs
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            status, rest = 1, ""
        have = settings_recorded(path, plan)
        print(
            f"Recorded {new} new results in {path}, which holds {have} of the {len(plan)} asked for"
            f"{'; none was missing' if before[name] == len(plan) else ''}."
            f"{rest if have < len(plan) else ''}"
        )
    return status


def _record_features(options: argparse.Namespace) -> int:
    """Record packs of features."""
    from tlhelpers.experiments.packs import PACKS, record_features
    from tlhelpers.runtime import setup

    if options.all or options.backbones or options.methods or options.labels or options.seeds:
        raise ValueError(
            "Packs are recorded whole. Received: --all, --backbones, --methods, --labels or --seeds; "
            "leave that out."
        )
    names = options.experiments[1:] or list(PACKS)
    if unknown := [name for name in names if name not in PACKS]:
        raise ValueError(f"A pack is one of {', '.join(PACKS)}. Received: {', '.join(unknown)}.")
    folder = _results_folder(options.to, Path("book/_data/features"), Path("results"))
    setup(tier="real")
    for name in names:
        new = 0
        for row in record_features(name, folder):
            new += 1
            print(
                f"{name}: {row['network']} {row['stage']}: rounding moves a head's accuracy by "
                f"{100 * row['change']:+.2f} points (± {100 * row['error']:.2f})",
                flush=True,
            )
        size = sum(file.stat().st_size for file in (folder / name).iterdir())
        print(f"Recorded {new} new stages in {folder / name}, now {size / 1e6:.1f} MB.")
    return 0


def _list_experiments() -> None:
    """Say what each experiment consists of."""
    for name in field.EXPERIMENTS:
        plan = field.choose(name)
        parts = {
            key: ", ".join(str(one) for one in dict.fromkeys(settings[key] for settings in plan))
            for key in ("labels", "backbone", "method")
        }
        seeds = len({settings["seed"] for settings in plan})
        print(
            f"{name}: {parts['method']}; {parts['backbone']}; {parts['labels']} labels per class; "
            f"{seeds} seeds: {len(plan)} results"
        )


def _study(options: argparse.Namespace) -> int:
    """Run what is missing of the controlled study."""
    from tlhelpers.runtime import setup

    targets = options.targets or [*study.TARGETS, study.SWEEP_NAME]
    chosen: dict[str, Any] = {
        "labels": options.labels or study.LABELS,
        "seeds": options.seeds or study.SEEDS,
        "methods": options.methods or study.METHODS,
    }
    folder = _results_folder(options.to, Path("book/_data/study"), Path("results/study"))
    compared = [name for name in targets if name != study.SWEEP_NAME]
    parts = []
    if compared:
        parts.append(study.run_study(folder, targets=compared, **chosen))
    if study.SWEEP_NAME in targets:
        parts.append(study.run_sweep(folder, **chosen))
    setup(tier="real")
    new = 0
    for row in chain.from_iterable(parts):
        new += 1
        print(f"{row['target']}: {_line(row)}: {_outcome(row)}", flush=True)
    print(f"Recorded {new} new results in {folder}{'' if new else ': none was missing'}.")
    return 0


def _line(row: dict[str, Any]) -> str:
    """Name a result."""
    return f"{row['labels']} labels per class, seed {row['seed']}, {row['method']}"


def _outcome(row: dict[str, Any]) -> str:
    """Say what a result is."""
    return f"test {row['test']:.1%} in {row['seconds']:.0f} s"


def _results_folder(named: Path | None, book: Path, other: Path) -> Path:
    """Choose the folder for results, and try it: hours of work are to be written there."""
    from tlhelpers.files import writable_folder

    folder = named or (book if book.is_dir() else other)
    return writable_folder(folder, "The folder for the results", "Name another one with --to.")


def _book_folder() -> Path:
    """Find the book's folder: below the working folder, or beside an editable install's sources."""
    for place in (Path("book"), Path(), Path(__file__).parent.parent / "book"):
        if (place / "_toc.yml").is_file():
            return place
    raise FileNotFoundError(
        f"The chapters are in the book's folder of the project. Received: the working folder "
        f"{Path.cwd()}, which has none; change to a clone of the project, or name a notebook file."
    )


if __name__ == "__main__":
    sys.exit(main())
