"""The model in other formats, each proven on every image it is judged by."""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.images import GREY_RANGE
from tlhelpers.files import replacing, write_atomically
from tlhelpers.runtime import quiet_stderr, usable_cores
from tlhelpers.transfer.features import Images
from tlhelpers.transfer.recipes import inference_batch_size

if TYPE_CHECKING:
    import keras

Runner = Callable[[np.ndarray], np.ndarray]
"""From float32 images ``[n, s, s, 3]``, 0 to 255, to probabilities ``[n, classes]``."""

LARGEST_DIFFERENCE = 1e-3
"""Difference in probability that arithmetic in another order can explain, with room to spare."""

AT_ONCE = 8
"""Images run at once: the runtimes keep what they allocate, a gigabyte for 32 images of 224 pixels."""

_READING = """
image = Image.open(sys.argv[1])
image.draft(None, ({twice}, {twice}))  # large JPEG files are decoded at a reduced scale
image = ImageOps.exif_transpose(image)
if image.mode.startswith("I"):  # grey of 16 bits
    grey = (np.asarray(image, float).clip({low}, {high}) - {low}) / max({high} - {low}, 1)
    image = Image.fromarray(np.uint8((255 * grey).round()))
if image.has_transparency_data:
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
image = image.convert("RGB")
{square}
pixels = np.asarray(image, np.float32)[None]  # values from 0 to 255: preprocessing is inside
"""

_SQUARES = {
    "crop": """side = min(image.size)  # the largest square in the middle
left, top = (image.width - side) // 2, (image.height - side) // 2
box = (left, top, left + side, top + side)
image = image.resize(({size}, {size}), Image.Resampling.BILINEAR, box, reducing_gap=3.0)""",
    "pad": """inner = [max(1, round(side * {size} / max(image.size))) for side in image.size]
inside = image.resize(inner, Image.Resampling.BILINEAR, reducing_gap=3.0)
image = Image.new("RGB", ({size}, {size}))  # the rest stays black
image.paste(inside, (({size} - inside.width) // 2, ({size} - inside.height) // 2))""",
    "stretch": """image = image.resize(({size}, {size}), Image.Resampling.BILINEAR, reducing_gap=3.0)""",
}

_CARD = """here = pathlib.Path(__file__).parent
card = json.loads((here / "model.keras.json").read_text("utf-8-sig"))"""

_ANSWER = """best, sure = card["classes"][p.argmax()], float(p.max())
print(best if sure >= card["threshold"] else "unsure", round(sure, 4))"""

_USES = {
    "keras": """# pip install keras tensorflow pillow
import json, pathlib, sys
import keras, numpy as np
from PIL import Image, ImageOps
{reading}
{card}
p = keras.models.load_model(here / "model.keras").predict(pixels, verbose=0)[0]
{answer}
""",
    "litert": """# pip install ai-edge-litert pillow
import json, pathlib, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps
{reading}
{card}
run = Interpreter(str(here / "model.tflite")).get_signature_runner()
p = next(iter(run(**{{next(iter(run.get_input_details())): pixels}}).values()))[0]
{answer}
""",
    "onnx": """# pip install onnxruntime pillow
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps
{reading}
{card}
session = onnxruntime.InferenceSession(here / "model.onnx")
p = session.run(None, {{session.get_inputs()[0].name: pixels}})[0][0]
{answer}
""",
    "openvino": """# pip install openvino pillow
import json, pathlib, sys
import numpy as np, openvino
from PIL import Image, ImageOps
{reading}
{card}
p = openvino.compile_model(here / "model.xml", "CPU")(pixels)[0][0]
{answer}
""",
}

FILES = {
    "keras": "model.keras",
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "openvino": "model.xml",
}
"""The file of each format."""

NEEDS = {
    "keras": (),
    "litert": ("tensorflow", "ai_edge_litert"),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
}
"""Modules that write and run each format."""


class ExportError(RuntimeError):
    """A model could not be exported, or what was written disagrees with it."""


@dataclass(frozen=True)
class Proof:
    """How far an exported file agrees with the model it was made from.

    Attributes:
        format: Name of the format.
        file: Name of the file.
        n: Images both were run on.
        agree: Share of them with the same class; below 1 only where two were as good as even.
        difference: Largest difference in probability.
        megabytes: Size of the file (10⁶ bytes).
    """

    format: str
    file: str
    n: int
    agree: float
    difference: float
    megabytes: float


def missing_for(format: str) -> list[str]:
    """Name the modules that a format needs and that are not installed."""
    return [name for name in NEEDS[format] if importlib.util.find_spec(name) is None]


def check_formats(formats: list[str]) -> None:
    """Refuse formats that can't be written here, before any work is done.

    Args:
        formats: What was asked for.

    Raises:
        ValueError: If there is no such format.
        ModuleNotFoundError: If what writes it is not installed.
    """
    for name in formats:
        if name not in FILES:
            raise ValueError(f"A format is one of {', '.join(FILES)}. Received: {name!r}.")
        if missing := missing_for(name):
            raise ModuleNotFoundError(
                f"The format {name} needs {', '.join(missing)}. Install what writes and checks "
                'exports: pip install "tlhelpers[export]".'
            )


