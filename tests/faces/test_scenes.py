"""Drawn scenes and what the network should answer for them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mien.errors import DataError
from mien.faces import scenes
from mien.faces.material import LEVELS_PX, Material, cut_out, read_material
from mien.faces.scenes import SIDE_PX, Scene, Spot, _seen, draw
from mien.faces.targets import targets


def head_image() -> np.ndarray:
    """Return a drawn head on a grey ground that is brighter at the top; 90 px wide."""
    image = np.repeat(np.linspace(230, 200, 110)[:, None, None], 90, 1).repeat(3, 2).astype(np.uint8)
    cv2.ellipse(image, (45, 50), (18, 26), 0, 0, 360, (150, 110, 90), -1)
    cv2.rectangle(image, (20, 85), (70, 110), (40, 40, 160), -1)
    cv2.rectangle(image, (38, 70), (52, 90), (150, 110, 90), -1)
    return image


def coded(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture(scope="package")
def archives(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("material"), np.random.default_rng(0)
    paths = {name: folder / f"{name}.zip" for name in ("heads", "faces", "backgrounds")}
    with zipfile.ZipFile(paths["heads"], "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.jpg", coded(head_image()[..., ::-1]))
        archive.writestr(
            "yunet_boxes_xyxy.json", json.dumps({f"{n}.jpg": [[30, 30, 60, 72]] for n in range(9)})
        )
    with zipfile.ZipFile(paths["faces"], "w") as archive:
        for split in ("train", "test"):
            for number in range(3):
                archive.writestr(
                    f"{split}/happy/{number}.jpg", coded(rng.integers(0, 255, (48, 48), np.uint8))
                )
    with zipfile.ZipFile(paths["backgrounds"], "w") as archive:
        for number in range(31):
            archive.writestr(f"{number:02}.jpg", coded(np.full((80, 100 + number), 8 * number, np.uint8)))
    return paths


@pytest.fixture(scope="package")
def material(archives) -> Material:
    return read_material(**archives)


def test_every_eighth_head_and_background_is_held_out(archives, material):
    held_out = read_material(**archives, held_out=True)
    assert (len(material.heads), len(held_out.heads)) == (8, 1)
    assert [image.shape[1] for image in held_out.backgrounds_u8] == [107, 115, 123]
    assert len(material.backgrounds_u8) == 28
    assert len(held_out.faces_u8) == 3
    assert not (held_out.faces_u8 == material.faces_u8).all()


def test_a_head_is_kept_at_three_sizes_with_its_frame(material):
    assert [head.frame_xys[2] for head in material.heads[0]] == list(LEVELS_PX)
    # box 30-60 wide: frame side 1.3 * 30 = 39, centre 45 - .3, 51 + .6; at side 36 all is 36/39 as large
    assert material.heads[0][2].frame_xys[:2] == pytest.approx((44.7 * 36 / 39, 51.6 * 36 / 39))


def test_the_ground_is_cut_away_and_the_person_stays():
    alpha = cut_out(head_image())
    assert alpha[50, 45] > 250
    assert alpha[100, 45] > 250
    assert max(alpha[5, 5], alpha[5, 80], alpha[60, 10], alpha[60, 80]) < 5


def test_a_head_that_does_not_stand_out_is_an_error_with_its_name(archives, tmp_path):
    with zipfile.ZipFile(archives["heads"]) as source, zipfile.ZipFile(tmp_path / "h.zip", "w") as target:
        for name in source.namelist():
            plain = name == "3.jpg"
            target.writestr(name, coded(np.full((110, 90, 3), 200, np.uint8)) if plain else source.read(name))
    with pytest.raises(DataError, match="3.jpg: nothing differs from the background"):
        read_material(**archives | {"heads": tmp_path / "h.zip"})


def test_a_scene_depends_only_on_its_numbers(material):
    one, two, other = (draw(material, np.random.default_rng(seed), []) for seed in (5, 5, 6))
    assert (one.image_u8 == two.image_u8).all()
    assert (one.faces_xys == two.faces_xys).all()
    assert not np.array_equal(one.image_u8, other.image_u8)


def test_many_scenes_have_faces_of_all_sizes_and_some_have_none(material):
    drawn = [draw(material, np.random.default_rng(seed), [Spot(2, 40, 40, 1.5)]) for seed in range(150)]
    sides = np.concatenate([scene.faces_xys[:, 2] for scene in drawn])
    assert {scene.image_u8.shape for scene in drawn} == {(SIDE_PX, SIDE_PX)}
    assert sides.min() < 20
    assert sides.max() > 70
    assert 0.1 < np.mean([len(scene.faces_xys) == 0 for scene in drawn]) < 0.5


def test_a_collage_names_its_faces_and_not_what_is_none(material, monkeypatch):
    monkeypatch.setattr(scenes, "_lit", lambda grey, rng: grey)
    monkeypatch.setattr(scenes, "_no_face", lambda material, rng: np.zeros((48, 48), np.float32))
    white = replace(material, faces_u8=np.full((1, 48, 48), 255, np.uint8))
    for seed in range(5):
        canvas = np.zeros((SIDE_PX, SIDE_PX), np.float32)
        faces = scenes._collage(canvas, white, np.random.default_rng(seed))
        named = np.zeros((SIDE_PX, SIDE_PX), bool)
        for x, y, side in faces:
            if 0 <= x < SIDE_PX and 0 <= y < SIDE_PX:
                assert canvas[int(y), int(x)] == 255
            top, left = max(0, int(y - 0.8 * side)), max(0, int(x - 0.8 * side))
            named[top : int(y + 0.8 * side), left : int(x + 0.8 * side)] = True
        assert len(faces)
        assert canvas[~named].max(initial=0) < 128


def test_a_crop_goes_on_beyond_its_edge_and_keeps_its_face(material):
    crop = np.random.default_rng(0).uniform(0, 255, (48, 48)).astype(np.float32)
    piece = scenes._beyond(crop, np.random.default_rng(0))
    assert piece.frame == (48, 48, 48)
    assert np.array_equal(piece.grey[24:72, 24:72], crop)
    assert piece.alpha[38:58, 38:58].min() == 1
    assert max(piece.alpha[0].max(), piece.alpha[:, -1].max()) == 0


def test_a_face_cut_by_the_edge_is_seen_in_part_and_one_whose_centre_is_outside_is_not():
    faces = np.array([[50, 50, 20], [10, 50, 20], [5, 50, 20], [200, 50, 20]], np.float32)
    assert _seen(faces, (10, 0, 128, 128)) == pytest.approx([1, 0.2, 0.2, 0])
    assert _seen(faces[1:2], (8, 0, 128, 128)) == pytest.approx([0.6])


def scene_with(*faces, unsure=()) -> Scene:
    rows = [np.array(one, np.float32).reshape(-1, 3) for one in (faces, unsure)]
    return Scene(np.zeros((128, 128), np.uint8), *rows)


def test_the_nearest_cell_is_asked_for_the_face_and_told_its_place_and_size():
    answer = targets(scene_with((62, 24, 32)))
    assert answer.shape == (6, 16, 16)
    assert answer[0].max() == answer[0, 2, 7] == 1  # cell (2, 7) has its centre at x 60, y 20
    assert answer[2:6, 2, 7] == pytest.approx([2 / 8, 4 / 8, np.log(4), 1])
    assert answer[1].min() == 1


def test_a_face_of_another_size_or_hardly_seen_is_not_asked_for_nor_forbidden():
    for scene in (scene_with((60, 60, 50)), scene_with((60, 60, 15)), scene_with(unsure=[(60, 60, 30)])):
        answer = targets(scene)
        assert answer[0].max() == 0
        assert answer[1, 7, 7] == 0
        assert answer[1, 0, 0] == 1
    # so large that its parts must not be taken for faces
    forbidden = targets(scene_with((60, 60, 90)))
    assert forbidden[1].min() == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("heads", {"a.jpg": b""}, "holds no yunet_boxes_xyxy.json"),
        ("backgrounds", {"a.txt": b""}, "backgrounds.zip holds no .jpg images under its root"),
        ("backgrounds", {"a.jpg": b"x"}, "a.jpg is no image that can be read"),
        ("faces", {"val/a.jpg": b"x"}, "faces.zip holds no .jpg images under train/"),
        ("faces", None, "expected a zip of .jpg images"),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_says_so(tmp_path, archives, name, content, message):
    bad = tmp_path / f"{name}.zip"
    buffer = io.BytesIO()
    if content is not None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, data in content.items():
                archive.writestr(member, data)
    bad.write_bytes(buffer.getvalue() or b"no zip")
    with pytest.raises(DataError, match=message):
        read_material(**(archives | {name: bad}))
