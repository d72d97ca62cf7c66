"""The commands as a user types them: their output, their exit status."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image

import mien
from mien import bundle, cli
from mien.classifiers import combine
from mien.history import read_csv
from tests.pictures import jpeg, photo, png, tree, write_tree, write_zip
from tests.typed import refused, run

MIEN = [sys.executable, "-m", "mien"]


def test_a_process_of_its_own():
    """What the shell gets: output, one line of error, exit status."""
    version, wrong = (
        subprocess.run([*MIEN, word], capture_output=True, text=True) for word in ("--version", "predikt")
    )
    assert (version.stdout, version.stderr, version.returncode) == (f"mien {mien.__version__}\n", "", 0)
    message = "mien: no command 'predikt'; did you mean predict? (see mien --help)\n"
    assert (wrong.stdout, wrong.stderr, wrong.returncode) == ("", message, 2)


def commands(app=None, words=()) -> dict[tuple[str, ...], object]:
    """Return every command of the command line by the words that call it."""
    app = app or typer.main.get_command(cli._app)
    if not isinstance(app, typer.core.TyperGroup):
        return {words: app}
    context = app.make_context("mien", [], resilient_parsing=True)
    inner = {name: app.get_command(context, name) for name in app.list_commands(context)}
    return {k: v for name, one in inner.items() for k, v in commands(one, (*words, name)).items()}


COMMANDS = commands()


def help_of(*words) -> str:
    app = typer.main.get_command(cli._app)
    with pytest.raises(typer.Exit), contextlib.redirect_stdout(io.StringIO()) as shown:
        app.main([*words, "--help"], prog_name="mien", standalone_mode=False) or 0
        raise typer.Exit
    return shown.getvalue()


def test_help_lists_the_commands_by_task_and_needs_no_command():
    shown = help_of()
    assert shown == run().stdout
    for task, names in cli.COMMANDS.items():
        assert re.search(rf"^{task}:\n  {next(iter(names))} ", shown, re.MULTILINE)
    assert {words[0] for words in COMMANDS} == {name for names in cli.COMMANDS.values() for name in names}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_a_command(words):
    """It fits 80 columns, explains every option in a sentence, and ends with examples that parse."""
    shown, command = help_of(*words), COMMANDS[words]
    assert max(map(len, shown.splitlines())) <= 80
    assert command.help.splitlines()[0].endswith(".")
    if len(words) == 1:
        (sentence,) = [names[words[0]] for names in cli.COMMANDS.values() if words[0] in names]
        assert command.help.splitlines()[0] == sentence
    for option in command.params:
        assert option.help.rstrip().endswith((".", "`"))
        flags = {"out": "-o", "model": "-m", "data": "-d"}
        if option.param_type_name == "option" and option.name in flags:
            assert flags[option.name] in option.opts
    for example in command.epilog.splitlines():
        assert example in shown
        typed = shlex.split(example)
        assert typed[: 1 + len(words)] == ["mien", *words]
        command.make_context(" ".join(words), typed[1 + len(words) :])


def test_json_is_the_same_option_everywhere():
    given = {
        words: option
        for words, command in COMMANDS.items()
        for option in command.params
        if "--json" in option.opts
    }
    assert len(given) >= 8
    assert {(option.metavar, option.help) for option in given.values()} == {
        ("FILE", "Write the result as JSON to FILE; - prints only JSON.")
    }


def test_test_time_augmentations_of_the_help_are_those_there_are():
    metavars = {o.metavar for command in COMMANDS.values() for o in command.params if o.name == "tta"}
    assert metavars == {f"[{'|'.join(combine.TTA)}]"}


def test_choices_are_listed_and_a_wrong_one_is_one_line():
    shown = help_of("evaluate")
    assert "--format [auto|folders|pixels|list|names|affectnet|ck+|arrays|parquet|packed]" in shown
    assert "--backend [onnx|int8|fp16|torch]" in shown
    words = ["evaluate", "default", "--data", "synthetic", "--split", "test"]
    message = (
        "mien evaluate: unknown --backend 'int9': expected onnx, int8, fp16, torch; did you mean int8?\n"
    )
    assert refused(*words, "--backend", "int9") == message
    assert refused(*words, "--val-fraction", 2) == (
        "mien evaluate: --val-fraction must be between 0 and 1, got 2\n"
    )
    assert "add --votes FILE, or leave them out" in refused(*words, "--vote-rule", "beside")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "inof"], "mien data: No such command 'inof'. Did you mean 'info'? (see mien data --help)"),
        (["predict"], "mien predict: Missing argument 'SOURCE...'. (see mien predict --help)"),
        (
            ["predict", "--detecter", "haar"],
            "No such option: --detecter (Possible options: --detect-every, --detector",
        ),
        (
            ["train", "nano", "--out", "x"],
            "mien train: Missing option '--data' / '-d'. (see mien train --help)",
        ),
    ],
)
def test_wrong_words_are_one_line(words, message):
    assert message in refused(*words)


def test_the_sample_needs_no_torch_and_is_named_right(tmp_path, run_without_torch):
    done = run_without_torch("predict", "sample", "--out", tmp_path, "--json", tmp_path / "p.json")
    assert done.returncode == 0, done.stderr
    assert "happy" in done.stdout
    assert f"wrote {tmp_path}" in done.stdout
    document = json.loads((tmp_path / "predictions.json").read_text())
    assert document == json.loads((tmp_path / "p.json").read_text())
    assert document["model"]["name"] == "mien_trio"
    ((face,),) = [image["faces"] for image in document["images"]]
    assert face["label"] == "happy"
    assert sum(face["probs"].values()) == pytest.approx(1, abs=1e-4)
    with Image.open(tmp_path / "sample.faces.jpg") as picture:
        assert picture.size == (512, 512)


def test_evaluation_needs_no_torch_and_training_says_what_is_missing(
    tmp_path, tiny_bundle, run_without_torch
):
    done = run_without_torch("evaluate", tiny_bundle, "--data", "synthetic", "--split", "test")
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout
    done = run_without_torch("train", "nano", "--data", "synthetic", "--out", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"mien train: torch is not installed: .*pip install .*\[train\]'\n", done.stderr)


def test_a_file_name_is_not_markup(tmp_path, tiny_bundle):
    path = tmp_path / "a[red]:smile:[b].png"
    path.write_bytes(png())
    assert path.name in run("predict", path, "--model", tiny_bundle).stdout


def test_real_photos_with_yunet(shared, yunet_weights):
    photos = [shared / "photos" / name for name in ("multi_face.jpg", "single_face.jpg")]
    done = run("predict", *photos, "--detector", "yunet", "--detector-weights", yunet_weights, "--json", "-")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, document["schema"]) == (0, "", "mien.predictions/2")
    many, one = ([face["label"] for face in image["faces"]] for image in document["images"])
    assert len(many) == 5
    assert many.count("happy") >= 4
    assert one == ["happy"]


def test_the_built_in_model_on_the_public_test_images(shared, run_without_torch):
    words = ["--data", shared / "data" / "fer2013.zip", "--split", "test", "--json", "-"]
    done = run_without_torch("evaluate", "default", *words)
    report = json.loads(done.stdout)
    assert (report["schema"], report["n"], report["split"]) == ("mien.evaluation/1", 3589, "test")
    assert report["accuracy"] >= 0.655
    (claimed,) = [s for s in bundle.load("default").card.scores if (s.split, s.tta) == ("test", "none")]
    assert report["accuracy"] == pytest.approx(claimed.accuracy, abs=0.001)  # another CPU may round otherwise
    assert np.array(report["confusion"]).sum() == 3589


def test_models_and_recipes():
    listed = json.loads(run("models", "--json", "-").stdout)
    (row,) = [b for b in listed["bundles"] if b["default"]]
    assert row["parameters"] <= 1_200_000
    assert {n["name"]: n["parameters"] for n in listed["networks"]}["mynet_v2"] == 625_111
    assert "default" in run("models").stdout
    listed = " ".join(run("recipes").stdout.split())
    assert "mien/nano" in listed
    assert (
        "on 2,278 other photos of 3 classes." in listed
    )  # a sentence that goes over two lines of the header
    shown = run("recipes", "show", "nano").stdout
    assert 'network = "mien_nano"' in shown
    assert "# optim.momentum = 0.9" in shown


def test_one_unreadable_photo_does_not_stop_the_rest(tmp_path, tiny_bundle):
    (tmp_path / "a.jpg").write_bytes(jpeg(photo())[:300])
    (tmp_path / "b.png").write_bytes(png())
    done = run("predict", tmp_path, tmp_path / "none.jpg", "--model", tiny_bundle, "--json", "-")
    assert done.returncode == 1
    broken, good, missing = json.loads(done.stdout)["images"]
    assert (broken["faces"], missing["faces"], good["error"]) == ([], [], None)
    assert "damaged or truncated" in broken["error"]
    assert "No such file" in missing["error"]
    assert len(good["faces"]) == 1  # 48 pixels: taken whole


def test_a_run_ends_with_its_counts(tmp_path, tiny_bundle):
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "b.png").write_bytes(png())
    (tmp_path / "c.jpg").write_bytes(jpeg(np.full((211, 240, 3), 99, np.uint8)))
    (tmp_path / "d.txt").write_bytes(b"text")
    done = run("predict", tmp_path, "--model", tiny_bundle)
    assert done.returncode == 1
    assert (
        done.stdout.splitlines()[-1] == "images: 3, faces: 1, without a face: 1, errors: 1; skipped: 1 text"
    )
    assert "if they are face crops, use --detector whole" in done.stderr


def test_a_run_that_goes_on_in_another_folder_says_that_relative_paths_are_compared(
    tmp_path, tiny_bundle, monkeypatch
):
    words = ["--model", tiny_bundle, "--csv", tmp_path / "t.csv", "--detector", "whole"]
    for name, level in (("one", 0), ("two", 99)):
        (tmp_path / name).mkdir()
        Image.new("L", (48, 48), level).save(tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path / "one")
    run("predict", "a.png", *words)
    rows = (tmp_path / "t.csv").read_text()
    monkeypatch.chdir(tmp_path / "two")
    done = run("predict", "a.png", *words, "--resume")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "images: 0, faces: 0, done before: 1")
    assert done.stderr == (
        "1 image left out as done: the tables hold the same relative paths; start --resume in the folder of the "
        "earlier run, or give absolute paths\n"
    )
    assert (tmp_path / "t.csv").read_text() == rows
    done = run("predict", tmp_path / "two" / "a.png", *words, "--resume")
    assert (done.stderr, len((tmp_path / "t.csv").read_text().splitlines())) == ("", 3)


def test_a_single_graph_takes_its_spec(tmp_path):
    graph = bundle.load("default").graph("onnx")
    import onnx

    bare = onnx.load_from_string(graph)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "peer.onnx")
    words = ["predict", "sample", "--model", tmp_path / "peer.onnx"]
    assert "does not say its labels and preprocessing" in run(*words).stderr
    (tmp_path / "other.toml").write_text(
        'labels = ["a", "b", "c", "d", "e", "f", "g"]\noutput = "logits"\n[preprocess]\nsize_px = 48\n'
    )
    done = run(*words, "--spec", tmp_path / "other.toml")
    assert done.returncode == 0, done.stderr
    assert " d " in done.stdout  # the fourth label of the built-in model is happy


def test_no_face_in_the_photo_is_said_and_is_no_error(tmp_path, tiny_bundle):
    (tmp_path / "wall.jpg").write_bytes(jpeg(np.full((211, 307, 3), 99, np.uint8)))
    done = run("predict", tmp_path / "wall.jpg", "--model", tiny_bundle, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "no face found" in done.stdout
    assert (tmp_path / "out" / "wall.faces.jpg").exists()


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path, tiny_bundle):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(png())
    run("predict", tmp_path / "x", tmp_path / "y", "--model", tiny_bundle, "--out", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "a.faces.jpg",
        "a-2.faces.jpg",
        "predictions.json",
        "predictions.jsonl",
    }


SMALL = [
    "--set",
    "network=lenet",
    "--set",
    "optim.peak_lr=0.02",
    "--set",
    "epochs=3",
    "--set",
    "batch_size=32",
]
SMALL += ["--device", "cpu"]


@pytest.fixture
def ctrl_c():
    """Answer Ctrl-C as Python does; the background jobs of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, ctrl_c):
    """Ctrl-C in the second epoch; --resume trains the rest. What is killed goes on in `training/test_launch.py`."""
    from mien.cli.train import _Teller
    from mien.training import fit, loop

    def press(_, step):
        if step.epoch == 2:
            ctrl_c()

    out, advice = tmp_path / "run", "the same command with --resume goes on\n"
    words = ["train", "nano", "--data", "synthetic", "--out", out, *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(fit, "REPORT_SECONDS", 0)
        patch.setattr(loop, "CHECKPOINT_FRACTION", 1.0)
        patch.setattr(_Teller, "step", press)
        stopped = run(*words)
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert stopped.stderr.endswith(advice)
    done = run(*words, "--resume")
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    assert re.findall(r"^epoch +(\d)/3", done.stderr, re.MULTILINE) == ["2", "3"]
    rows = read_csv(out / "run" / "history.csv")
    better = [
        row.epoch
        for row in rows[1:]
        if row.val_accuracy > max(one.val_accuracy for one in rows[: row.epoch - 1])
    ]
    assert [int(epoch) for epoch in re.findall(r"^epoch +(\d)/3.*best$", done.stderr, re.MULTILINE)] == better
    assert "next: mien predict PHOTO --model" in done.stderr
    assert bundle.load(out).card.training.epochs == 3


def test_training_refuses(tmp_path):
    words = ["train", "nano", "--data", "synthetic", "--out", tmp_path / "run"]
    line = refused(*words, "--set", "optim.peek_lr=1")
    assert line.startswith("mien train: unknown option optim.peek_lr; did you mean optim.peak_lr?")
    assert not (tmp_path / "run").exists()


BAD_DATA = {
    "empty dataset": ({"notes.txt": b""}, "it holds no images"),
    "missing class folder": (
        {k: v for k, v in tree().items() if not k.startswith("test/sad")},
        "test has no images of the class 'sad': every split needs every class",
    ),
    "corrupt image": (tree() | {"test/sad/x.jpg": b"broken"}, ", first test/sad/x.jpg: not a picture"),
    "names that leave": (
        tree() | {"../train/sad/x.png": png()},
        "holds the unsafe name '../train/sad/x.png'",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_is_refused(name, tmp_path, tiny_bundle):
    files, message = BAD_DATA[name]
    path = write_zip(tmp_path / "set.zip", files)
    assert message in refused("evaluate", tiny_bundle, "--split", "test", "--data", path)
    if name == "corrupt image":  # reading is the same for both
        assert message in refused("train", "nano", "--out", tmp_path / "run", "--data", path)


def test_evaluate_refuses_a_wrong_split_and_foreign_labels(tmp_path, tiny_bundle):
    data = write_tree(tmp_path / "set", tree(("happy", "bored")))
    assert "no split 'val' in" in refused("evaluate", tiny_bundle, "--data", "synthetic", "--split", "val")
    assert "label 'bored' of the data is not among" in refused(
        "evaluate", tiny_bundle, "--data", data, "--split", "test"
    )


def test_a_submission_and_what_it_refuses(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (11, 48, 48), np.uint8))
    done = run(
        "predict", tmp_path / "x.npy", "--submission", tmp_path / "s.csv", "--numbers", "--tta", "flip"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"wrote {tmp_path / 's.csv'}, 11 rows\n")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "Id,Category"
    assert [line.split(",")[0] for line in lines[1:]] == [str(row) for row in range(11)]
    assert "--submission needs one dataset, got 2" in refused("predict", "a", "b", "--submission", "s.csv")
    one = ["predict", tmp_path / "x.npy", "--submission", "s.csv"]
    assert "leave out --out: --submission takes every image as a face" in refused(*one, "--out", tmp_path)
    assert "leave out --uncertain-below" in refused(*one, "--uncertain-below", "0.9")
    assert "unknown test-time augmentation 'flop'" in refused(*one, "--tta", "flop")
    for words in (["--numbers"], ["--tta", "flip"]):
        assert f"leave out {words[0]}: it is for --submission only" in refused("predict", "sample", *words)


def test_two_models_become_one(tmp_path, tiny_members):
    joined = tmp_path / "joined"
    words = ["--data", "synthetic", "--split", "test", "--out", joined]
    done = run("ensemble", *tiny_members[:2], *words, "--rule", "weighted")
    assert done.returncode == 0, done.stderr
    assert "weighted, cross-validated" in done.stdout
    assert done.stdout.endswith(f"{joined}\n")
    shown = dict(re.findall(r"^(\S.*?) +([\d.]+)%", done.stdout, re.MULTILINE))
    best = max(float(shown["tiny"]), float(shown["lenet"]))
    own = float(shown["weighted, fitted to these images"])
    warning = f"the ensemble ({own:.2f}%) is worse on test than its best member ({best:.2f}%)\n"
    assert done.stderr == (warning if own < best else "")
    page = (joined / "README.md").read_text()
    assert "mien ensemble tiny lenet --data synthetic --split test --out joined --rule weighted" in page
    assert run("evaluate", joined, "--data", "synthetic", "--split", "test").returncode == 0
    assert run("predict", "sample", "--model", joined).returncode == 0
    assert "already holds a finished model" in refused("ensemble", *tiny_members[:2], *words)


def test_two_models_are_compared_without_torch_and_what_that_refuses(
    tmp_path, tiny_members, run_without_torch
):
    words = ["--data", "synthetic", "--split", "test", "--out", tmp_path / "out"]
    done = run_without_torch("compare", *tiny_members[:2], *words, "--json", tmp_path / "c.json")
    assert done.returncode == 0, done.stderr
    assert "2 models on test of synthetic, 350 images, tta none" in done.stdout
    assert "tiny was chosen on test of a dataset of this name" in done.stdout
    assert f"wrote {tmp_path / 'out' / 'compare.html'}" in done.stdout
    document = json.loads((tmp_path / "c.json").read_text())
    assert document == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["pairs"][0]["meaning"] in done.stdout
    assert "are one model, named 2 times" in refused("compare", "mien_trio", "default", *words)
    data = ["--data", write_tree(tmp_path / "set", tree(("happy", "bored"))), *words[2:]]
    assert "no --labels fits them all" in refused("compare", *tiny_members[:2], *data)


def test_predict_refuses(tmp_path, tiny_bundle):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "taken").write_text("")
    photo_words = ["predict", tmp_path / "a.png", "--model"]
    assert "no model 'defalt'" in refused(*photo_words, "defalt")
    assert "unknown detector 'mtcnn'" in refused(*photo_words, tiny_bundle, "--detector", "mtcnn")
    assert "run `mien fetch yunet`" in refused(*photo_words, tiny_bundle, "--detector", "yunet")
    assert "cannot write" in refused(*photo_words, tiny_bundle, "--out", tmp_path / "taken")
    assert "cannot write" in refused(*photo_words, tiny_bundle, "--json", tmp_path / "taken" / "p.json")
    assert "nothing to download under the name 'yolo'" in refused("fetch", "yolo")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_no_write_permission_for_an_ordinary_user(tmp_path):
    """Root may write everywhere, so the writing runs as nobody."""
    tmp_path.chmod(0o755)
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import os; from mien import files; os.setuid(65534)\n"
        "from pathlib import Path\n"
        "try: files.write(Path(sys.argv[1]) / 'x', b'')\n"
        "except files.OutputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert f"cannot write {tmp_path / 'x'}: Permission denied; nothing was changed there" in done.stdout


def test_a_file_size_limit_stands_for_a_full_disk(tmp_path, tiny_bundle):
    """The kernel refuses the bytes, as on a full disk: one line, and no half-written file."""
    (tmp_path / "a.png").write_bytes(png())
    out = tmp_path / "out"
    words = ["predict", str(tmp_path / "a.png"), "--model", str(tiny_bundle), "--out", str(out)]
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *MIEN, *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "mien predict: cannot write" in done.stderr
    assert [(path.name, path.stat().st_size) for path in out.iterdir()] == [("predictions.jsonl", 0)]


def test_a_prediction_leaves_nothing_in_the_home_folder(tmp_path):
    """ONNX Runtime would make an identity of the device there, and queue reports for its makers."""
    home = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-m", "mien", "predict", "sample"],
        env=home | {"HOME": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == 0
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_hinders_no_work(tmp_path, tiny_bundle, closed):
    """As programs that have no terminal may be started."""
    (tmp_path / "a.png").write_bytes(png())
    words = [
        "predict",
        tmp_path / "a.png",
        "--model",
        tiny_bundle,
        "--detector",
        "whole",
        "--csv",
        tmp_path / "t.csv",
    ]
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *MIEN, *map(str, words)]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 2


def test_a_full_disk_is_one_line_also_for_what_makes_a_folder(tmp_path, tiny_bundle):
    words = ["export", str(tiny_bundle), "--to", "onnx", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *MIEN, *words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("mien export: cannot write")  # joblib warns before
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