def export(
    model: "keras.Model",
    format: str,
    folder: Path,
    classes: tuple[str, ...],
    images: Images,
    expected: np.ndarray,
    rows: np.ndarray,
    fit: str = "crop",
    grey_range: tuple[int, int] | None = None,
) -> Proof:
    """Write a model in a format, load the file again, and run it on every image.

    Args:
        model: Keras model from raw RGB images, 0 to 255, to probabilities.
        format: One of :data:`FILES`.
        folder: Where to write, beside what ``Run.save`` wrote.
        classes: Names of the classes, which the file carries where its format can.
        images: The images.
        expected: The model's probabilities of these rows.
        rows: Which of the images.
        fit: How images become square. Defaults to ``"crop"``.
        grey_range: Values of grey beyond 8 bits that become 0 and 255. Defaults to 0 and 65,535.

    Returns:
        The proof.

    Raises:
        ExportError: If it can't be written and run, or gives other probabilities. No file of the
            format is left then.
    """
    path, size = folder / FILES[format], model.input_shape[1]
    try:
        if format != "keras":  # which Run.save wrote
            _write(model, format, path, classes, size)
        given = np.concatenate(list(_run(_RUNNERS[format](path), images, rows, size)))
        agree, difference = _compare(given, expected, path.name)
    except Exception as error:  # converters let errors of any kind through
        for file in () if format == "keras" else _files(path):
            file.unlink(missing_ok=True)
        if isinstance(error, ExportError):
            raise
        raise ExportError(
            f"The model could not be written as {format} and run: "
            f"{(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error
    low, high = grey_range or GREY_RANGE
    square = _SQUARES[fit].format(size=size)
    reading = _READING.format(square=square, twice=2 * size, low=low, high=high).strip()
    use = _USES[format].format(reading=reading, card=_CARD, answer=_ANSWER)
    write_atomically(folder / f"use_{format}.py", use)
    size_on_disk = sum(file.stat().st_size for file in _files(path))
    return Proof(format, path.name, len(rows), agree, difference, size_on_disk / 1e6)


def _files(path: Path) -> list[Path]:
    """Name all files of a format: OpenVINO has two."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _compare(given: np.ndarray, expected: np.ndarray, name: str) -> tuple[float, float]:
    """Return the share of same classes and the largest difference; refuse one that is too large.

    Where probabilities differ by ``d`` at most, the class can differ only where the model's own two
    best lie within ``2 d``. Such a near-tie is no fault of the file, so the difference decides.
    """
    agree = float((given.argmax(axis=1) == expected.argmax(axis=1)).mean())
    difference = float(np.abs(given - expected).max())
    if not difference <= LARGEST_DIFFERENCE:  # so that NaN is refused
        raise ExportError(
            f"{name} must give what the model gives. Received: the same class for {agree:.2%} of "
            f"{len(given):,} images, and probabilities that differ by up to {difference:.4f}."
        )
    return agree, difference


def _run(run: Runner, images: Images, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Run images a batch at a time."""
    length = min(AT_ONCE, inference_batch_size(size))
    for start in range(0, len(rows), length):
        part = images.load(rows[start : start + length], size).astype(np.float32)
        padded = np.zeros((length, *part.shape[1:]), np.float32)
        padded[: len(part)] = part
        yield np.asarray(run(padded))[: len(part)]


def _write(
    model: "keras.Model", format: str, path: Path, classes: tuple[str, ...], size: int
) -> None:
    """Convert by Keras's own exporter, and put the names of the classes in."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # converters warn about NumPy's and their own past
        if format == "openvino":  # of two files, the second named after the first
            model.export(str(path), format="openvino", verbose=False)
            return
        with replacing(path) as part:
            if format == "litert":
                model.export(str(part), format="litert", verbose=False)
                with zipfile.ZipFile(part, "a") as archive:  # where LiteRT's metadata keep labels
                    archive.writestr("labels.txt", "\n".join(classes) + "\n")
            else:
                # Keras refuses to write a model that was loaded and not called since.
                model.predict_on_batch(np.zeros((1, size, size, 3), np.float32))
                model.export(str(part), format="onnx", verbose=False)
                _name_classes(part, classes, size)


def _name_classes(path: Path, classes: tuple[str, ...], size: int) -> None:
    """Write the classes, and what the input is, into an ONNX file's metadata."""
    import onnx

    model = onnx.load(path)
    notes = {
        "classes": json.dumps(classes),
        "input": f"RGB images, float32 [n, {size}, {size}, 3], values from 0 to 255",
    }
    onnx.helper.set_model_props(model, notes)
    onnx.save(model, path)


def _keras(path: Path) -> Runner:
    """Load a Keras file."""
    import keras

    return keras.models.load_model(path, compile=False).predict_on_batch


def _litert(path: Path) -> Runner:
    """Load a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():  # it names its delegate
        run = Interpreter(str(path), num_threads=usable_cores()).get_signature_runner()
    name = next(iter(run.get_input_details()))
    return lambda images: next(iter(run(**{name: images}).values()))


def _onnx(path: Path) -> Runner:
    """Load an ONNX file."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _openvino(path: Path) -> Runner:
    """Load an OpenVINO file."""
    import openvino

    # The processor's narrow formats would be faster, and give other probabilities.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(str(path), "CPU", settings)
    return lambda images: compiled(images)[0]


_RUNNERS = {"keras": _keras, "litert": _litert, "onnx": _onnx, "openvino": _openvino}
