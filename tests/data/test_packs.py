"""Packs of recorded features: reading, and what can't be had from them."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from tlhelpers.data import packs
from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.packs import NotRecordedError, Pack, load_pack
from tlhelpers.experiments.packs import quantise


def numbers(n=40, c=6, seed=0):
    return np.random.default_rng(seed).lognormal(size=(n, c)).astype("float32") * 100


def make_pack(folder, x):
    digests = [bytes([i]) + bytes(31) for i in range(len(x))]  # a digest may end in zeros
    rounded = quantise(x)
    folder.mkdir(parents=True)
    np.savez(
        folder / "images.npz",
        labels=np.arange(len(x), dtype=np.uint8) % 2,
        is_test=np.arange(len(x)) >= 30,
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
    )
    rows = np.arange(0, len(x), 2, dtype=np.int32)
    np.savez(
        folder / "net.npz",
        rows=rows,
        **{
            "last/codes": np.ascontiguousarray(rounded.codes[rows].T),
            "last/scale": rounded.scale,
            "last/offset": rounded.offset,
        },
    )
    network = {
        "backbone": "net",
        "weights": "pretrained",
        "input_size": 8,
        "preprocessing": "none",
        "stages": ["last"],
        "channels": [x.shape[1]],
        "digests": ["0"],
        "file": "net.npz",
        "source": "nowhere",
    }
    source = {"name": "x", "origin": "y", "digest": "z", "licence": "MIT", "note": ""}
    about = {"name": "toys", "class_names": ["a", "b"], "source": source, "networks": [network]}
    about["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.npz")
    }
    (folder / "about.json").write_text(json.dumps(about))
    return digests


def test_features_come_in_the_order_asked_for(tmp_path):
    x = numbers()
    digests = make_pack(tmp_path / "toys", x)
    pack = Pack(tmp_path / "toys")
    got = pack.features(pack.networks[0], "last", [digests[4], digests[2]])
    assert np.allclose(got, x[[4, 2]], atol=0.01 * x.max())
    with pytest.raises(NotRecordedError, match=r"of 20 images of toys.*TLH_TIER=real"):
        pack.features(pack.networks[0], "last", [digests[1]])


def test_features_of_other_images_are_refused(tmp_path):
    make_pack(tmp_path / "toys", numbers())
    with np.load(tmp_path / "toys" / "net.npz") as stored:
        arrays = dict(stored)
    arrays["last/codes"] = np.repeat(arrays["last/codes"], 2, axis=1)
    np.savez(tmp_path / "toys" / "net.npz", **arrays)
    about = json.loads((tmp_path / "toys" / "about.json").read_text())
    digest = hashlib.sha256((tmp_path / "toys" / "net.npz").read_bytes()).hexdigest()
    about["files"]["net.npz"] = digest
    (tmp_path / "toys" / "about.json").write_text(json.dumps(about))
    pack = Pack(tmp_path / "toys")
    with pytest.raises(ValueError, match=r"net\.npz, which is damaged.*of 40 images at last"):
        pack.features(pack.networks[0], "last", pack.digests()[:1])


def test_shipped_features_tell_classes_apart():
    """Every network's best stage is well above chance on test images: rows belong to their labels."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    for pack in packs.packs():
        classes = len(pack.about["class_names"])
        for network in pack.networks:
            if network.weights == "random" or (network.backbone, pack.name) == (
                "pixels",
                "cats_dogs",
            ):
                continue  # near chance, and rightly so
            scores = []
            for stage in network.stages[-2:]:
                rows, features = packs._read(
                    pack.folder / network.file, pack._files[network.file], stage
                )
                test, labels = pack.is_test[rows], pack.labels[rows]
                x = StandardScaler().fit_transform(features.numbers())
                head = RidgeClassifier(alpha=1000).fit(x[~test], labels[~test])
                scores.append(head.score(x[test], labels[test]))
            assert max(scores) > 1 / classes + 0.1, (pack.name, network.file, scores)


@pytest.mark.parametrize(
    ("name", "sizes"), [("cats_dogs", (1600, 400, 1000)), ("cifar10", (2400, 600, 1000))]
)
def test_a_recorded_data_set_has_labels_and_no_pixels(name, sizes):
    data = load_dataset(name, tier="embedded")
    assert tuple(map(len, (data.train, data.validation, data.test))) == sizes
    for split in (data.train, data.validation, data.test):
        counts = np.bincount(split.labels)
        assert counts.min() == counts.max()
    for ask in (lambda: data.train.images, lambda: next(iter(data.test.to_tf_data(2)))):
        with pytest.raises(
            NotRecordedError, match=r"features of .*, not their pixels.*TLH_TIER=real"
        ):
            ask()


@pytest.mark.parametrize(
    "asked",
    [
        {"n_train": 10.5},
        {"n_train": "10"},
        {"n_test": 9.0},
        {"seed": None},
        {"seed": 0.5},
        {"seed": -1},
    ],
)
def test_numbers_are_whole(asked):
    for name in ("cats_dogs", "pets"):
        with pytest.raises((TypeError, ValueError), match=r"(an integer|between 0).*Received"):
            load_dataset(name, tier="embedded", **asked)


