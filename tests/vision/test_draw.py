"""Annotated images: the original stays as it is, boxes in the palette's colours, any box in any image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mien.palette import EMOTIONS_RGB, UNCERTAIN_RGB
from mien.results import UNCERTAIN, FaceResult
from mien.vision.draw import annotate, contact_sheet, layout
from mien.vision.placing import leader
from mien.vision.tags import painted, tags

PROBS = {"angry": 0.02, "happy": 0.61, "sad": 0.3, "surprise": 0.07}


def face(box, label="happy", probs=PROBS) -> FaceResult:
    return FaceResult(tuple(map(float, box)), label, probs)


def grid(columns: int, rows: int, side: int, step: int) -> list[FaceResult]:
    places = [(13 + step * x, 31 + step * y) for y in range(rows) for x in range(columns)]
    return [face((x, y, x + side, y + side)) for x, y in places]


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


CASES = {
    "one": ((641, 479), [face((200, 150, 330, 310))]),
    "five": ((1009, 661), grid(5, 1, 97, 190)),
    "neighbours": ((641, 479), grid(4, 1, 90, 95)),
    "twenty": ((1009, 661), grid(5, 4, 83, 160)),
    "tiny": ((641, 479), grid(5, 4, 11, 60)),
    "crowded": ((307, 311), grid(5, 4, 20, 30)),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_cover_no_face_and_no_other_label(case):
    resolution_wh, faces = CASES[case]
    places = layout(resolution_wh, faces).places
    assert None not in places
    assert "inside" not in {one.how for one in places}
    boxes = [one.box_xyxy_px for one in places]
    for number, box in enumerate(boxes):
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= resolution_wh[0]
        assert box[3] <= resolution_wh[1]
        assert not any(overlap(box, one.box_xyxy_px) for one in faces)
        assert not any(overlap(box, other) for other in boxes[:number])


def test_a_large_face_with_room_gets_three_bars_and_a_tiny_one_name_and_percentage():
    plan = layout((641, 479), [face((200, 150, 330, 310)), face((500, 100, 511, 113))])
    large, tiny = (sizes[place.size] for sizes, place in zip(plan.tags, plan.places, strict=True))
    assert [(row.name.text, row.percent.text) for row in large.rows] == [
        ("happy", "61%"), ("sad", "30%"), ("surprise", "7%"),
    ]  # fmt: skip
    assert [(row.name.text, row.percent.text) for row in tiny.rows] == [("happy", "61%")]
    assert large.font_px == tiny.font_px
    assert plan.places[0].box_xyxy_px[0] >= 330  # at its side: above, the bars would cover hair


def test_an_uncertain_face_says_so_above_its_bars():
    rows = tags(face((0, 0, 99, 99), UNCERTAIN), 13)[0].rows
    assert [row.name.text for row in rows] == ["uncertain", "happy", "sad", "surprise"]
    image = np.zeros((301, 307, 3), np.uint8)
    assert tuple(annotate(image, [face((100, 100, 199, 203), UNCERTAIN)])[150, 100]) == UNCERTAIN_RGB


def test_the_font_grows_with_the_image():
    small, large = (layout(wh, [face((9, 9, 19, 19))]).font_px for wh in ((641, 479), (8011, 5303)))
    assert (small, large) == (13, 76)


def test_a_face_that_fills_the_image_has_its_label_inside():
    (place,) = layout((401, 467), [face((0, 0, 401, 467))]).places
    assert place.how == "inside"
    assert place.box_xyxy_px[1] > 467 * 0.8  # low, where no eyes are


def test_a_label_without_a_place_beside_its_face_has_a_line_to_it_that_crosses_no_face():
    shut_in = face((97, 121, 103, 129))
    corridor = [face(box) for box in ((60, 70, 181, 119), (60, 131, 181, 180), (60, 119, 95, 131))]
    place = layout((401, 307), [shut_in, *corridor]).places[0]
    assert place.how == "leader"
    assert place.box_xyxy_px[0] > 181  # nearer places above and below have the long boxes in between
    image = np.zeros((307, 401, 3), np.uint8)
    drawn, bare = annotate(image, [shut_in, *corridor])[122:129, 150], annotate(image, corridor)[122:129, 150]
    assert drawn.max() > 60
    assert bare.max() == 0


def test_a_leader_joins_the_nearest_points():
    assert leader((10, 10, 20, 20), (30, 5, 50, 17)) == ((20, 13), (30, 13))
    assert leader((10, 10, 20, 20), (1, 31, 7, 40)) == ((10, 20), (7, 31))


@pytest.mark.parametrize("box", [(20, 40, 90, 110), (-30, -20, 30, 40), (150, 0, 260, 90), (3, 3, 3, 3)])
@pytest.mark.parametrize("shape", [(120, 200, 3), (7, 5, 3), (1000, 30, 3), (48, 48, 3)])
def test_any_box_in_any_image(box, shape):
    image = np.full(shape, 128, np.uint8)
    image.flags.writeable = False
    drawn = annotate(image, [face(box)])
    assert drawn.shape == shape
    assert drawn.dtype == np.uint8
    assert (image == 128).all()


def test_the_box_has_the_colour_of_the_emotion_and_the_face_stays_free():
    drawn = annotate(np.zeros((301, 307, 3), np.uint8), [face((100, 110, 199, 203))])
    for y, x in ((150, 100), (150, 198), (110, 150), (202, 150)):
        assert tuple(drawn[y, x]) == EMOTIONS_RGB["happy"]
    assert drawn[114:199, 104:195].max() == 0


def test_an_image_that_is_not_contiguous():
    image = np.random.default_rng(0).integers(0, 256, (211, 223, 6), np.uint8)
    drawn = annotate(image[:, ::-1, ::2], [face((50, 60, 99, 109))])
    assert (drawn[150:] == image[150:, ::-1, ::2]).all()


def test_nothing_found_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    assert (annotate(image, []) == image).all()


def test_a_label_is_a_dark_plate_with_the_colours_of_its_bars():
    tag = tags(face((0, 0, 99, 99)), 13)[0]
    image = painted(tag)
    assert image.size == tag.resolution_wh
    seen = {rgb for _, rgb in image.convert("RGB").getcolors(9999)}
    assert {EMOTIONS_RGB["happy"], EMOTIONS_RGB["sad"]} <= seen


def test_a_long_label_ends_in_an_ellipsis():
    (row,) = tags(face((0, 0, 9, 9), "schadenfreude" * 5, {"schadenfreude" * 5: 1.0}), 13)[0].rows
    assert row.name.text.startswith("schadenfreude")
    assert row.name.text.endswith("…")
    assert row.name.wide <= 11 * 13


def test_the_contact_sheet_marks_the_originals():
    grey, colour = np.full((7, 5, 1), 90, np.uint8), np.full((5, 7, 3), 200, np.uint8)
    line = [(grey, "happy"), (colour, "happy"), (colour, "happy 0.62 sad 0.38")]
    sheet = contact_sheet([line, line])
    strips = (sheet == EMOTIONS_RGB["happy"]).all(axis=2)
    assert strips.sum() == 2 * 3 * 96  # under the first image of both lines, nowhere else
    assert strips[:, :110].sum() == strips.sum()
    assert (sheet == 90).all(axis=2).sum() >= 2 * 96 * 96
    assert Image.fromarray(sheet).size == (
        3 * 102 + 18,
        20 + 2 * 135 + 6,
    )  # the third caption needs two lines
