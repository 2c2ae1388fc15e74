"""Pictures of sound against SciPy, and what the packs hold."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tlhelpers.experiments import inputs

PACKS = Path(__file__).resolve().parents[2] / "book" / "_data" / "inputs"


def noise(seconds=1.0):
    return np.random.default_rng(0).uniform(-1, 1, int(seconds * inputs.RATE))


def test_log_mel_is_scipys_spectrogram_through_triangles():
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    transform = ShortTimeFFT(hann(256, sym=False), 64, inputs.RATE, fft_mode="onesided")
    samples = noise()
    first = 128 // 64  # the first window that begins with the first sample is centred on sample 128
    power = transform.spectrogram(samples, p0=first, p1=first + 122)
    hz = transform.f
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 34) / 2595) - 1)
    triangles = [np.interp(hz, edges[k : k + 3], (0, 1, 0)) for k in range(32)]
    expected = np.log(np.array(triangles) @ power + 1e-6).T
    np.testing.assert_allclose(inputs.log_mel(samples), expected, atol=1e-9)


def test_a_tone_lies_in_the_band_of_its_pitch():
    for hz in (300, 1000, 3000):
        tone = np.sin(2 * np.pi * hz * np.arange(8000) / inputs.RATE)
        weights = inputs.mel_filters()[round(hz * 256 / inputs.RATE)]
        assert inputs.log_mel(tone).mean(axis=0).argmax() == weights.argmax()


def test_a_picture_is_a_second_round_the_middle():
    short, long = noise(0.3), np.concatenate([np.zeros(8000), noise(0.5), np.zeros(8000)])
    for samples in (short, long, noise(0.01)):
        shades = inputs.picture(samples)
        assert (shades.shape, shades.dtype) == ((32, 32), np.uint8)
        loud = np.flatnonzero(shades.mean(axis=1) > 4)
        assert 15 <= np.concatenate([loud, [15.5]]).mean() <= 16
    assert np.array_equal(inputs.picture(short), inputs.picture(0.1 * short))


def test_the_pack_of_digits_is_whole():
    digits = inputs.spoken_digits()
    assert digits.pictures.shape == (3000, 32, 32)
    assert (digits.pictures.min(), digits.pictures.max()) == (0, 1)
    each = np.stack([digits.speakers, digits.digits, digits.takes], axis=1)
    assert len(np.unique(each, axis=0)) == len(each) == len(digits.names) * 10 * 50
    assert digits.source.licence == "CC BY-SA 4.0"


def test_the_pack_of_sentences_is_whole():
    read = inputs.sentences()
    assert np.bincount(read.labels).tolist() == [5331, 5331]
    assert len(read.words) == 10662
    assert all((np.diff(words.astype(int)) >= 0).all() for words in read.words)
    assert max(words.max(initial=0) for words in read.words) < inputs.CODES


@pytest.mark.parametrize("name", ["spoken_digits", "sentences"])
def test_a_changed_pack_is_refused(tmp_path, name):
    for ending in ("json", "npz"):
        shutil.copy(PACKS / f"{name}.{ending}", tmp_path)
    content = bytearray((tmp_path / f"{name}.npz").read_bytes())
    content[1000] ^= 1
    (tmp_path / f"{name}.npz").write_bytes(content)
    with pytest.raises(ValueError, match="as it was written"):
        getattr(inputs, name)(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif("TLH_MIRROR" not in os.environ, reason="needs a mirror of the files")
@pytest.mark.parametrize("name", ["spoken_digits", "sentences"])
def test_packs_are_made_of_the_published_files(tmp_path, name):
    getattr(inputs, f"write_{name}")(tmp_path)
    with np.load(tmp_path / f"{name}.npz") as made, np.load(PACKS / f"{name}.npz") as stored:
        assert set(made.files) == set(stored.files)
        for key in made.files:
            np.testing.assert_array_equal(made[key], stored[key])
    about = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
    assert about["source"] == json.loads((PACKS / f"{name}.json").read_text("utf-8"))["source"]
