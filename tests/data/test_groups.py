"""Images that belong together: what is joined, what is found after a change, what is no duplicate."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from mien.data import groups
from mien.data.groups import (
    by_pattern,
    comparable,
    equal_values,
    joined,
    near_pairs,
    suggested_pattern,
    thumbnails,
    together,
)
from mien.errors import ConfigError, MienWarning
from mien.options import ReadOptions


def scenes(n=23, seed=0, side=48):
    """Return images with structure at every size, as photographs have; no two alike."""
    rng = np.random.default_rng(seed)
    sizes = [(rng.normal(0, 1, (n, k, k)), k**-0.6) for k in (3, 6, 12, 24, 48)]
    made = [
        sum(
            cv2.resize(noise[i], (side, side), interpolation=cv2.INTER_CUBIC) * height
            for noise, height in sizes
        )
        for i in range(n)
    ]
    return np.stack([np.clip(128 + 90 * one, 0, 255).astype(np.uint8)[..., None] for one in made])


def moved(image, dx=0.0, dy=0.0, zoom=1.0):
    side = image.shape[0]
    matrix = np.array([[zoom, 0, side / 2 * (1 - zoom) + dx], [0, zoom, side / 2 * (1 - zoom) + dy]])
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)[..., None]


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)[..., None]


CHANGES = {
    "jpeg": lambda image: jpeg(image, 30),
    "smaller": lambda image: cv2.resize(image, (31, 31), interpolation=cv2.INTER_AREA)[..., None],
    "larger": lambda image: cv2.resize(image, (101, 101), interpolation=cv2.INTER_CUBIC)[..., None],
    "shifted": lambda image: moved(image, 2, -1),
    "zoomed": lambda image: moved(image, zoom=1.04),
    "mirrored": lambda image: image[:, ::-1],
    "darker": lambda image: (image * 0.6 + 20).astype(np.uint8),
    "in colour": lambda image: np.repeat(image, 3, axis=2),
    "mirrored, shifted and compressed": lambda image: jpeg(moved(image[:, ::-1].copy(), 1, 1), 50),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_a_near_duplicate_and_nothing_else_is(change):
    images = scenes()
    thumbs = thumbnails([*images, *(change(image) for image in images[:7])])
    assert near_pairs(thumbs).tolist() == [[row, 23 + row] for row in range(7)]


def test_flat_images_are_like_nothing():
    blank = np.full((5, 48, 48, 1), 7, np.uint8)
    blank[1:, ::2] += 1
    assert near_pairs(thumbnails(blank)).shape == (0, 2)
    assert near_pairs(thumbnails(blank[:0])).shape == (0, 2)


def test_pairs_are_found_in_a_set_of_many_cells():
    images = scenes(601)
    pairs = near_pairs(thumbnails([*images, *(moved(image, 1, 1) for image in images[:100])]))
    assert {tuple(pair) for pair in pairs.tolist()} == {(row, 601 + row) for row in range(100)}


def film(n, seed=0):
    """Return frames of one scene: they differ only by noise."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.normal(128, 60, (8, 8)), (32, 32), interpolation=cv2.INTER_CUBIC)
    return np.clip(scene + rng.normal(0, 6, (n, 32, 32)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "thumbs",
    [
        film(113),
        np.concatenate([film(31), film(29)[:, :, ::-1], film(17, seed=1)]),
        thumbnails(scenes(101)),
    ],
    ids=["one scene", "scenes", "no two alike"],
)
def test_each_row_keeps_the_most_similar_rows_of_all_cells(thumbs, mirrored, monkeypatch):
    monkeypatch.setattr(
        groups, "_PROBES", 99
    )  # every cell, so that comparing all rows with all gives the same
    shapes = groups._shapes(thumbs)
    asked = groups._shapes(thumbs[:, :, ::-1]) if mirrored else shapes
    alike = asked @ shapes.T
    np.fill_diagonal(alike, -1)
    best = np.argsort(-alike, axis=1)[:, :8]
    expected = {
        tuple(sorted((row, other)))
        for row, others in enumerate(best.tolist())
        for other in others
        if alike[row, other] >= 0.75
    }
    for pairs_at_once in (7, 2**20):
        monkeypatch.setattr(groups, "_CHUNK_PAIRS", pairs_at_once)
        found = list(groups._candidates(shapes, mirrored))
        assert found == sorted(expected)


def test_memory_grows_with_the_rows_and_not_with_the_pairs_that_are_alike(monkeypatch):
    monkeypatch.setattr(groups, "_CHUNK_PAIRS", 2**12)
    peaks = []
    for n in (500, 1000):
        shapes = groups._shapes(film(n))
        tracemalloc.start()
        assert 6 * n < sum(1 for _ in groups._candidates(shapes, mirrored=False)) < 8 * n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0], "all pairs that are alike would take about three times as much"
    assert peaks[1] < 4_000_000


