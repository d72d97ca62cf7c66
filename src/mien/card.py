"""The model card: a bundle's facts as a page for people, every figure taken from the bundle itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.bundle import Card

_USES = """\
## Intended use

Research and teaching on facial expressions, reproducing published results, interfaces whose users know of it
and can switch it off. The output is the *look* of a face as crowd workers would name it. It is not what the
person feels.

## Prohibited and unfit uses

- Inferring emotions of people at work or in education is **prohibited in the European Union** since
  2 February 2025 (Regulation 2024/1689, Article 5(1)(f)), medical and safety reasons excepted.
- Where emotion recognition is allowed there, **the people exposed to it must be told** (Article 50(3)).
- Never for decisions on hiring, credit, insurance, policing, borders, health or guilt.
- Face datasets have noisy labels and an unknown mix of ages, skin tones and cultures. Expect errors that differ
  between groups; measure them on your own data first.
"""

_DRAWN = "The training pictures are drawn by program and free of any licence. The model knows nothing of real faces."
_LICENCE = (
    "**The licence of the training data is unclear.** Public sets such as FER2013 were collected by web search and "
    "published for a contest or for research; the pictures remain their owners'. Check the terms of your copy "
    "before you build on this model."
)


def render(card: Card) -> str:
    """Return the card as Markdown."""
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "library_name: mien",
            "pipeline_tag: image-classification",
            "tags: [facial-expression-recognition, onnx]",
            "---",
            "",
            f"# {card.name}",
            "",
            f"`{card.architecture}`, {card.parameters:,} parameters as deployed. One face crop of "
            f"{card.preprocess.size_px}x{card.preprocess.size_px} pixels, {_colour(card)}, in; "
            f"{len(card.labels)} probabilities out: {', '.join(card.labels)}.",
            "",
            "## Scores",
            "",
            *_headline(card.scores),
            "",
            *_per_class(card.scores),
            "",
            *_calibration(card.calibration),
            *_graphs(card.exports),
            "## Training",
            "",
            *(_members(card) if card.architecture == "ensemble" else _training(card)),
            "",
            "The command that makes it:",
            "",
            "```",
            card.command or "# trained from Python; the recipe is in config.json",
            "```",
            "",
            f"Versions: {', '.join(f'{name} {number}' for name, number in card.versions.items())}.",
            "",
            _USES,
        ]
    )


def _graphs(exports: dict[str, dict[str, Any]]) -> list[str]:
    if not exports:
        return []
    rows = ["## Other graphs", "",
            "| graph | size | equal labels | accuracy there, against model.onnx | pictures | how |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for name, made in exports.items():
        on, where = made["held_out"], made["compared_on"]
        change = "" if on["change"] is None else f"{100 * on['change']:+.2f} points"
        rows.append(
            f"| {name} | {made['size_bytes'] / 1e6:.3f} MB (fp32: {made['onnx_size_bytes'] / 1e6:.3f}) "
            f"| {100 * on['equal_labels']:.2f} % | {change} | {on['n']:,} of `{where['split']}`, `{where['data']}` "
            f"| {made['method']} |"
        )
        rows += [
            f"| | | | {100 * score['accuracy']:.2f} % | {score['n']:,} of `{score['split']}`, tta {score['tta']} "
            f"| {score['protocol']} |"
            for score in made["scores"]
        ]
    return [*rows, ""]


def _colour(card: Card) -> str:
    return "grey" if card.preprocess.channels == 1 else "colour"


def _headline(scores: list[dict[str, Any]]) -> list[str]:
    rows = ["| split | n | test-time augmentation | accuracy | macro-F1 | balanced accuracy | protocol |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for score in scores:
        figures = " | ".join(
            f"{100 * score[name]:.1f} %" for name in ("accuracy", "macro_f1", "balanced_accuracy")
        )
        rows.append(
            f"| {score['split']} | {score['n']:,} | {score['tta']} | {figures} | {score['protocol']} |"
        )
    return rows


def _per_class(scores: list[dict[str, Any]]) -> list[str]:
    score = scores[0]
    rows = [f"Per class on `{score['split']}`, without test-time augmentation:", "",
            "| class | precision | recall | F1 | images |", "|---|---|---|---|---|"]  # fmt: skip
    for label, row in score["per_class"].items():
        figures = " | ".join(f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1"))
        rows.append(f"| {label} | {figures} | {row['support']} |")
    return rows


def _calibration(facts: dict[str, Any]) -> list[str]:
    if not facts:
        return []
    before = f"{facts['log_loss']:.3f}", f"{100 * facts['ece']:.1f} %"
    after = f"{facts['log_loss_calibrated']:.3f}", f"{100 * facts['ece_calibrated']:.1f} %"
    return [
        f"Probabilities are calibrated: the graph divides the logits by a temperature of {facts['temperature']:.3f}, "
        f"fitted to {facts['n']:,} images of `{facts['split']}` of `{facts['data']}`. Cross-validated there, it "
        f"changes the log-loss from {before[0]} to {after[0]} and the calibration error from {before[1]} to "
        f"{after[1]}. The class with the highest probability stays the same; scores above were measured before.",
        "",
    ]


def _training(card: Card) -> list[str]:
    run, data, recipe = card.training, card.data, card.recipe
    images = sum(data["counts"][recipe["train_split"]].values())
    kept, last = (f"{100 * run[name]:.1f} %" for name in ("kept_val_accuracy", "last_val_accuracy"))
    skipped = f" {len(data['skipped'])} corrupt pictures were left out." if data.get("skipped") else ""
    return [
        f"{_start(run)} on {images:,} images of `{data['name']}` (fingerprint `{data['fingerprint'][:12]}`), with no "
        f"other pictures in this run: {run['epochs']} of {recipe['epochs']} epochs, the median one in "
        f"{run['median_epoch_seconds']:.0f} s, on {run['device']} ({run['machine']}, {run['threads']} threads, "
        f"processes: {run['processes']}). Epoch {run['kept_epoch']} was kept, with {kept} on "
        f"`{run['validation_split']}`; the last epoch had {last}.{skipped} ONNX Runtime and torch differ by at most "
        f"{run['onnx_max_probability_difference']:.0e} in a probability.",
        "",
        _DRAWN if data["name"] == "synthetic" else _LICENCE,
    ]


def _members(card: Card) -> list[str]:
    run, rule = card.training, card.recipe["rule"]
    best = max(member["accuracy"] for member in card.recipe["members"])
    worse = " **It is worse than its best member there.**" if run["is_worse"] else ""
    rows = ["| member | architecture | weight | accuracy |", "|---|---|---|---|"]
    for member in card.recipe["members"]:
        figures = f"{member['weight']:.3f} | {100 * member['accuracy']:.1f} %"
        rows.append(
            f"| {member['name']} (`{member['sha256'][:12]}`) | {member['architecture']} | {figures} |"
        )
    return [
        f"An ensemble by the rule `{rule}`, judged on `{run['split']}` of `{card.data['name']}` (fingerprint "
        f"`{card.data['fingerprint'][:12]}`): {100 * run[rule]:.1f} %, its best member {100 * best:.1f} %.{worse} "
        f"Weights fitted to four fifths and judged on the other gain {100 * run['gain']:.2f} points over the plain "
        f"mean (standard error {100 * run['gain_standard_error']:.2f}).",
        "",
        *rows,
        "",
        _DRAWN if card.data["name"] == "synthetic" else _LICENCE,
    ]


def _start(run: dict[str, Any]) -> str:
    parts = [f"From the weights {_named(run['started_from'])}" if "started_from" in run else "From scratch"]
    if teachers := run.get("teachers"):
        parts.append("taught by " + " and ".join(_named(teacher) for teacher in teachers))
    if share := run.get("votes_share"):
        rest = "the rest of " if teachers else ""
        parts.append(
            f"{share:.0%} of {rest}each training target being the label as annotators' votes predict it"
        )
    return ", ".join(parts) + ("," if len(parts) > 1 else "")


def _named(weights: dict[str, str]) -> str:
    return f"`{weights['name']}`" + (f" (SHA-256 `{weights['sha256'][:12]}`)" if weights["sha256"] else "")
