"""Names of splits in folders, files and columns, and mien's names for them."""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRAIN = (
    *("train", "training", "trn", "trainset", "entrenamiento", "entrainement", "apprentissage", "treino"),
    *(
        "treinamento",
        "addestramento",
        "trening",
        "egitim",
        "обучение",
        "тренировка",
        "训练",
        "训练集",
        "学習",
        "훈련",
    ),
)
_VAL = (
    *("val", "valid", "validation", "validate", "dev", "devel", "publictest", "valset", "eval", "evaluation"),
    *("validacion", "validacao", "validazione", "validierung", "walidacja", "dogrulama", "валидация"),
    *("验证", "验证集", "検証", "검증"),
)
_TEST = (
    *("test", "testing", "privatetest", "tst", "testset", "prueba", "pruebas", "teste"),
    *("testes", "prova", "тест", "测试", "测试集", "テスト", "시험"),
)
_SPLITS = {
    **dict.fromkeys(_TRAIN, "train"),
    **dict.fromkeys(_VAL, "val"),
    **dict.fromkeys(_TEST, "test"),
}
"""Words for splits. FER2013 calls its validation images public and its test images private."""
_KINDS = (
    "set",
    "sets",
    "image",
    "images",
    "img",
    "imgs",
    "data",
    "dataset",
    "face",
    "faces",
    "split",
    "samples",
)
_OWNERS = (
    "fer",
    "ferplus",
    "plus",
    "affectnet",
    "rafdb",
    "raf",
    "db",
    "ck",
    "expw",
    "emotion",
    "emotions",
    "aligned",
)
_NOISE = frozenset((*_KINDS, *_OWNERS))
"""Words that may be in the name of a folder together with the split."""
_FILE_NAMES = {
    "FER2013's": re.compile(r"(Training|PublicTest|PrivateTest)_\d+(?:\.\w+)?"),
    "RAF-DB's": re.compile(r"(train|test)_\d{5}(?:_aligned)?(?:\.\w+)?"),
}
"""Names of files that state the official split."""
_FIRST_WORD = re.compile(r"[^\W\d_]*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


def split_name(name: str) -> str | None:
    """Return mien's name of a split that a source calls `name`; None if that is no split's name."""
    plain = re.sub(r"[\W_]+", "", _bare(name).lower())
    if plain in _SPLITS:
        return _SPLITS[plain]
    found = split_word(name)
    noise = found is not None and all(word in _NOISE or word.isdecimal() for word in found[1].split())
    return found[0] if noise and found else None


def split_word(name: str) -> tuple[str, str] | None:
    """Return the one split that is a word of a name, and the other words; None if there is none, or several."""
    words = [word.lower() for word in _WORD.findall(_bare(name))]
    for first, second in itertools.pairwise(words):
        if first + second in ("publictest", "privatetest"):
            words = [word for word in words if word not in (first, second)] + [first + second]
            break
    found = [word for word in words if word in _SPLITS]
    if len({_SPLITS[word] for word in found}) != 1:
        return None
    return _SPLITS[found[0]], " ".join(word for word in words if word not in found)


def splits_of_files(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the split of each file if all names are those of a collection that states it, and a note.

    Where many other names begin with words of several splits, the note says so, and there are no splits.
    """
    plain = [name.rpartition("/")[2] for name in names]
    for owner, rule in _FILE_NAMES.items():
        found = [match[1] for name in plain if (match := rule.fullmatch(name))]
        if names and len(found) == len(names):
            return [split_name(word) or word for word in found], (
                f"the splits are read from the names of the files, which are {owner}",
            )
    words = {name: split_word(_FIRST_WORD.match(name)[0]) for name in plain}  # type: ignore[index]
    begin = [name for name in plain if words[name]]
    if 2 * len(begin) <= len(names) or len({word[0] for word in map(words.get, begin) if word}) < 2:
        return [""] * len(names), ()
    return [""] * len(names), (
        f"{len(begin):,} of {len(names):,} names of files begin with a split's word, as {begin[0]}, which is not "
        f"read as their split: put them into folders train and test, or give a table with columns path and split",
    )


def _bare(name: str) -> str:
    """Return a name without the accents of Latin letters."""
    parts = unicodedata.normalize("NFD", name)
    bare = re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", parts)
    return unicodedata.normalize("NFC", bare)
