"""FER+ votes: the rules worked by hand, both forms of the table, and the real one."""

from __future__ import annotations

import numpy as np
import pytest

from mien.data.read import convert, opened, read_dataset, read_split
from mien.data.reading import ReadOptions
from mien.data.survey import survey
from mien.data.votes import vote_targets
from mien.errors import ConfigError, DataError
from mien.labels import EMOTIONS_8, FERPLUS_VOTE_ORDER
from mien.preprocess import Preprocess
from tests.data.test_tables import SMALL, USAGES, table
from tests.pictures import png, tree, write_tree

OFFICIAL = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def votes(**counts: int) -> np.ndarray:
    row = np.zeros((1, 10), np.float32)
    for name, count in counts.items():
        row[0, FERPLUS_VOTE_ORDER.index(name)] = count
    return row


def shares(targets: np.ndarray) -> dict[str, float]:
    return {EMOTIONS_8[k]: round(float(share), 4) for k, share in enumerate(targets[0]) if share}


@pytest.mark.parametrize(
    ("rule", "unknown", "counts", "want"),
    [
        ("distribution", "drop", dict(happy=6, neutral=4), {"happy": 0.6, "neutral": 0.4}),
        ("distribution", "drop", dict(happy=6, neutral=3, fear=1), {"happy": 0.6667, "neutral": 0.3333}),
        ("distribution", "drop", dict(happy=4, unknown=3, sad=3), {"happy": 0.5714, "sad": 0.4286}),
        ("distribution", "drop", dict(happy=4, unknown=6), {}),
        ("distribution", "drop", dict(happy=3, sad=2, not_a_face=5), {}),
        ("distribution", "ignore", dict(happy=4, unknown=6), {"happy": 1.0}),
        ("distribution", "ignore", dict(not_a_face=10), {}),
        ("majority", "drop", dict(contempt=6, neutral=4), {"contempt": 1.0}),
        ("majority", "drop", dict(happy=5, neutral=5), {}),
        ("majority", "drop", dict(happy=4, neutral=3, sad=3), {}),
        ("majority", "drop", dict(happy=4, unknown=4, sad=2), {}),
        ("majority", "ignore", dict(happy=4, unknown=4, sad=2), {"happy": 1.0}),
    ],
)
def test_the_rules_by_hand(rule, unknown, counts, want):
    assert shares(vote_targets(votes(**counts), rule=rule, unknown=unknown)) == want


def test_the_official_table_goes_row_by_row(tmp_path):
    (tmp_path / "fer2013.csv").write_text(table())
    rows = [
        f"{USAGES[i // 7]},fer{i:07d}.png," + ",".join(map(str, votes(happy=7, sad=3)[0].astype(int)))
        for i in range(21)
    ]
    for i, emotion in ((0, "sad"), (7, "sad"), (14, "sad")):
        rows[i] = f"{USAGES[i // 7]},,{','.join(map(str, votes(**{emotion: 9})[0].astype(int)))}"
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join([OFFICIAL, *rows]))
    options = ReadOptions(votes=str(path), labels="happy,sad")
    data = read_dataset(tmp_path / "fer2013.csv", SMALL, options=options)
    assert data.labels == ("happy", "sad")
    np.testing.assert_allclose(data.targets[:2], [[0, 1], [0.7, 0.3]], atol=1e-6)

    path.write_text("\n".join([OFFICIAL, *rows[:-1]]))
    with pytest.raises(DataError, match="has votes for 20 images, .* has 21: they go row by row"):
        read_dataset(tmp_path / "fer2013.csv", SMALL, options=options)


def test_votes_by_row_never_meet_pictures_of_another_order(tmp_path):
    root = write_tree(tmp_path / "set", tree(("happy", "sad"), each=2))
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join([OFFICIAL, *["Training,a.png,10" + ",0" * 9] * 8]))
    with pytest.raises(DataError, match="has no votes for 8 of 8 images, .* is it of another dataset"):
        read_dataset(root, options=ReadOptions(votes=str(path)))


def test_a_table_with_file_names_goes_by_name(tmp_path):
    root = write_tree(tmp_path / "set", tree(("happy", "sad"), each=2))
    lines = ["file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    lines += [
        f"{name},0,{10 if '/0' in name else 0},0,{0 if '/0' in name else 10},0,0,0,0,0,0"
        for name in reversed(list(tree(("happy", "sad"), each=2)))
    ]
    path = tmp_path / "votes.csv"
    path.write_text("\n".join(lines[:-1]))
    options = ReadOptions(votes=str(path), labels="happy,sad")
    data = read_dataset(root, options=options)
    assert len(data) == 7  # one picture has no votes
    told = "labels are replaced by the votes of votes.csv (rule distribution)"
    assert data.notes[-1] == f"{told}; another class than before: 4 of 7 images"
    for name, target in zip(data.ids, data.targets, strict=True):
        assert target.tolist() == ([1, 0] if name.endswith("/0.png") else [0, 1])
    assert survey(root, options).left_out == 1
    path.write_text("\n".join(lines[:4]))
    with pytest.raises(
        DataError, match="has no votes for 5 of 8 images, first test/happy/0.png: is it of another"
    ):
        read_dataset(root, options=options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,neutral\na,1\n", "expected a column of votes for happy, got file, neutral"),
        (OFFICIAL + "\nTraining,a" + ",x" * 10, "line 2 holds a vote that is no number"),
        (OFFICIAL + "\nTraining,a" + ",-1" * 10, "line 2 holds a vote that is no count of people"),
        (OFFICIAL + "\nTraining,a" + ",nan" * 10, "line 2 holds a vote that is no count of people"),
    ],
)
def test_tables_of_votes_that_are_refused(tmp_path, content, message):
    (tmp_path / "votes.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_dataset(
            write_tree(tmp_path / "set", tree()), options=ReadOptions(votes=str(tmp_path / "votes.csv"))
        )
    with pytest.raises(DataError, match="no votes at .*nowhere"):
        read_dataset(tmp_path / "set", options=ReadOptions(votes=str(tmp_path / "nowhere")))