def test_pairs_that_share_a_row_are_one_group():
    assert joined(7, np.array([[5, 4], [2, 4]]), np.array([[1, 6]])).tolist() == [0, 1, 2, 3, 2, 2, 1]
    assert equal_values(np.array(["a", "", "b", "a", "", "b", "a"])).tolist() == [[0, 3], [2, 5], [0, 6]]


def test_keys_photos_groups_and_looks_join():
    images = scenes(11)
    images[1] = images[0, :, ::-1]
    columns = {
        "photo": np.array(["p", "q", "q", *"defghijk"]),
        "split_group": np.array(["", "", "", "s", "s", *[""] * 6]),
        "camera": np.array(["one"] * 11),
    }
    keys = np.array([*range(9), 3, 10])
    assert together(keys, thumbnails(images), columns).tolist() == [0, 0, 0, 3, 3, 5, 6, 7, 8, 3, 10]
    assert together(keys, None, {}).tolist() == [*range(9), 3, 10]


def test_images_that_are_all_alike_are_not_joined_and_that_is_said():
    one = scenes(1)[0]
    images = [moved(one, np.cos(row), np.sin(row)) for row in range(60)]
    with pytest.warns(
        MienWarning, match=r"60 of 60 images look like near duplicates of one another, too alike"
    ):
        groups = together(np.arange(60), thumbnails(images), {})
    assert groups.tolist() == list(range(60))


def test_groups_from_file_names():
    names = ["happy/S010_004_17.png", "sad/S010_005_3.png", "sad/S22_1_3.png"]
    assert by_pattern(names, r"S\d+", "ck").tolist() == ["S010", "S010", "S22"]
    assert by_pattern(names, r"(S\d+)_(\d+)", "ck").tolist() == ["S010/004", "S010/005", "S22/1"]
    with pytest.raises(
        ConfigError, match=r"`?group_by`? 'S0' finds nothing in 1 of 3 names of ck, first 'sad/S22_1_3.png'"
    ):
        by_pattern(names, "S0", "ck")
    with pytest.raises(ConfigError, match=r"group_by`? '\(' is no regular expression"):
        ReadOptions(group_by="(")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            [f"happy/S{s:03d}_001_000000{i}.png" for s in (5, 10) for i in (14, 15, 16)],
            ["S005"] * 3 + ["S010"] * 3,
        ),
        ([f"sad/person{s:02d}-{i}.jpg" for s in (1, 2) for i in (1, 2)], ["person01"] * 2 + ["person02"] * 2),
        ([f"train/happy/Training_{i}.jpg" for i in range(1000, 1009)], None),
        ([f"happy/im{i}.png" for i in range(9)], None),
        ([f"row/{i:07d}" for i in range(9)], None),
        ([f"train_{i:05d}_aligned.jpg" for i in range(9)], None),
        ([], None),
    ],
)
def test_names_that_suggest_persons(names, found):
    pattern = suggested_pattern(names)
    assert bool(pattern) == (found is not None)
    if found:
        assert by_pattern(names, pattern, "x").tolist() == found


def test_one_tiny_image_does_not_hide_the_near_duplicates_of_the_others():
    images = scenes(12)
    pairs = [*images, *(moved(image, 1, 1) for image in images)]
    thumbs = np.stack([comparable(image) for image in [*pairs, images[0][:15, :15]]])
    assert len(set(together(np.arange(25), thumbs, {}).tolist())) == 13
