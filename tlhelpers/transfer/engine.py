"""How a frozen network is run: by Keras, or by OpenVINO where that is installed."""

import importlib.util
import os
import platform
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlhelpers.runtime import has_gpu, installed_version

if TYPE_CHECKING:
    import keras

Engine = Literal["auto", "keras", "openvino"]
Precision = Literal["float32", "bfloat16"]
Forward = Callable[[np.ndarray], list[np.ndarray]]
"""From a batch of images ``[n, s, s, 3]``, 0 to 255, to each of the model's outputs."""

SMALLEST = 128
"""Below this many pixels a side, writing and compiling a network takes longer than it saves."""

IN_FLIGHT = 8
"""Images in one of OpenVINO's requests; several requests run at once."""


class ExportFailedError(RuntimeError):
    """OpenVINO can't run a network."""


def choose_engine(engine: Engine, size: int, precision: Precision = "float32") -> str:
    """Choose what runs a frozen network.

    Args:
        engine: ``"keras"``; ``"openvino"``; or ``"auto"``: OpenVINO where it is installed, no GPU is
            used, images have 128 pixels a side or more and Keras computes in float32.
        size: Width and height of the images in pixels.
        precision: ``"float32"``, or ``"bfloat16"``, which takes OpenVINO. Defaults to
            ``"float32"``.

    Returns:
        ``"keras"`` or ``"openvino"``.

    Raises:
        ValueError: If there is no such engine or precision, or they don't go together.
        ModuleNotFoundError: If OpenVINO is asked for and not installed.

    Example:
        >>> choose_engine("auto", 64)
        'keras'
    """
    if engine not in ("auto", "keras", "openvino"):
        raise ValueError(f"engine is 'auto', 'keras' or 'openvino'. Received: {engine!r}.")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is 'float32' or 'bfloat16'. Received: {precision!r}.")
    if engine == "keras" and precision == "bfloat16":
        raise ValueError(
            "With Keras's engine a network computes in the precision it was built in. Pass "
            "engine='openvino' for bfloat16. Received: engine='keras', precision='bfloat16'."
        )
    installed = importlib.util.find_spec("openvino") is not None
    if not installed and (engine == "openvino" or precision == "bfloat16"):
        raise ModuleNotFoundError(
            f"engine={engine!r} with precision={precision!r} needs OpenVINO: "
            'pip install "tlhelpers[fast]".'
        )
    if engine == "auto" and precision == "float32":
        import keras

        plain = keras.config.dtype_policy().name == "float32"
        return "openvino" if installed and plain and size >= SMALLEST and not has_gpu() else "keras"
    return "keras" if engine == "keras" else "openvino"


def describe_engine(engine: str, precision: Precision, batch: int) -> dict[str, Any]:
    """Name what decides features to the last bit besides network, weights and images."""
    if engine == "openvino":
        return {
            "engine": ["openvino", installed_version("openvino")],
            "precision": precision,
            "device": platform.machine(),
        }
    import keras

    backend = keras.backend.backend()
    return {
        "precision": keras.config.dtype_policy().name,
        "backend": [backend, installed_version(backend)],
        "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "device": "GPU" if has_gpu() else platform.machine(),
        "batch": batch,
    }


def forward_pass(
    model: "keras.Model", engine: str, precision: Precision = "float32", *, constant: bool = False
) -> Forward:
    """Return how to run a model whose weights don't change.

    Args:
        model: From RGB images ``[n, s, s, 3]``, 0 to 255, to one or several outputs.
        engine: ``"keras"`` or ``"openvino"``.
        precision: What OpenVINO computes in. Defaults to ``"float32"``.
        constant: With Keras on TensorFlow and without a GPU: make the weights constants of the
            graph, so that BatchNormalization is folded into the convolution before it, which takes a
            quarter off MobileNetV2's time on two cores. Networks without it gain nothing. Defaults
            to False.

    Returns:
        A function from a batch to the outputs.

    Raises:
        ExportFailedError: If OpenVINO can't run the model.
        ValueError: If the processor has no instructions for bfloat16, and that is asked for.
    """
    if engine == "openvino":
        return _openvino(model, precision)
    import keras

    if not constant or keras.backend.backend() != "tensorflow" or has_gpu():
        return lambda images: keras.tree.flatten(model.predict_on_batch(images))
    import tensorflow as tf

    trainable, others = (
        [np.asarray(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    @tf.function(autograph=False)
    def with_constants(images: tf.Tensor) -> list[tf.Tensor]:
        """Run the model; the arrays become constants of the graph."""
        found = model.stateless_call(trainable, others, images, training=False)[0]
        return keras.tree.flatten(found)

    return lambda images: [one.numpy() for one in with_constants(tf.constant(images))]


def _openvino(model: "keras.Model", precision: Precision) -> Forward:
    """Write a model by Keras's own export, and keep several requests of a few images in flight."""
    import openvino

    core = openvino.Core()
    # Elsewhere OpenVINO computes in float32, and features would be filed as what they are not.
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise ValueError(
            "precision='bfloat16' takes a processor with instructions for it. Received: one without; "
            "pass precision='float32'."
        )
    size = model.input_shape[1]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            model.export(str(path), format="openvino", verbose=False)
            network = core.read_model(str(path))
        takes = openvino.preprocess.PrePostProcessor(network)
        takes.input().tensor().set_element_type(openvino.Type.u8)
        network = takes.build()
        network.reshape([IN_FLIGHT, size, size, 3])
        compiled = core.compile_model(
            network,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            },
        )
    except Exception as error:  # whatever the converter stumbles over
        raise ExportFailedError(f"{type(error).__name__}: {error}") from error
    shapes = [tuple(output.shape)[1:] for output in compiled.outputs]
    streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")

    def forward(images: np.ndarray) -> list[np.ndarray]:
        """Run a batch, a few images a request."""
        if images.dtype != np.uint8:
            raise TypeError(f"OpenVINO's network takes uint8 images. Received: {images.dtype}.")
        n = len(images)
        short = -n % IN_FLIGHT
        padded = np.concatenate([images, images[:1].repeat(short, axis=0)]) if short else images
        found = [np.empty((len(padded), *shape), np.float32) for shape in shapes]
        # Requests are waited for in turn. A queue with a callback would have OpenVINO's threads wait
        # for Python's lock, while Python, which holds it, waits for their end once the model goes.
        running: deque[tuple[int, Any]] = deque()

        def finish() -> Any:
            """Wait for the oldest request, and copy its outputs to their rows."""
            at, request = running.popleft()
            request.wait()
            for number, rows in enumerate(found):
                rows[at : at + IN_FLIGHT] = request.get_output_tensor(number).data
            return request

        for at in range(0, len(padded), IN_FLIGHT):
            request = finish() if len(running) == streams else compiled.create_infer_request()
            request.start_async(np.ascontiguousarray(padded[at : at + IN_FLIGHT]))
            running.append((at, request))
        while running:
            finish()
        return [rows[:n] for rows in found]

    return forward
