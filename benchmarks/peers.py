"""What other packages install, and whether they label a photo right after that: the tables of docs/peers.md.

For each package and each Python, a new environment (`python -m venv`) gets the newest version that fits, with `uv`,
as `pip install PACKAGE` would. Then the first call of the package's own documentation labels the sample photo, in a
process that has no network. Needs Linux (`unshare`), `uv`, `npm`, the interpreters, and 30 GB of disk.

    python benchmarks/peers.py install --work peers --pythons 3.11             # rows are kept in peers/rows.json
    python benchmarks/peers.py install --work peers --pythons 3.12 3.13 --packages mien deepface hsemotion-onnx
    python benchmarks/peers.py accuracy --work peers --data fer2013.zip        # of those that bring their weights
    python benchmarks/peers.py page --work peers                               # writes the tables into docs/peers.md
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "src/mien/assets/sample.jpg"
PAGE = ROOT / "docs/peers.md"
BEGIN, END = "<!-- printed by benchmarks/peers.py: begin -->", "<!-- end -->"

HSEMOTION = """\
import urllib.request
from {module}.facial_emotions import HSEmotionRecognizer
{read}
print(HSEmotionRecognizer(model_name='enet_b0_8_best_afew').predict_emotions(image, logits=False)[0])
"""
CALLS = {
    "mien": "import mien; print(mien.predict(PHOTO)[0].faces[0].label)",
    "mien[train]": "import mien, torch; print(mien.predict(PHOTO)[0].faces[0].label)",
    "deepface": "from deepface import DeepFace\n"
    "print(DeepFace.analyze(img_path=PHOTO, actions=['emotion'])[0]['dominant_emotion'])",
    "fer": "import cv2; from fer.fer import FER; print(FER().top_emotion(cv2.imread(PHOTO))[0])",
    "py-feat": "from feat import Detectorv2; print(Detectorv2().detect(PHOTO, data_type='image').emotions)",
    "hsemotion": HSEMOTION.format(
        module="hsemotion", read="import numpy, PIL.Image; image = numpy.asarray(PIL.Image.open(PHOTO))"
    ),
    "hsemotion-onnx": HSEMOTION.format(
        module="hsemotion_onnx", read="import cv2; image = cv2.imread(PHOTO)[..., ::-1]"
    ),
    "ultralytics": "from ultralytics import YOLO; print(YOLO('yolo26n-cls.pt')(PHOTO)[0].probs.top1)",
}
"""What is installed, and the first call of its documentation; PHOTO is the path of the sample photo."""
ALSO = {"deepface": ["werkzeug"], "fer": ["setuptools<81"]}
"""What the first call needs and the package does not bring; it is installed, and the call is made again."""
BROWSER = ("@vladmandic/human", "@vladmandic/face-api")
"""Packages of npm."""
FER = """\
import json, sys, time
import cv2, numpy
from fer.fer import FER
crops, detector, labels, ms = numpy.load(sys.argv[1]), FER(), [], []
for crop in crops:
    image, begun = cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR), time.perf_counter()
    found = detector.detect_emotions(image, [(0, 0, *crop.shape)])
    ms.append(1000 * (time.perf_counter() - begun))
    labels.append(max(found[0]['emotions'], key=found[0]['emotions'].get))
print(json.dumps([labels, ms]))
"""
FACE_API = """\
import fs from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-wasm").setWasmPaths("node_modules/@tensorflow/tfjs-backend-wasm/dist/");
const api = require("@vladmandic/face-api/dist/face-api.node-wasm.js");
await api.tf.setBackend("wasm");
await api.nets.faceExpressionNet.loadFromDisk("node_modules/@vladmandic/face-api/model");
const [pixels, labels, ms] = [fs.readFileSync("crops.bin"), [], []];
for (let at = 0; at < pixels.length; at += 48 * 48) {
  const grey = Int32Array.from(pixels.subarray(at, at + 48 * 48));
  const image = api.tf.tidy(() => api.tf.tensor3d(grey, [48, 48, 1]).tile([1, 1, 3]).toFloat());
  const begun = performance.now();
  const found = await api.nets.faceExpressionNet.predictExpressions(image);
  ms.push(performance.now() - begun);
  labels.push(found.asSortedArray()[0].expression);
  image.dispose();
}
console.log(JSON.stringify([labels, ms]));
"""
THEIRS = {"angry": "angry", "disgusted": "disgust", "fearful": "fear", "surprised": "surprise"}
"""What face-api calls the labels that have another name here."""


def run(words: list, **options) -> subprocess.CompletedProcess:
    """Run a command and keep what it prints."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)


