"""The command line: ``tlhelpers doctor``, ``fetch``, ``run``, ``record`` and ``study``."""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tlhelpers import __version__
from tlhelpers.experiments import study


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows ``tlhelpers`` on the command line. Defaults to ``sys.argv``.

    Returns:
        Exit status: 0 where all went well, 1 where something is wrong, 2 for wrong arguments.

    Example:
        >>> main(["doctor"])  # doctest: +SKIP
        0
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; the same command goes on from there.")
        return 130
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"tlhelpers: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    parser = argparse.ArgumentParser(
        prog="tlhelpers", description="Tools for the book Transfer Learning in Practice."
    )
    parser.add_argument("--version", action="version", version=f"tlhelpers {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="examine this environment; exit 1 if it won't do")
    doctor.set_defaults(command=_doctor)

    fetch = commands.add_parser("fetch", help="fetch data and weights, or make a classroom mirror")
    fetch.add_argument("names", nargs="*", help="files to fetch (default: all)")
    fetch.add_argument("--to", metavar="DIR", help="make a mirror there (default: cache)")
    fetch.set_defaults(command=_fetch)

    run = commands.add_parser("run", help="execute a chapter and keep the result")
    run.add_argument("chapter", help="a chapter's number, such as 05, or its file")
    run.add_argument("--tier", choices=("embedded", "real"), help="default: TLH_TIER or embedded")
    run.add_argument("--backbone", help="the network to use in place of the chapter's own")
    run.add_argument("--cut", metavar="STAGE", help="the stage at which to end that network")
    run.add_argument(
        "--to", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )
    run.set_defaults(command=_run)

    record = commands.add_parser("record", help="run full-size experiments on the real tier")
    record.add_argument("experiments", nargs="*", help="names (see --list)")
    record.add_argument("--all", action="store_true", help="record every experiment")
    record.add_argument("--list", action="store_true", help="list the experiments")
    record.add_argument(
        "--to", type=Path, metavar="DIR", help="default: book/_data/field, or results"
    )
    record.add_argument("--backbones", nargs="+", metavar="NAME", help="only these networks")
    record.add_argument("--methods", nargs="+", metavar="NAME", help="only these methods")
    record.add_argument(
        "--labels", nargs="+", type=int, metavar="N", help="only these label counts"
    )
    record.add_argument("--seeds", type=int, metavar="K", help="number of seeds")
    record.set_defaults(command=_record)

    study = commands.add_parser("study", help="run the controlled study, or what is missing of it")
    study.add_argument("--to", type=Path, default=Path("book/_data/study"), metavar="DIR")
    study.add_argument("--targets", nargs="+", metavar="NAME", help="default: all, and relatedness")
    study.add_argument("--labels", nargs="+", type=int, metavar="N", help="only these label counts")
    study.add_argument("--seeds", type=int, metavar="K", help="number of seeds")
    study.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="of scratch, frozen, tuned, matched and longer; default: the first three",
    )
    study.set_defaults(command=_study)
    return parser


def _doctor(_: argparse.Namespace) -> int:
    """Examine the environment."""
    from tlhelpers.book.doctor import examine, report

    return report(examine())


def _fetch(options: argparse.Namespace) -> int:
    """Fetch files into the cache, or make or complete a mirror."""
    from tlhelpers.data.downloads import FILES, DownloadError, fetch, mirror_names
    from tlhelpers.data.mirrors import fetch_all

    failed = []
    if options.to is None:
        listed = mirror_names()
        published = [file.name for file in FILES.values() if file.url]
        for name in options.names or (published if listed is None else sorted(listed)):
            try:
                print(f"{name}: {fetch(name)}")
            except (DownloadError, OSError) as error:
                print(error, file=sys.stderr)
                failed.append(name)
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

    book = _book_folder()
    named = Path(options.chapter)
    if named.suffix == ".ipynb":
        chapter = named
    else:
        found = find_chapters(book, [options.chapter])
        if len(found) > 1:
            raise ValueError(
                f"One chapter can be run at a time. Received: {options.chapter!r}, which fits "
                f"{', '.join(path.stem for path in found)}."
            )
        chapter = found[0]
    settings = {"TLH_LIVE": "0"}
    if options.tier:
        settings["TLH_TIER"] = options.tier
    if options.backbone:
        settings["TLH_BACKBONE"] = options.backbone
    if options.cut:
        settings["TLH_CUT"] = options.cut
    if os.environ.get("TLH_MIRROR") and "://" not in os.environ["TLH_MIRROR"]:
        # The chapter runs in the book's folder, where a relative path would mean another place.
        settings["TLH_MIRROR"] = str(Path(os.environ["TLH_MIRROR"]).expanduser().resolve())
    done = execute(chapter, options.to / chapter.name, cwd=chapter.parent, env=settings)
    print(f"{done.name} took {done.seconds:.0f} s and {done.peak_memory_mb / 1024:.1f} GiB.")
    print(f"The executed chapter is {done.path}: open it with Jupyter.")
    return 0


def _record(options: argparse.Namespace) -> int:
    """Record experiments."""
    from tlhelpers.experiments.field import EXPERIMENTS, run_experiment
    from tlhelpers.runtime import setup

    names = list(EXPERIMENTS) if options.all else options.experiments
    if options.list or not names:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name}: {experiment.labels} labels a class, {experiment.seeds} seeds")
        return 0
    setup(tier="real")
    folder = options.to
    if folder is None:
        book = Path("book/_data/field")
        folder = book if book.is_dir() else Path("results")
    for name in names:
        for row in run_experiment(
            name,
            folder,
            backbones=options.backbones,
            methods=options.methods,
            labels=options.labels,
            seeds=options.seeds,
        ):
            print(
                f"{name}: {row['labels']} labels a class, seed {row['seed']}, {row['method']} "
                f"{row['backbone']}: test {row['test']:.1%} in {row['seconds']:.0f} s",
                flush=True,
            )
        print(f"Recorded in {folder / name}.json.")
    return 0


def _study(options: argparse.Namespace) -> int:
    """Run what is missing of the controlled study."""
    from tlhelpers.runtime import setup

    setup(tier="real")
    targets = options.targets or [*study.TARGETS, study.SWEEP_NAME]
    labels, seeds = options.labels or study.LABELS, options.seeds or study.SEEDS
    methods = options.methods or study.METHODS
    compared = [name for name in targets if name != study.SWEEP_NAME]
    chosen: dict[str, Any] = {"labels": labels, "seeds": seeds, "methods": methods}
    parts = []
    if compared:
        parts.append(study.run_study(options.to, targets=compared, **chosen))
    if study.SWEEP_NAME in targets:
        parts.append(study.run_sweep(options.to, **chosen))
    for row in chain.from_iterable(parts):
        print(
            f"{row['target']}: {row['labels']} labels a class, seed {row['seed']}, "
            f"{row['method']}: test {row['test']:.1%} in {row['seconds']:.0f} s",
            flush=True,
        )
    print(f"Recorded in {options.to}.")
    return 0


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
