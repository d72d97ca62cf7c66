"""The page of a model card: what people read in ``README.md``."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from mien.card import BEFORE, ENSEMBLE
from mien.errors import number_of

if TYPE_CHECKING:
    from mien.card import Calibration, Card, ComparedOn, Data, Export, Origin, Score, Training

_USES = """\
## Intended use

Research and teaching on facial expressions, reproducing published results, interfaces whose users know of it
and can switch it off. The output is the *look* of a face as crowd workers would name it. It is not what the
person feels.

## Prohibited and unfit uses

- Inferring emotions of people at work or in education is **prohibited in the European Union** since
  2 February 2025 (Regulation 2024/1689, Article 5(1)(f)), medical and safety reasons excepted.
- Where emotion recognition is allowed there, **the people exposed to it must be told** (Article 50(3)).
- Never for decisions on hiring, grading, credit, insurance, policing, borders, health or guilt.
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
    """Return the page as Markdown. Names and labels appear in it as text, never as markup."""
    fence = "`" * max(3, *(1 + len(run) for run in re.findall("`+", card.command)), 0)
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "library_name: mien",
            "pipeline_tag: image-classification",
            "tags: [facial-expression-recognition, onnx]",
            "---",
            "",
            f"# {_text(card.name)}",
            "",
            f"{_code(card.architecture)}, {card.parameters:,} parameters as deployed. One face crop of "
            f"{card.preprocess.size_px}x{card.preprocess.size_px} pixels, "
            f"{'grey' if card.preprocess.channels == 1 else 'colour'}, in; "
            f"{len(card.labels)} probabilities out: {', '.join(map(_text, card.labels))}.",
            "",
            *_headline(card.scores),
            *_per_class(card.scores),
            *_calibration(card.calibration),
            *_graphs(card.exports),
            "## Training",
            "",
            *(_members(card) if card.architecture == ENSEMBLE else _training(card)),
            "",
            "The command that makes it:",
            "",
            fence,
            card.command or "# trained from Python; the recipe is in config.json",
            fence,
            "",
            f"Versions: {', '.join(f'{_text(name)} {_text(number)}' for name, number in card.versions.items())}.",
            "",
            _USES,
        ]
    )


