"""Arrays of pixels: shapes, ranges and labels as people save them, and the text of every refusal."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mien.data.read import read_dataset
from mien.data.reading import ReadOptions
from mien.errors import DataError
from mien.preprocess import Preprocess

SMALL = Preprocess(size_px=12)
N = 30
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 12, 12, 1), np.uint8)
TRUTH = np.arange(N) % 3


def save(path, array):
    np.save(path, array)
    return path


def read(path, **options):
    return read_dataset(path, SMALL, options=ReadOptions(**options))


@pytest.mark.parametrize(
    "array",
    [
        PIXELS,
        PIXELS[..., 0],
        PIXELS.reshape(N, 144),
        PIXELS.transpose(0, 3, 1, 2),
        PIXELS.astype(np.int64),
        PIXELS.astype(np.float32),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32).reshape(N, 144),
    ],
)
def test_the_same_pictures_in_any_shape_and_range(tmp_path, array):
    data = read(save(tmp_path / "x.npy", array), targets=str(save(tmp_path / "y.npy", TRUTH)))
    assert (np.abs(data.images.astype(int) - PIXELS) <= 0).all()
    assert data.labels == ("0", "1", "2")
    assert (data.truth == TRUTH).all()


@pytest.mark.parametrize(
    "labels",
    [
        TRUTH,
        TRUTH[:, None],
        np.eye(3)[TRUTH],
        TRUTH.astype(float),
        np.array(["angry", "happy", "neutral"])[TRUTH],
    ],
)
def test_labels_in_any_form(tmp_path, labels):
    data = read(
        save(tmp_path / "x.npy", PIXELS),
        targets=str(save(tmp_path / "y.npy", labels)),
        labels="angry,happy,neutral",
    )
    assert data.labels == ("angry", "happy", "neutral")
    assert (data.truth == TRUTH).all()


def test_soft_targets_stay_soft(tmp_path):
    shares = np.tile([0.5, 0.3, 0.2], (N, 1))
    shares[TRUTH == 1], shares[TRUTH == 2] = [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]
    data = read(save(tmp_path / "x.npy", PIXELS), targets=str(save(tmp_path / "y.npy", shares)))
    np.testing.assert_allclose(data.targets, shares, atol=1e-6)


def test_colour_pictures(tmp_path):
    colour = np.repeat(PIXELS, 3, axis=3)
    for array in (colour, colour.transpose(0, 3, 1, 2), colour.reshape(N, -1)):
        data = read_dataset(
            save(tmp_path / "x.npy", array), Preprocess(size_px=12, channels=3),
            options=ReadOptions(targets=str(save(tmp_path / "y.npy", TRUTH))),
        )  # fmt: skip
        assert (data.images == colour).all()


def test_named_parts_in_an_npz_and_in_a_folder(tmp_path):
    parts = {"x_train": PIXELS, "y_train": TRUTH, "x_test": PIXELS[:9], "y_test": TRUTH[:9]}
    np.savez(tmp_path / "set.npz", **parts)
    np.savez_compressed(tmp_path / "packed.npz", **parts)
    (tmp_path / "set").mkdir()
    for name, array in parts.items():
        np.save(tmp_path / "set" / f"{name}.npy", array)
    sets = [read(tmp_path / name) for name in ("set.npz", "packed.npz", "set")]
    for data in sets:
        assert set(data.splits) == {"train", "test"}
        assert (data.select("test").images == PIXELS[:9]).all()
        assert (data.select("train").truth == TRUTH).all()


def test_numbers_in_text(tmp_path):
    np.savetxt(tmp_path / "x.csv", PIXELS.reshape(N, 144), fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "unit.csv", PIXELS.reshape(N, 144) / 255, fmt="%.6f", delimiter=",", header="a" * 9)
    np.savetxt(tmp_path / "y.csv", TRUTH, fmt="%d")
    for name in ("x.csv", "unit.csv"):
        data = read(tmp_path / name, targets=str(tmp_path / "y.csv"))
        assert (data.images == PIXELS).all()
        assert (data.truth == TRUTH).all()


def test_pictures_without_labels(tmp_path):
    data = read(save(tmp_path / "x.npy", PIXELS), labels="angry,happy,neutral")
    assert not data.targets.any()
    assert data.labels == ("angry", "happy", "neutral")


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def bad(**change):
    return {"x": PIXELS, "y": TRUTH, **change}


def pixel(value) -> np.ndarray:
    array = PIXELS.astype(np.float64)
    array[4, 0, 3, 0] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (bad(x=pixel(300)), "pixel 3 of row 4 is 300: expected 0-255, or 0-1"),
        (bad(x=pixel(-1)), "pixel 3 of row 4 is -1: expected 0-255, or 0-1"),
        (bad(x=pixel(np.nan)), "pixel 3 of row 4 is not a number: expected 0-255"),
        (bad(x=pixel(np.inf)), "pixel 3 of row 4 is not a number"),
        (bad(x=PIXELS.reshape(N, 144)[:, :143]), "143 values are no square image"),
        (
            bad(x=np.zeros((N, 12, 12, 4), np.uint8)),
            r"expected images as .* got the shape \(30, 12, 12, 4\)",
        ),
        (bad(x=np.array(["a"] * N)), "expected pixels as numbers, got <U1"),
        (bad(y=TRUTH[:-1]), "29 labels for 30 images: expected one for each"),
        (bad(y=TRUTH - 1), "the label of row 0 is -1: expected class numbers from 0"),
        (bad(y=TRUTH + 0.5), r"the label of row 0 is 0\.5: expected class numbers from 0"),
        (
            bad(y=np.where(TRUTH == 1, np.nan, TRUTH)),
            "the label of row 1 is nan: expected class numbers from 0",
        ),
        (
            bad(y=np.eye(3)[TRUTH] * 2),
            r"the targets of row 0 are \[2\.0, 0\.0, 0\.0\]: expected fractions that sum to one",
        ),
        (bad(x=PIXELS[:, :0]), r"images of the shape \(0, 12, 1\) have no pixels"),
        (bad(y=np.array(3)), "the labels are one value: expected one for each image"),
        (bad(y=np.eye(4)[TRUTH]), "has no images of the class '3'"),
    ],
)
def test_arrays_that_are_refused(tmp_path, arrays, message):
    paths = {name: save(tmp_path / f"{name}.npy", array) for name, array in arrays.items()}
    with pytest.raises(DataError, match=message):
        read(paths["x"], targets=str(paths["y"]))


def test_pickled_objects_are_refused_and_not_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([Evil()] * 3, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "set.npz", x=np.array([Evil()] * 3, dtype=object))
    (tmp_path / "raw.npy").write_bytes(pickle.dumps([1, 2, 3]))
    for name in ("x.npy", "set.npz"):
        with pytest.raises(
            DataError, match="holds pickled Python objects, which could run any code: refused"
        ):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"raw\.npy is no form of dataset that is known"):
        read(tmp_path / "raw.npy")


def test_a_cut_off_array_and_a_header_that_claims_too_much(tmp_path):
    path = save(tmp_path / "x.npy", PIXELS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x\.npy is not an array that numpy\.save wrote, or it is cut off"):
        read(path)
    import zipfile

    header = (
        save(tmp_path / "big.npy", PIXELS).read_bytes().replace(b"(30, 12, 12, 1), ", b"(9999999, 12, 12,),")
    )
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(DataError, match="its header claims 1,439,999,856 values"):
        read(tmp_path / "set.npz")


def test_more_classes_than_anyone_has(tmp_path):
    many = np.zeros((1001, 8, 8), np.uint8)
    targets = str(save(tmp_path / "y.npy", np.arange(1001)))
    with pytest.raises(
        DataError, match="1,001 classes are over the limit of 1,000: is this the right column"
    ):
        read(save(tmp_path / "x.npy", many), targets=targets)


def test_class_numbers_that_do_not_begin_at_0(tmp_path):
    path, targets = save(tmp_path / "x.npy", PIXELS), str(save(tmp_path / "y.npy", TRUTH + 1))
    assert read(path, targets=targets).labels == ("1", "2", "3")
    with pytest.raises(
        DataError, match="has the class number 3, but .* or say which is which, as in angry=1"
    ):
        read(path, targets=targets, labels="angry,happy,neutral")
    data = read(path, targets=targets, labels="happy=2,angry=1")
    assert data.labels == ("happy", "angry")
    assert np.bincount(data.truth).tolist() == [10, 10]
    with pytest.raises(DataError, match=r"has no class 'happy' \(it has 1, 2, 3\)"):
        read(path, targets=targets, labels="good=happy,bad=sad")


def test_a_header_of_column_numbers_is_no_picture(tmp_path):
    for name, array in (("x", PIXELS.reshape(N, 144)), ("y", TRUTH[:, None])):
        header = ",".join(map(str, range(array.shape[1])))
        np.savetxt(tmp_path / f"{name}.csv", array, fmt="%d", delimiter=",", header=header, comments="")
    lines = (tmp_path / "y.csv").read_text().splitlines()
    (tmp_path / "y.csv").write_text("\n".join(["emotion", *lines[1:]]))
    data = read(tmp_path / "x.csv", targets=str(tmp_path / "y.csv"))
    assert (data.images == PIXELS).all()


def test_a_folder_of_tables(tmp_path):
    np.savetxt(tmp_path / "x_train.csv", PIXELS.reshape(N, 144), fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "y_train.csv", TRUTH, fmt="%d")
    assert (read(tmp_path).images == PIXELS).all()


def test_labels_that_compress_well_are_no_bomb(tmp_path):
    truth = np.repeat(np.arange(2), 4_000)
    x = (
        np.arange(8_000, dtype="<u4").view(np.uint8).reshape(-1, 2, 2)
    )  # all different, so that a split can be drawn
    np.savez_compressed(tmp_path / "set.npz", x=x, y=truth)
    assert len(read(tmp_path / "set.npz")) == 8_000


def test_names_for_the_numbers_must_be_enough(tmp_path):
    targets = str(save(tmp_path / "y.npy", TRUTH))
    with pytest.raises(DataError, match="has the class number 2, but labels=angry,happy names only 0 to 1"):
        read(save(tmp_path / "x.npy", PIXELS), targets=targets, labels="angry,happy")
    merged = read(tmp_path / "x.npy", targets=targets, labels="low=0+2,high=1")
    assert np.bincount(merged.truth).tolist() == [20, 10]


def test_arrays_whose_names_say_nothing(tmp_path):
    np.savez(tmp_path / "set.npz", a=np.arange(3), b=np.arange(4))
    with pytest.raises(
        DataError, match=r"has no array of images: expected names such as x_train .* it has a, b"
    ):
        read(tmp_path / "set.npz")
    np.savez(tmp_path / "two.npz", x=PIXELS, images=PIXELS)
    with pytest.raises(
        DataError, match="two arrays could be the same part, images is one: rename or remove one"
    ):
        read(tmp_path / "two.npz")


def test_two_words_for_one_split_are_one_split(tmp_path):
    np.savez(tmp_path / "faces.npz", x_train=PIXELS, y_train=TRUTH, x_val=PIXELS[:9], y_valid=TRUTH[:9])
    data = read(tmp_path / "faces.npz")
    assert data.splits == ("train", "val")
    assert data.counts("val").tolist() == [3, 3, 3]


def test_no_array_is_left_out_in_silence(tmp_path):
    np.savez(tmp_path / "faces.npz", x_train=PIXELS, y_train=TRUTH, weights=np.ones(N))
    notes = read(tmp_path / "faces.npz").notes
    assert "left out arrays whose names say neither images nor labels: weights" in notes
    np.savez(tmp_path / "bare.npz", x_train=PIXELS, y_train=TRUTH, y_test=TRUTH)
    with pytest.raises(
        DataError, match="has labels of test and no images of it, but of train: expected names such"
    ):
        read(tmp_path / "bare.npz")