def place_of(package: str, python: str, work: Path) -> Path:
    """Return the folder of an environment."""
    return work / re.sub(r"[^\w.-]", "-", f"{package}-{python}")


def megabytes(folder: Path) -> int:
    """Return the size of all files below a folder, in units of 10^6 bytes."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def first_call(package: str, place: Path) -> dict:
    """Make the first call without a network, with a home folder of its own; return how it ended."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    quiet = {"PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}
    code = f"PHOTO = {str(PHOTO)!r}\n{CALLS[package]}"
    called = run(
        ["unshare", "-rn", place / "bin/python", "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **quiet},
        cwd=home,
        timeout=900,
    )
    lines = (called.stderr if called.returncode else called.stdout).strip().splitlines()
    return {"works": called.returncode == 0, "said": lines[-1][:300] if lines else ""}


def measure(package: str, python: str, work: Path) -> dict:
    """Install one package for one Python, count what came, and make the first call."""
    row = {"package": package, "python": python, "date": datetime.date.today().isoformat()}
    place = place_of(package, python, work)
    shutil.rmtree(place, ignore_errors=True)
    run([f"python{python}", "-m", "venv", place], check=True)
    empty = megabytes(next(place.glob("lib/python*/site-packages")))
    pip = ["uv", "pip", "install", "--python", place / "bin/python"]
    installed = run([*pip, str(ROOT) + package[4:] if package.startswith("mien") else package])
    if installed.returncode:
        return row | {"error": installed.stderr.strip()[-400:]}
    listed = json.loads(
        run(["uv", "pip", "list", "--python", place / "bin/python", "--format", "json"]).stdout
    )
    own = package.split("[")[0]
    row["version"] = next(one["version"] for one in listed if one["name"].lower() == own)
    row["packages"] = sum(one["name"] not in ("pip", "setuptools") for one in listed)
    row["mb"] = megabytes(next(place.glob("lib/python*/site-packages"))) - empty
    row |= first_call(package, place)
    if package in ALSO and not row["works"]:
        run([*pip, *ALSO[package]], check=True)
        row["also"] = first_call(package, place)
    return row


def measure_npm(package: str, work: Path) -> dict:
    """Install one package of npm and count what came; it is not called."""
    place = place_of(package, "npm", work)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", package], cwd=place, check=True)
    folders = list(place.glob("node_modules/*/package.json")) + list(
        place.glob("node_modules/@*/*/package.json")
    )
    version = json.loads((place / "node_modules" / package / "package.json").read_text())["version"]
    row = {"package": package, "python": "npm", "date": datetime.date.today().isoformat(), "version": version}
    return row | {"packages": len(folders), "mb": megabytes(place / "node_modules")}


def install(arguments: argparse.Namespace) -> None:
    """Measure every package for every Python that is not measured yet, and keep each row as it is made."""
    wanted = [(name, python) for python in arguments.pythons for name in arguments.packages]
    for package, python in [*wanted, *((name, "npm") for name in BROWSER)]:
        rows = read(arguments.work)
        if any((row["package"], row["python"]) == (package, python) for row in rows):
            continue
        made = (
            measure_npm(package, arguments.work)
            if python == "npm"
            else measure(package, python, arguments.work)
        )
        print(json.dumps(made), flush=True)
        (arguments.work / "rows.json").write_text(json.dumps([*rows, made], indent=1) + "\n")
        if (package, python) != ("fer", arguments.pythons[0]):  # `accuracy` uses this one
            shutil.rmtree(place_of(package, python, arguments.work))


def read(work: Path) -> list[dict]:
    """Return the rows that were measured before."""
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "rows.json"
    return json.loads(kept.read_text()) if kept.exists() else []


def accuracy(arguments: argparse.Namespace) -> None:
    """Let packages that bring their weights label bare crops by their own calls, beside the built-in model."""
    import numpy as np

    import mien

    data = mien.read_dataset(arguments.data, split="test")
    crops, truth = data.images[..., 0], [data.labels[number] for number in data.truth]
    place = place_of("face-api", "accuracy", arguments.work.resolve())
    place.mkdir(exist_ok=True)
    np.save(place / "crops.npy", crops)
    (place / "crops.bin").write_bytes(crops.tobytes())
    (place / "run.mjs").write_text(FACE_API)
    wanted = ["@vladmandic/face-api", "@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm"]
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", *wanted], cwd=place, check=True)
    interpreter = place_of("fer", arguments.pythons[0], arguments.work) / "bin/python"
    answers = {
        "mien": ours(data.images),
        "fer": answered([interpreter.absolute(), "-c", FER, "crops.npy"], place),
        "face-api": answered(["node", "run.mjs"], place),
    }
    kept = {"images": len(truth)}
    for name, (labels, ms) in answers.items():
        hits = [THEIRS.get(one, one) == other for one, other in zip(labels, truth, strict=True)]
        kept[name] = {"accuracy": float(np.mean(hits)), "median_ms": float(np.median(ms))}
    (arguments.work / "accuracy.json").write_text(json.dumps(kept) + "\n")
    print(json.dumps(kept))


def ours(images) -> tuple[list[str], list[float]]:
    """Return the label of each crop by the built-in model, and the milliseconds of each call; one thread."""
    import mien

    classifier = mien.load_classifier("mien_nano", threads=1)
    labels, ms = [], []
    for image in images:
        begun = time.perf_counter()
        logits = classifier.logits(image[None])
        ms.append(1000 * (time.perf_counter() - begun))
        labels.append(classifier.id.labels[int(logits.argmax())])
    return labels, ms


def answered(words: list, place: Path) -> tuple[list[str], list[float]]:
    """Return what a program answers for all crops: labels, and the milliseconds of each call."""
    labels, ms = json.loads(run(words, cwd=place, check=True).stdout.strip().splitlines()[-1])
    return labels, ms


def told(row: dict) -> str:
    """Return how the first call ended, in a few words."""
    if row.get("works"):
        return f"labels the photo: {row['said']}"
    also = row.get("also")
    if also:
        return f"needs {' and '.join(ALSO[row['package']])} too; then: {told(also)}"
    error = row["said"].split(":")[0].split(".")[-1]
    if re.search("download|resolution|on the hub", row["said"], re.IGNORECASE):
        return f"needs a download (`{error}`)"
    return f"`{row['said'][:110].replace('|', '/')}`"


def page(arguments: argparse.Namespace) -> None:
    """Write the tables between the marks of the page."""
    rows = read(arguments.work)
    lines = [
        "| package | version | Python | packages | MB | first call without network |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(
                f"| {row['package']} | | {row['python']} | not installed | | `{row['error'][-110:]}` |"
            )
            continue
        call = told(row) if "works" in row else "not called: it runs in a browser"
        size = f"{row['packages']} | {row['mb']:,}"
        lines.append(f"| {row['package']} | {row['version']} | {row['python']} | {size} | {call} |")
    lines.append(f"\nMeasured on {rows[-1]['date']}, Linux x86_64.")
    kept = arguments.work / "accuracy.json"
    from mien.benchmark.timings import machine

    if kept.exists():
        found = json.loads(kept.read_text())
        lines += [
            f"\nOn the {found['images']:,} public-test images of FER2013, each as it is, one call for each:\n",
            "| package | accuracy | ms a call, median |\n|---|---|---|",
        ]
        lines += [
            f"| {name} | {100 * one['accuracy']:.1f} % | {one['median_ms']:.2f} |"
            for name, one in found.items()
            if name != "images"
        ]
        lines.append(f"\n{machine()}; other work shared the machine.")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["install", "accuracy", "page"])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and rows")
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    parser.add_argument("--packages", nargs="+", default=list(CALLS))
    parser.add_argument("--data", help="FER2013, for accuracy")
    arguments = parser.parse_args()
    {"install": install, "accuracy": accuracy, "page": page}[arguments.what](arguments)


if __name__ == "__main__":
    sys.exit(main())
