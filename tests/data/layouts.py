"""The layouts in which official and popular datasets ship, as small generators.

Each returns files by path, and the emotion of each image by path.
"""

from __future__ import annotations

import io
import json

import cv2
import numpy as np

from mien.data.synthetic import draw_face
from mien.labels import AFFECTNET_ORDER, EMOTIONS_7, FER2013_CSV_ORDER, RAF_DB_ORDER

Files = dict[str, bytes]
PEOPLE = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
CODES = {"AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}


def face(emotion: str, seed: int = 0, ending: str = ".png", size_px: int = 48) -> bytes:
    """Return a drawn face as a file's content."""
    pixels = draw_face(emotion if emotion in EMOTIONS_7 else "neutral", np.random.default_rng(seed), size_px)
    return cv2.imencode(ending, pixels)[1].tobytes()


def roboflow() -> tuple[Files, dict[str, str]]:
    """Return flat split folders with ``_classes.csv`` in each, a column per class, blanks after commas."""
    files, truth = {}, {}
    for split in ("train", "valid", "test"):
        lines = ["filename, Angry, Happy, Sad"]
        for number in range(9):
            emotion = ("angry", "happy", "sad")[number % 3]
            name = f"img{number}_jpg.rf.{split}{number:08x}.jpg"
            lines.append(
                f"{name}, " + ", ".join(str(int(emotion == one)) for one in ("angry", "happy", "sad"))
            )
            files[f"{split}/{name}"], truth[f"{split}/{name}"] = face(emotion, number, ".jpg"), emotion
        files[f"{split}/_classes.csv"] = "\n".join(lines).encode()
    return files | {"README.roboflow.txt": b"hello"}, truth


def ferplus() -> tuple[Files, dict[str, str]]:
    """Return FER+'s folders: ``label.csv`` without a header holds name, area and the votes of ten people."""
    files, truth = {}, {}
    order = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
    number = 0
    for split in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        lines = []
        for emotion in order:
            name = f"fer{number:07d}.png"
            number += 1
            votes = [9 if one == emotion else 0 for one in order] + [1, 0]
            lines.append(f'{name},"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
            files[f"{split}/{name}"], truth[f"{split}/{name}"] = face(emotion, number), emotion
        files[f"{split}/label.csv"] = "\n".join(lines).encode()
    return files, truth


def affectnet() -> tuple[Files, dict[str, str]]:
    """Return AffectNet's lists beside its folders of numbers."""
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    files, truth = {}, {}
    for table, folder in (("training", 1), ("validation", 7)):
        lines = [header]
        for number in range(16):
            emotion = AFFECTNET_ORDER[number % 8]
            name = f"{folder + number % 3}/{table}{number}.jpg"
            lines.append(f"{name},4,4,40,40,1.5;2.5,{number % 8},0.1,-0.2")
            path = f"Manually_Annotated_Images/{name}"
            files[path], truth[path] = face(emotion, number, ".jpg"), emotion
        files[f"Manually_Annotated_file_lists/{table}.csv"] = "\n".join(lines).encode()
    return files, truth


def affectnet_npy() -> tuple[Files, dict[str, str]]:
    """Return AffectNet as it ships for training: an array of one number for each image."""
    files, truth = {}, {}
    for split in ("train_set", "val_set"):
        for number in range(16):
            emotion, buffer = AFFECTNET_ORDER[number % 8], io.BytesIO()
            np.save(buffer, np.array(str(number % 8)))
            path = f"{split}/images/{number}.jpg"
            files[path], truth[path] = face(emotion, number, ".jpg"), emotion
            files[f"{split}/annotations/{number}_exp.npy"] = buffer.getvalue()
            files[f"{split}/annotations/{number}_val.npy"] = buffer.getvalue()
    return files, truth


def raf_db_kaggle() -> tuple[Files, dict[str, str]]:
    """Return RAF-DB as it is on Kaggle: folders 1-7, and two tables that say the same."""
    files, truth = {}, {}
    for split in ("train", "test"):
        lines = ["image,label"]
        for number in range(14):
            label = number % 7 + 1
            name = f"{split}_{number + 1:05d}_aligned.jpg"
            lines.append(f"{name},{label}")
            path = f"DATASET/{split}/{label}/{name}"
            files[path] = face(RAF_DB_ORDER[label - 1], number, ".jpg")
            truth[path] = RAF_DB_ORDER[label - 1]
        files[f"{split}_labels.csv"] = "\n".join(lines).encode()
    return files, truth


def raf_db() -> tuple[Files, dict[str, str]]:
    """Return RAF-DB as its authors ship it."""
    files, truth, lines = {}, {}, []
    for split in ("train", "test"):
        for number in range(14):
            label, stem = number % 7 + 1, f"{split}_{number + 1:05d}"
            lines.append(f"{stem}.jpg {label}")
            path = f"basic/Image/aligned/{stem}_aligned.jpg"
            files[path], truth[path] = face(RAF_DB_ORDER[label - 1], number, ".jpg"), RAF_DB_ORDER[label - 1]
    files["basic/EmoLabel/list_patition_label.txt"] = "\n".join(lines).encode()
    return files, truth


def expw() -> tuple[Files, dict[str, str]]:
    """Return ExpW: photos of faces, and a list with boxes as top, left, right, bottom."""
    files, truth, lines = {}, {}, []
    for number in range(49):
        emotion = FER2013_CSV_ORDER[number % 7]
        photo = np.zeros((90, 120), np.uint8)
        photo[20:68, 50:98] = draw_face(emotion, np.random.default_rng(number), 48)
        name = f"{emotion}_{number}.jpg"
        lines.append(f"{name} 0 20 50 98 68 61.5 {number % 7}")
        files[f"origin/{name}"] = cv2.imencode(".jpg", photo)[1].tobytes()
        truth[f"origin/{name}"] = emotion
    files["label/label.lst"] = "\n".join(lines).encode()
    return files, truth


def ck48() -> tuple[Files, dict[str, str]]:
    """Return CK+48: class folders, three frames of each sequence."""
    files, truth = {}, {}
    for folder, emotion in (("anger", "angry"), ("contempt", "contempt"), ("happy", "happy")):
        for person in range(8):
            for frame in (15, 16, 17):
                path = f"CK+48/{folder}/S{person + 10:03d}_004_{frame:08d}.png"
                files[path], truth[path] = face(emotion, person), emotion
    return files, truth


def ckplus() -> tuple[Files, dict[str, str]]:
    """Return CK+ as its authors give it: sequences, with a label for the last image of most of them."""
    files, truth = {}, {}
    for number, emotion in ((1, "angry"), (2, "contempt"), (5, "happy")):
        for person in range(12):
            sequence = f"S{person + 10:03d}/00{number}"
            for frame in (1, 2, 3):
                name = f"S{person + 10:03d}_00{number}_{frame:08d}"
                path = f"CK+/cohn-kanade-images/{sequence}/{name}.png"
                files[path] = face(emotion, 3 * person + frame)
            files[f"CK+/Emotion/{sequence}/{name}_emotion.txt"] = f"   {number}.0000000e+00\n".encode()
            truth[path] = emotion
    return files, truth


def sfew() -> tuple[Files, dict[str, str]]:
    """Return SFEW: the classes lie in a folder of aligned faces, whose name differs between the splits."""
    files, truth = {}, {}
    for split, folder in (("Train", "Train_Aligned_Faces"), ("Val", "Val_Aligned_Faces_new")):
        for emotion in ("Angry", "Happy", "Sad"):
            for i in range(4):
                path = f"{split}/{folder}/{emotion}/Film_{split}_{i}.png"
                files[path], truth[path] = face(emotion.lower(), len(files)), emotion.lower()
    return files, truth


def kdef() -> tuple[Files, dict[str, str]]:
    """Return KDEF: a folder for each person, the expression in the file's name."""
    codes = {
        "AF": "fear",
        "AN": "angry",
        "DI": "disgust",
        "HA": "happy",
        "NE": "neutral",
        "SA": "sad",
        "SU": "surprise",
    }
    files, truth = {}, {}
    for person in ("AF01", "AF02", "AM01", "BM35", "AF03", "AF04", "AF05", "AF06", "AF07", "AF08"):
        for code, emotion in codes.items():
            path = f"KDEF/{person}/{person}{code}S.JPG"
            files[path], truth[path] = face(emotion, len(files), ".jpg"), emotion
    return files, truth


def jaffe() -> tuple[Files, dict[str, str]]:
    """Return JAFFE: flat, the expression in the file's name."""
    codes = {"FE": "fear"} | CODES
    files, truth = {}, {}
    for number in range(10):
        for code, emotion in codes.items():
            path = f"{PEOPLE[number]}.{code}{number % 3 + 1}.{len(files) + 1}.tiff"
            files[path], truth[path] = face(emotion, number, ".tiff"), emotion
    return files, truth


def imagefolder(ending: str) -> tuple[Files, dict[str, str]]:
    """Return Hugging Face's imagefolder: ``metadata.csv`` or ``metadata.jsonl`` beside the images of each split."""
    files, truth = {}, {}
    for split in ("train", "test"):
        records = []
        for number in range(6):
            emotion, name = ("happy", "sad")[number % 2], f"{number:04d}.png"
            records.append({"file_name": name, "label": emotion})
            files[f"{split}/{name}"], truth[f"{split}/{name}"] = face(emotion, number), emotion
        text = "\n".join(json.dumps(record) for record in records)
        if ending == "csv":
            text = "\n".join(["file_name,label", *(",".join(record.values()) for record in records)])
        files[f"{split}/metadata.{ending}"] = text.encode()
    return files, truth


def kaggle_twice() -> tuple[Files, dict[str, str]]:
    """Return split folders inside folders of the same name."""
    files, truth = {}, {}
    for split in ("Training", "Testing"):
        for emotion in ("Angry", "Happy"):
            for number in range(3):
                path = f"{split}/{split}/{emotion}/{number}.jpg"
                files[path], truth[path] = face(emotion.lower(), number, ".jpg"), emotion.lower()
    return files, truth


LAYOUTS = {
    "Roboflow": (roboflow, ("test", "train", "val")),
    "FER+": (ferplus, ("test", "train", "val")),
    "AffectNet": (affectnet, ("train", "val")),
    "AffectNet, npy": (affectnet_npy, ("train", "val")),
    "RAF-DB, Kaggle": (raf_db_kaggle, ("test", "train")),
    "RAF-DB": (raf_db, ("test", "train")),
    "ExpW": (expw, ("train", "val")),
    "CK+48": (ck48, ("train", "val")),
    "CK+": (ckplus, ("train", "val")),
    "SFEW": (sfew, ("train", "val")),
    "KDEF": (kdef, ("train", "val")),
    "JAFFE": (jaffe, ("train", "val")),
    "imagefolder, csv": (lambda: imagefolder("csv"), ("test", "train")),
    "imagefolder, jsonl": (lambda: imagefolder("jsonl"), ("test", "train")),
    "Training/Training": (kaggle_twice, ("test", "train")),
}
"""Name -> generator, and the splits that should come out."""