def test_draws_are_nested_and_differ_by_seed():
    data = load_dataset("cats_dogs", tier="embedded")
    few, more = (set(data.few(n).train.digests()) for n in (20, 100))
    assert few < more
    assert few != set(data.few(20, seed=1).train.digests())


def test_names_of_drawn_worlds_are_told():
    with pytest.raises(TypeError, match=r"Received: difficulty\..*called 'objects'"):
        load_dataset("cifar10", difficulty=0.1)


def test_photographs_in_another_look_have_features_of_their_own():
    from tlhelpers import extract_features, load_backbone

    base = load_backbone("mobilenet_v2", 224, cut="block_16")
    looks = [
        load_dataset("cats_dogs", tier="embedded", n_train=480, n_test=400, shift=shift)
        for shift in (None, "texture", "sketch", "blur")
    ]
    assert len({data.train.digest for data in looks}) == 4
    assert "shift=blur" in looks[-1].source.note
    features = [extract_features(base, data.test) for data in looks]
    for data, x in zip(looks[1:], features[1:], strict=True):
        assert data.test.labels.tolist() == looks[0].test.labels.tolist()
        assert np.abs(x - features[0]).mean() > 0.2 * features[0].std()


def test_a_look_that_was_not_recorded_is_not_made_up():
    from tlhelpers import extract_features, load_backbone

    base = load_backbone("mobilenet_v2", 224, cut="block_16")
    fog = load_dataset("cats_dogs", tier="embedded", n_train=480, n_test=400, shift="contrast")
    with pytest.raises(
        NotRecordedError, match=r"or shift, .*prepared by contrast; .*TLH_TIER=real"
    ):
        extract_features(base, fog.test)
    everything = load_dataset("cats_dogs", tier="embedded", shift="blur")
    with pytest.raises(NotRecordedError, match=r"features are of 1,000 images.*TLH_TIER=real"):
        extract_features(base, everything.train)


def test_all_packs_together_are_small():
    sizes = [f.stat().st_size for pack in packs.packs() for f in pack.folder.iterdir()]
    assert sum(sizes) <= 20e6


def test_features_of_another_size_are_not_given():
    pack = load_pack("cats_dogs")
    network = packs.find_network("mobilenet_v2", 224, "pretrained")
    asked = network.stages[-1], network.digests[-1], network.preprocessing
    assert pack.find("mobilenet_v2", 224, *asked) == network
    with pytest.raises(NotRecordedError, match=r"Received: .*mobilenet_v2 at 160 px"):
        pack.find("mobilenet_v2", 160, *asked)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def rewrite(path, **changes):
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})


def lacking(key, of_network=False):
    def remove(path):
        about = json.loads(path.read_text())
        del (about["networks"][0] if of_network else about)[key]
        path.write_text(json.dumps(about))

    return remove


DAMAGE = {
    "not JSON": ("about.json", lambda path: path.write_text("{")),
    "no object": ("about.json", lambda path: path.write_text("[]")),
    "no text": ("about.json", lambda path: path.write_bytes(bytes([255] * 9))),
    **{
        f"no {key}": ("about.json", lacking(key)) for key in ("name", "files", "networks", "source")
    },
    "no stages": ("about.json", lacking("stages", of_network=True)),
    "images gone": ("images.npz", lambda path: path.unlink()),
    "images flipped": ("images.npz", flip),
    "labels exchanged": ("images.npz", lambda path: rewrite(path, labels=lambda one: 1 - one)),
    "cut": ("net.npz", lambda path: path.write_bytes(path.read_bytes()[:500])),
    "flipped": ("net.npz", flip),
    "a folder": ("net.npz", lambda path: (path.unlink(), path.mkdir())),
    "rows exchanged": ("net.npz", lambda path: rewrite(path, rows=lambda one: one[::-1])),
    "another's": ("net.npz", lambda path: shutil.copy(path.with_name("images.npz"), path)),
}


@pytest.mark.parametrize(("file", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_pack_is_refused_in_a_sentence(tmp_path, file, damage):
    digests = make_pack(tmp_path / "toys", numbers())
    damage(tmp_path / "toys" / file)
    with pytest.raises(ValueError, match=rf"{file}, which is .*tlhelpers record features toys"):
        Pack(tmp_path / "toys").features(Pack(tmp_path / "toys").networks[0], "last", digests[:1])


def test_the_same_image_may_be_in_a_pack_twice(tmp_path):
    make_pack(tmp_path / "toys", numbers())
    images = tmp_path / "toys" / "images.npz"
    rewrite(images, digests=lambda one: np.concatenate([one[:1], one[:-1]]))
    about = json.loads((tmp_path / "toys" / "about.json").read_text())
    about["files"]["images.npz"] = hashlib.sha256(images.read_bytes()).hexdigest()
    (tmp_path / "toys" / "about.json").write_text(json.dumps(about))
    pack = Pack(tmp_path / "toys")
    assert len(pack.digests()) == len(pack.labels)


def test_a_missing_pack_says_how_to_record_it():
    with pytest.raises(FileNotFoundError, match="tlhelpers record features nosuch"):
        load_pack("nosuch")


def test_whoever_wants_pixels_is_told_of_the_drawn_ones():
    with pytest.raises(NotRecordedError, match=r"TLH_TIER=real.*Drawn images are called 'pets'"):
        load_dataset("cats_dogs", tier="embedded").train.load([0])