def test_the_real_votes(shared):
    options = ReadOptions(votes=str(shared / "data" / "ferplus_votes.csv"), vote_rule="majority")
    with opened(shared / "data" / "fer2013.zip", "train", options) as reading:  # no picture is decoded
        assert reading.classes == EMOTIONS_8
        counts = np.bincount(reading.targets.argmax(axis=1)).tolist()
    assert counts == [2092, 119, 527, 7283, 8731, 3007, 3143, 119]


def test_votes_beside_the_labels_leave_them_as_they_are_and_travel(tmp_path):
    root = write_tree(tmp_path / "set", tree(("happy", "sad"), each=2))
    names = sorted(tree(("happy", "sad"), each=2))
    lines = ["file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    lines += [f"{name},{row},0,0,0,0,0,0,0,0,{9 - row}" for row, name in enumerate(names[1:], start=1)]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    options = ReadOptions(votes=str(tmp_path / "votes.csv"), vote_rule="beside")
    data = read_dataset(root, options=options)
    plain = read_dataset(root)
    assert data.labels == ("happy", "sad")
    assert data.notes == (*plain.notes, "votes.csv has votes for 7 of 8 images; labels stay")
    np.testing.assert_array_equal(data.targets, plain.targets)
    by_name = dict(zip(data.ids, data.votes, strict=True))
    assert not by_name[names[0]].any(), "a picture without votes stays"
    assert by_name[names[3]].tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0, 6]
    assert data.fingerprint() != plain.fingerprint()
    np.testing.assert_array_equal(data.take(np.array([4, 1])).votes, data.votes[[4, 1]])
    np.testing.assert_array_equal(data.joined(data.images[:1], np.array([2])).votes[-1], data.votes[2])
    convert(root, tmp_path / "packed.npz", options=options)
    packed = read_dataset(tmp_path / "packed.npz")
    np.testing.assert_array_equal(packed.votes, data.votes)
    assert packed.fingerprint() == data.fingerprint()


def test_rules_for_votes_that_make_no_label_are_refused(tmp_path):
    votes = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    files = {f"{row}.png": png(row) for row in range(4)}
    counts = ("0,9,0,2", "0,2,0,9") * 2
    lines = [f"{row}.png,{('sad', 'fear')[row % 2]},{few},0,0,0,0,0,0" for row, few in enumerate(counts)]
    write_tree(tmp_path, files | {"both.csv": "\n".join([f"file,label,{votes}", *lines]).encode()})
    lines = [line.replace(",sad", "").replace(",fear", "") for line in lines]
    write_tree(tmp_path, {"bare.csv": "\n".join([f"file,{votes}", *lines]).encode()})
    for rule, most in (("majority", 1), ("distribution", 9 / 11)):
        options = ReadOptions(vote_rule=rule, labels="happy,sad")
        data = read_split(tmp_path / "bare.csv", Preprocess(), "all", options)
        assert data.targets.max() == pytest.approx(most)
    for given in ({"vote_rule": "majority"}, {"vote_unknown": "ignore"}):
        with pytest.raises(ConfigError, match="both.csv has labels, and its votes stay beside them"):
            read_split(tmp_path / "both.csv", Preprocess(), "all", ReadOptions(**given))
    data = read_split(tmp_path / "both.csv", Preprocess(), "all", ReadOptions(vote_rule="beside"))
    assert data.given_names.tolist() == ["sad", "fear"] * 2
    assert data.votes is not None


def test_shares_are_no_votes(tmp_path):
    files = {f"{row}.png": png(row) for row in range(2)}
    header = "file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    lines = [header, "0.png,0,0.55,0,0.45,0,0,0,0,0,0", "1.png,0,0,0,9,0,0,0,0,0,0"]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    root = write_tree(
        tmp_path / "set",
        {f"{('happy', 'sad')[row]}/{name}": png for row, (name, png) in enumerate(files.items())},
    )
    with pytest.raises(DataError, match="line 2 holds a vote that is no count of people"):
        read_dataset(root, options=ReadOptions(votes=str(tmp_path / "votes.csv"), vote_rule="beside"))
