"""The card: every shipped one, one with facts missing, one with hostile names."""

from __future__ import annotations

import json

import pytest

from mien import bundle
from mien.card import Card
from mien.card.page import render


@pytest.fixture
def card():
    return bundle.load("mien_nano").card


def as_json(card) -> dict:
    return json.loads(card.model_dump_json())


def test_the_shipped_model_says_all():
    page = render(bundle.load("mien_nano").card)
    assert "# mien_nano\n" in page
    assert "25,839 images of `fer2013.zip`" in page
    assert page.count("unknown") == 1, "that of the ages in the datasets"


SECTIONS = ["training", "data", "calibration", "exports.int8", "exports.int8.held_out", "scores.0"]


@pytest.mark.parametrize("section", SECTIONS)
def test_one_missing_fact_costs_no_page(card, section):
    facts = as_json(card)
    *outer, last = section.split(".")
    place = facts
    for key in [*outer, last]:
        place = place[int(key) if key.isdigit() else key]
    for fact in sorted(place.keys() - {"split", "accuracy"}):
        value = place.pop(fact)
        assert "## Training" in render(Card.model_validate(facts)), fact
        place[fact] = value


def test_a_card_without_any_fact_has_a_page(card):
    facts = as_json(card) | {
        "training": {},
        "data": {},
        "recipe": {},
        "versions": {},
        "exports": {"int8": {}},
    }
    page = render(Card.model_validate(facts | {"scores": [], "calibration": {}, "command": ""}))
    assert "on unknown images of `unknown` (fingerprint `unknown`)" in page
    assert "## Scores" not in page
    page = render(Card.model_validate(facts | {"architecture": "ensemble", "recipe": {"rule": "mean"}}))
    assert "by the rule `mean`, judged on `unknown` of `unknown` (fingerprint `unknown`): unknown" in page


def test_facts_of_a_later_version_are_kept(card):
    facts = as_json(card)
    facts["training"]["mood"] = "fair"
    assert as_json(Card.model_validate(facts))["training"]["mood"] == "fair"


def test_names_and_labels_are_text_never_markup(card):
    facts = as_json(card) | {
        "name": "a`<img src=x>|**b**\x1b[31m\n# c",
        "labels": ["<script>", "[l](http://e)", "_x_", "very_happy"],
        "architecture": "a`|<b>",
        "command": "x\n```\n<b>",
    }
    happy = facts["scores"][0]["per_class"]["happy"]
    facts["scores"][0]["per_class"] = {"<b>|": happy}
    page = render(Card.model_validate(facts))
    assert "# a\\`&lt;img src=x&gt;\\|\\*\\*b\\*\\* \\[31m # c\n" in page
    assert "out: &lt;script&gt;, \\[l\\](http://e), \\_x\\_, very_happy." in page
    assert "`a'\\|<b>`, " in page, "in a code span HTML is text"
    assert "````\nx\n```\n<b>\n````\n" in page, "the command does not end its own block"
    assert f"| &lt;b&gt;\\| | {100 * happy['precision']:.1f} %" in page


def test_wrong_facts_are_one_line(card, tmp_path):
    facts = as_json(card)
    facts["recipe"]["network_options"] = ["dropout"]
    text = json.dumps({"format": "mien.bundle/1", "card": facts, "sha256": {}})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        bundle.BundleError, match=r"card\.recipe: .*network_options: expected a table of options"
    ):
        bundle.load(tmp_path)


def test_names_that_are_not_utf_8_do_not_keep_a_finished_run_from_its_page(card):
    facts = as_json(card)
    odd = {
        "name": "run\udce9",
        "command": "mien train x --out run\udce9",
        "data": {**facts["data"], "name": "d\udce9"},
    }
    made = Card.model_validate(facts | odd)
    assert r"--out run\xe9" in render(made)
    render(made).encode()
    made.model_dump_json()
