"""The baseline from random weights: trained in earnest, and told how."""

import numpy as np
import pytest
from toys import striped_data

from tlhelpers.experiments.field.small_resnet import scratch_epochs, train_small_resnet

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]


def test_epochs_fall_with_the_square_root_of_the_images():
    assert scratch_epochs(45_000) == 20
    assert scratch_epochs(45_000 // 4) == 40
    assert scratch_epochs(45) == 300
    with pytest.raises(ValueError, match="at least one image"):
        scratch_epochs(0)


@pytest.mark.slow
def test_the_baseline_learns_and_says_how():
    data = striped_data(train=64, validation=10, test=40, size=16)
    fitted = train_small_resnet(data, seed=1, width=4, epochs=12)
    assert fitted.test.accuracy > 0.9
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]
    assert len(fitted.history["loss"]) == fitted.config["epochs"] == 12
    assert (fitted.config["n_train"], fitted.config["batch_size"]) == (64, 32)
    assert fitted.config["peak_learning_rate"] == pytest.approx(0.05)
    again = train_small_resnet(data, seed=1, width=4, epochs=12)
    assert np.allclose(again.probabilities(), fitted.probabilities(), atol=1e-3)
