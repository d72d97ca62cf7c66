"""Label sets and the maps between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import labels
from mien.errors import DataError, did_you_mean


def test_orders_met_in_the_field():
    assert labels.EMOTIONS_7 == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert labels.FER2013_CSV_ORDER[4] == "sad"
    assert labels.FER2013_CSV_ORDER[6] == "neutral"
    assert labels.index_map(labels.FER2013_CSV_ORDER, labels.EMOTIONS_7) == [0, 1, 2, 3, 5, 6, 4]
    assert [labels.canonical(n) for n in ("neutral", "happiness", "surprise", "sadness", "anger")] == list(
        labels.FERPLUS_VOTE_ORDER[:5]
    )


@pytest.mark.parametrize(
    ("given_name", "name"),
    [("Happiness", "happy"), (" ANGER ", "angry"), ("NF", "not_a_face"), ("Bored", "bored")],
)
def test_canonical(given_name, name):
    assert labels.canonical(given_name) == name


@given(st.permutations(labels.EMOTIONS_8))
def test_known_emotions_always_come_in_the_same_order(names):
    assert labels.label_set(names) == labels.EMOTIONS_8


def test_others_come_after_by_the_alphabet():
    assert labels.label_set(["tired", "sad", "bored", "Joy"]) == ("happy", "sad", "bored", "tired")


def test_two_names_for_one_emotion_are_refused():
    with pytest.raises(DataError, match="classes 'happy' and 'Joy' both mean 'happy'"):
        labels.label_set(["happy", "Joy", "sad"])


def test_one_class_is_refused():
    with pytest.raises(DataError, match="expected at least two classes, found 1: sad"):
        labels.label_set(["sad"])


def test_an_unknown_label_names_its_neighbour():
    with pytest.raises(DataError, match=r"label 'hapy' .* did you mean happy\?"):
        labels.index_map(("hapy",), labels.EMOTIONS_7)


def test_a_label_too_many_names_the_way_out():
    message = (
        r"label 'contempt' of the data .*; leave it out with labels=angry,disgust,fear,happy,neutral,sad,sur"
    )
    with pytest.raises(DataError, match=message):
        labels.index_map(labels.EMOTIONS_8, labels.EMOTIONS_7)


def test_labels_of_another_package_are_matched_by_what_they_mean():
    peer = ("Anger", "Happiness", "Neutral")
    assert labels.index_map(("angry", "happy"), peer) == [0, 1]
    assert labels.index_map(("Happiness", "neutral"), peer) == [1, 2]
    both = ("happy", "Happiness", "sad")  # a model that has both words means two things
    assert labels.index_map(("happy", "Happiness"), both) == [0, 1]
    with pytest.raises(
        DataError, match="label 'joy' of the data is not among the model's labels happy, Happiness, sad"
    ):
        labels.index_map(("joy",), both)


def test_a_hint_goes_by_meaning_before_letters():
    assert did_you_mean("gpu", ("cpu", "cuda", "auto")) == "; did you mean cuda?"
    assert did_you_mean("gpu", ("cpu", "auto")) == "; did you mean cpu?"


def test_the_highest_class_number_counts_whatever_their_order():
    with pytest.raises(DataError, match="has the class number 9, but labels=a,b names only 0 to 1"):
        labels.choose_labels("a,b", ("9", "0"), "x")