def _text(value: object) -> str:
    """Return a name or label as it is to be read: nothing in it acts as Markdown, HTML or a control character."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    escaped = re.sub(r"([\\`*~\[\]|]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", plain)
    return html.escape(escaped, quote=False)


def _code(value: object) -> str:
    """Return a name as a code span."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return f"`{plain.replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _number(value: float | None, form: str = ",", factor: float = 1) -> str:
    return "unknown" if value is None else format(factor * value, form)


def _percent(value: float | None, form: str = ".1f") -> str:
    return "unknown" if value is None else f"{100 * value:{form}} %"


def _learnt(where: ComparedOn) -> str:
    if where.unlearnt is None:
        return ""
    return ", none of them learnt by the model" if where.unlearnt else ", which the model has learnt"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f" (95 %: {_percent(bounds[0])} to {_percent(bounds[1])})"


def _graphs(exports: dict[str, Export]) -> list[str]:
    if not exports:
        return []
    rows = ["## Other graphs", "",
            "| graph | size | equal labels | accuracy there, against model.onnx | images | how |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for name, made in exports.items():
        on, where = made.held_out, made.compared_on
        change = "" if on.change is None else f"{100 * on.change:+.2f} points"
        change = (change + BEFORE if made.before_calibration else change).removeprefix("; ")
        size, whole = (_number(value, ".3f", 1e-6) for value in (made.size_bytes, made.onnx_size_bytes))
        rows.append(
            f"| {_text(name)} | {size} MB (fp32: {whole}) | {_percent(on.equal_labels, '.2f')} | {change} "
            f"| {on.n:,} of {_code(where.split)}, {_code(where.data)}{_learnt(where)} | {_text(made.method)} |"
        )
        rows += [
            f"| | | | {_percent(score.accuracy, '.2f')} | {score.n:,} of {_code(score.split)}, tta "
            f"{_text(score.tta)} | {_text(score.protocol)} |"
            for score in made.scores
        ]
    return [*rows, ""]


def _headline(scores: tuple[Score, ...]) -> list[str]:
    if not scores:
        return []
    rows = ["## Scores", "",
            "| split | n | test-time augmentation | accuracy | macro-F1 | balanced accuracy | protocol |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for score in scores:
        figures = map(_percent, (score.accuracy, score.macro_f1, score.balanced_accuracy))
        rows.append(
            f"| {_text(score.split)} | {score.n:,} | {_text(score.tta)} | {' | '.join(figures)} "
            f"| {_text(score.protocol)} |"
        )
    return [*rows, ""]


def _per_class(scores: tuple[Score, ...]) -> list[str]:
    score = next((one for one in scores if one.tta == "none" and one.per_class), None)
    if score is None:
        return []
    rows = [f"Per class on {_code(score.split)}, without test-time augmentation:", "",
            "| class | precision | recall | F1 | images |", "|---|---|---|---|---|"]  # fmt: skip
    for label, row in score.per_class.items():
        figures = " | ".join(map(_percent, (row.precision, row.recall, row.f1)))
        rows.append(f"| {_text(label)} | {figures} | {row.support} |")
    return [*rows, ""]


def _calibration(facts: Calibration) -> list[str]:
    prior = [
        f"Class prior ({_text(facts.prior_from)}): "
        + ", ".join(f"{_text(label)} {_percent(value)}" for label, value in facts.prior.items())
        + ". Scores above were measured before.", "",
    ] if facts.prior else []  # fmt: skip
    if facts.split is None:
        said = f"Probabilities are not calibrated: {_text(facts.unfitted)}. `mien calibrate` does it."
        return [said, "", *prior] if facts.unfitted else prior
    loss = [_number(value, ".3f") for value in (facts.log_loss, facts.log_loss_calibrated)]
    error = [_percent(value) for value in (facts.ece, facts.ece_calibrated)]
    return [
        f"Probabilities are calibrated: the graph divides the logits by a temperature of {facts.temperature:.3f}"
        + (", then adds a bias to each class" if facts.own_bias else "")
        + f", fitted to {facts.n:,} images of {_code(facts.split)} of {_code(facts.data)}. "
        f"Cross-validated there, this changes the log-loss from {loss[0]} to {loss[1]}, the calibration error from "
        f"{error[0]} to {error[1]}{_interval(facts.ece_calibrated_95)}"
        + (
            f" and the accuracy from {_percent(facts.accuracy)} to {_percent(facts.accuracy_calibrated)}"
            if facts.accuracy is not None
            else ""
        )
        + ".",
        "",
        *prior,
    ]


def _training(card: Card) -> list[str]:
    run, data = card.training, card.data
    counts = data.counts.get(str(card.recipe.get("train_split")), {})
    skipped = f" Left out as corrupt: {number_of(len(data.skipped), 'image')}." if data.skipped else ""
    return [
        f"{_start(run)} on {_number(sum(counts.values()) or None)} images of {_source(data)}, with no "
        f"other images in this run: {_number(run.epochs)} of {card.recipe.get('epochs', 'unknown')} epochs, the "
        f"median one in {_number(run.median_epoch_seconds, '.0f')} s, on {_text(run.device or 'unknown')} "
        f"({_text(run.machine or 'unknown')}, {_number(run.threads)} threads, processes: {_number(run.processes)}). "
        f"Epoch {_number(run.kept_epoch)} was kept, with {_percent(run.kept_val_accuracy)} on "
        f"{_code(run.validation_split or 'unknown')}; the last epoch had {_percent(run.last_val_accuracy)}.{skipped} "
        f"ONNX Runtime and torch differ by at most {_number(run.onnx_max_probability_difference, '.0e')} in a "
        f"probability.",
        *_chosen_before(card, "the recipe"),
        "",
        _DRAWN if data.name == "synthetic" else _LICENCE,
    ]


def _chosen_before(card: Card, whose: str) -> list[str]:
    chosen = card.recipe.get("options_chosen_on")
    return [f"Of {whose}, these options were chosen before, on {_text(chosen)}."] if chosen else []


def _members(card: Card) -> list[str]:
    run, rule, members = card.training, str(card.recipe.get("rule")), card.recipe.get("members", ())
    best = max((member["accuracy"] for member in members), default=None)
    whole = getattr(run, rule, None)
    if rule == "weighted" and run.mean is not None and run.gain is not None:
        whole = run.mean + run.gain  # cross-validated
    worse = " **It is worse than its best member there.**" if run.is_worse else ""
    rows = ["| member | architecture | weight | accuracy |", "|---|---|---|---|"]
    for member in members:
        figures = f"{member['weight']:.3f} | {_percent(member['accuracy'])}"
        name = f"{_text(member['name'])} ({_code(member['sha256'][:12])})"
        rows.append(f"| {name} | {_text(member['architecture'])} | {figures} |")
    if run.folds:
        told = (
            f"The mean of the probabilities of {run.folds} models, each trained without another of {run.folds} folds "
            f"of the training images of {_source(card.data)} and judged on that fold. All but one have learnt any "
            f"of these images, so the ensemble itself was judged on none."
        )
        return [told, "", *rows, "", _DRAWN if card.data.name == "synthetic" else _LICENCE]
    return [
        f"An ensemble by the rule {_code(rule)}, judged on {_code(run.split or 'unknown')} of {_source(card.data)}: "
        f"{_percent(whole)}, its best member {_percent(best)}.{worse} Weights fitted to four "
        f"fifths and judged on the other gain {_number(run.gain, '.2f', 100)} points over the plain mean (standard "
        f"error {_number(run.gain_standard_error, '.2f', 100)}).",
        *_chosen_before(card, "the members' recipes"),
        "",
        *rows,
        "",
        _DRAWN if card.data.name == "synthetic" else _LICENCE,
    ]


def _source(data: Data) -> str:
    return f"{_code(data.name or 'unknown')} (fingerprint {_code(data.fingerprint[:12] or 'unknown')})"


def _start(run: Training) -> str:
    parts = [f"From the weights {_named(run.started_from)}" if run.started_from else "From scratch"]
    if run.teachers:
        parts.append("taught by " + " and ".join(map(_named, run.teachers)))
    if run.votes_share:
        rest = "the rest of " if run.teachers else ""
        parts.append(
            f"{run.votes_share:.0%} of {rest}each training target being the label as annotators' votes predict it"
        )
    return ", ".join(parts) + ("," if len(parts) > 1 else "")


def _named(weights: Origin) -> str:
    return _code(weights.name) + (f" (SHA-256 {_code(weights.sha256[:12])})" if weights.sha256 else "")
