"""Which network is taken, and what is said where none is at hand."""

import pytest

from tlhelpers.data.downloads import DownloadError
from tlhelpers.workflow.learn import load_network, networks_at_hand


def test_the_drawn_network_is_never_taken_quietly(own_cache, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "SHA256SUMS").write_text("")
    monkeypatch.setenv("TLH_MIRROR", str(mirror))
    monkeypatch.setattr("tlhelpers.runtime._chosen_tier", "real")
    assert networks_at_hand() == []
    with pytest.raises(DownloadError, match="never taken unless --backbone names it"):
        load_network()


def test_recorded_features_do_not_pass_for_weights(own_cache, monkeypatch):
    monkeypatch.setattr("tlhelpers.runtime._chosen_tier", "embedded")
    with pytest.raises(ValueError, match="ImageNet weights are needed"):
        load_network("mobilenet_v2")


def test_the_best_of_those_at_hand_is_taken(own_cache, monkeypatch, tmp_path):
    assert networks_at_hand() == []
    for shelf, name in (
        ("a", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("b", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
    ):
        (own_cache / "files" / shelf).mkdir(parents=True)
        (own_cache / "files" / shelf / name).touch()
    assert networks_at_hand() == ["mobilenet_v2", "vgg16"]
