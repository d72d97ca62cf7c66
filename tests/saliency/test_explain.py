"""Explanations of photos, from Python and on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import mien
from mien.errors import ConfigError, ImageError
from mien.saliency.explain import pipeline_for
from mien.saliency.written import JOURNAL, Written
from mien.vision.frames import frames
from tests.fakes import FixedDetector
from tests.saliency.test_occlusion import Spot, dotted


@pytest.fixture
def photo():
    """Return two dotted crops side by side, each a face."""
    return np.concatenate([dotted(48, 36, 24, 3), dotted(48, 12, 24, 3)], axis=1)


DETECTOR = FixedDetector((0, 0, 48, 48), (48, 0, 96, 48))


def test_each_face_of_a_photo_has_its_own_map(photo):
    (one,) = mien.explain(photo, model=Spot(36, 24, size_px=48), detector=DETECTOR)
    first, second = one.faces
    assert (first.label, second.label) == ("happy", "sad")
    assert first.sentence().startswith("happy 98%; ")
    assert first.sentence().endswith(" when the lower middle is hidden")
    assert second.sentence() == "sad 98%; no hidden place lowers it"
    document = json.loads(one.to_json())
    assert document["faces"][0]["deepest"]["where"] == "lower middle"
    assert np.array(document["faces"][0]["falls"]).shape == (13, 13)
    assert document["faces"][0]["deepest"]["fall"] == pytest.approx(np.max(document["faces"][0]["falls"]))
    (asked,) = mien.explain(photo, model=Spot(36, 24, size_px=48), detector=DETECTOR, label="sad")
    assert [face.label for face in asked.faces] == ["sad", "sad"]
    falls = [np.array(some.to_dict()["faces"][0]["falls"]) for some in (one, asked)]
    np.testing.assert_allclose(falls[0], -falls[1], atol=1e-5)
    sheets = [some.picture() for some in (one, asked)]
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    assert one._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_explained(photo, tmp_path):
    spot = Spot(36, 24, size_px=48)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (broken,) = mien.explain(tmp_path / "broken.png", model=spot, detector=DETECTOR)
    assert broken.error
    with pytest.raises(ImageError, match="broken.png"):
        broken.picture()
    (bare,) = mien.explain(photo, model=spot, detector=FixedDetector())
    with pytest.raises(ImageError, match="no face found"):
        bare.save(tmp_path / "none.png")
    with pytest.raises(ConfigError, match="no label 'hapy': expected one of sad, happy.*happy"):
        mien.explain(photo, model=spot, detector=DETECTOR, label="hapy")
    with pytest.raises(ConfigError, match="views has no effect"):
        mien.explain(photo, model=spot, detector=DETECTOR, views=2)


def test_an_interrupted_run_goes_on(photo, tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    out, sources = tmp_path / "out", [str(tmp_path / f"{name}.png") for name in ("a", "b", "c")]
    spot = Spot(36, 24, size_px=48)
    pipeline = pipeline_for(model=spot, detector=DETECTOR)
    with Written(out, pipeline, None) as written:
        next(iter(written.explain(frames(sources))))
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"source": "half')
    with Written(out, pipeline, None, resume=True) as written:
        assert written.done == {(sources[0], 0)}
        assert [one.source for one in written.explain(frames(sources))] == sources[1:]
        assert [image["source"] for image in written.document()["images"]] == sources
    assert sorted(path.name for path in out.iterdir()) == [
        "a.explained.png", "b.explained.png", "c.explained.png", JOURNAL,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="found 3 results of an earlier run, 1 table"):
        frames(str(out), skip=out)
    with pytest.raises(ConfigError, match="made by another model or detector, or for another label"):
        Written(out, pipeline, "sad", resume=True)


def test_a_run_goes_on_with_the_same_detector_alone(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    spot = Spot(36, 24, size_px=48)
    with Written(tmp_path / "out", pipeline_for(model=spot, detector="whole"), None) as written:
        list(written.explain(frames([str(tmp_path / "a.png")])))
    with pytest.raises(ConfigError, match="made by another model or detector"):
        Written(tmp_path / "out", pipeline_for(model=spot, detector=DETECTOR), None, resume=True)


def test_more_photos_leave_the_pictures_of_the_first_ones(photo, tmp_path):
    """Of two photos with one name, each has a picture of its own, also if the second one came in a later run."""
    pipeline = pipeline_for(model=Spot(36, 24, size_px=48), detector=DETECTOR)
    for name, pixels in (("first", photo), ("second", photo[:, ::-1])):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
        with Written(tmp_path / "out", pipeline, None, resume=name == "second") as written:
            (one,) = written.explain(frames([str(tmp_path / name / "a.png")]))
        made = {"first": "a", "second": "a-2"}[name]
        assert (np.asarray(Image.open(tmp_path / "out" / f"{made}.explained.png")) == one.picture()).all()
    sources = [str(tmp_path / name / "a.png") for name in ("first", "second")]
    assert [image["source"] for image in written.document()["images"]] == sources
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_a_wrong_label_leaves_an_earlier_journal(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    pipeline = pipeline_for(model=Spot(36, 24, size_px=48), detector=DETECTOR)
    with Written(tmp_path / "out", pipeline, None) as written:
        list(written.explain(frames([str(tmp_path / "a.png")])))
    before = (tmp_path / "out" / JOURNAL).read_bytes()
    with pytest.raises(ConfigError, match="no label 'hapy'"):
        Written(tmp_path / "out", pipeline, "hapy")
    assert (tmp_path / "out" / JOURNAL).read_bytes() == before
