"""`convert`, `predict` and `export` by the command line; an artifact run without this package."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import typer
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner

from tests.pretrained import timm_layout
from tests.programs import command_line, program
from tests.weight_files import SMALL, assert_equal, random_model, read, values_of
from xception_jax.commands.weights import _read_names, convert, export, predict
from xception_jax.errors import InputError
from xception_jax.pretrained import save_keras_weights
from xception_jax.pretrained.directory import read_weights

SIZE = 71
SETTINGS = [f"model.{name}={SMALL[name]}" for name in ("width", "middle_modules")]
NAMES = ["ant", "bee [x]", "cat", "dog", "émeu", "fox", "gnu"]


def run(*words: object) -> str:
    """Runs a command and returns its output.

    Raises:
        InputError: the command refused its input.
    """
    app = typer.Typer()
    for command in (convert, predict, export):
        app.command()(command)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def model(module_seed):
    return random_model(np.random.default_rng(module_seed))


@pytest.fixture(scope="module")
def source(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.weights.h5"
    save_keras_weights(model, path)
    return path


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


@pytest.fixture(scope="module")
def converted(source, names, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("converted") / "small"
    run("convert", source, directory, *SETTINGS, "--size", SIZE, "--class-names", names)
    return directory


@pytest.fixture(scope="module")
def images(module_seed, tmp_path_factory) -> list[Path]:
    """Losslessly compressed images of several formats, modes and shapes."""
    rng = np.random.default_rng(module_seed)
    directory = tmp_path_factory.mktemp("images")
    paths = []
    for name, shape, mode in (
        ("a.png", (90, 120, 3), "RGB"),
        ("b [1].bmp", (50, 40), "L"),
        ("c.gif", (71, 71), "P"),
        ("d.webp", (200, 80, 4), "RGBA"),
    ):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        image = Image.fromarray(pixels) if mode != "P" else Image.fromarray(pixels).convert("P")
        options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
        image.save(directory / name, **options)
        paths.append(directory / name)
    return paths


def probabilities(model, paths: list[Path]) -> np.ndarray:
    """The model's probabilities for images, see `logits_of`."""
    return np.asarray(jax.nn.softmax(logits_of(model, paths)))


def logits_of(model, paths: list[Path]) -> jax.Array:
    """The model's logits for images prepared as Keras does: squashed, values -1 to 1."""
    pixels = [
        np.asarray(_on_white(path).resize((SIZE, SIZE), Image.Resampling.NEAREST)) for path in paths
    ]
    return jax.jit(model)(np.stack(pixels).astype(np.float32) / 127.5 - 1)


def _on_white(path: Path) -> Image.Image:
    image = Image.open(path)
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    return white


def test_convert_there_and_back_is_bit_for_bit(model, source, converted, tmp_path):
    back = tmp_path / "new" / "back.weights.h5"
    assert str(back) in run("convert", converted, back)
    assert_equal(read(back), values_of(model))
    run("convert", source, tmp_path / "direct.weights.h5", *SETTINGS)
    assert_equal(read(tmp_path / "direct.weights.h5"), values_of(model))


def test_predict_ranks_as_the_model_does(model, converted, images):
    lines = run("predict", *images, "--weights", converted, "--json").splitlines()
    expected = probabilities(model, images)
    for path, line, row in zip(images, lines, expected, strict=True):
        answer = json.loads(line)
        assert answer["image"] == str(path)
        classes = [entry["class"] for entry in answer["top"]]
        ranked = [entry["probability"] for entry in answer["top"]]
        # Rounded to 6 digits; of two that are about equal, either may come first.
        np.testing.assert_allclose(ranked, np.sort(row)[::-1][:5], rtol=0, atol=1e-5)
        np.testing.assert_allclose(ranked, row[classes], rtol=0, atol=1e-5)
        assert [entry["name"] for entry in answer["top"]] == [NAMES[index] for index in classes]


def test_predict_shows_the_probabilities_of_a_sigmoid_as_keras_computes_them(
    model, converted, images, tmp_path
):
    """Weights that were converted before heads were read have a softmax."""
    from keras import activations

    directory = shutil.copytree(converted, tmp_path / "sigmoid")
    path = directory / "weights.json"
    description = json.loads(path.read_text())
    assert description.pop("probabilities") == "softmax"
    logits = logits_of(model, images[:1])
    for name in ("softmax", "sigmoid"):
        path.write_text(json.dumps(description))
        words = ("predict", images[0], "--weights", directory, "--json", "--top", 7)
        shown = {row["class"]: row["probability"] for row in json.loads(run(*words))["top"]}
        row = np.asarray(getattr(activations, name)(logits))[0]
        # Rounded to 6 digits; the logits differ by rounding, as batch normalization is folded.
        np.testing.assert_allclose([shown[index] for index in range(7)], row, rtol=0, atol=1e-5)
        description["probabilities"] = "sigmoid"


def test_predict_ranks_a_photo_as_its_upright_copy(model, converted, rng, tmp_path):
    """`--as-stored` ranks it as Keras does, which ignores EXIF."""
    upright = Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8))
    stored, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    upright.save(tmp_path / "upright.png")
    stored.save(tmp_path / "photo.png", exif=exif)

    def ranking(name: str, *more: str) -> Any:
        line = run("predict", tmp_path / name, "--weights", converted, "--json", *more)
        return json.loads(line)["top"]

    assert ranking("photo.png") == ranking("upright.png") != ranking("photo.png", "--as-stored")
    row = probabilities(model, [tmp_path / "photo.png"])[0]  # Pillow's pixels, as stored
    classes = [entry["class"] for entry in ranking("photo.png", "--as-stored")]
    # Of two that are about equal, either may come first.
    np.testing.assert_allclose(row[classes], np.sort(row)[::-1][:5], rtol=0, atol=1e-5)


def test_predict_prints_a_table_whatever_the_batch(converted, images):
    words = ("predict", *images, "--weights", converted, "--top", 7)
    table = run(*words)
    # Of two classes about equally probable, rounding may put either first: compare by class.
    answers = [run(*words, "--json", *more).splitlines() for more in ((), ("--batch-size", 3))]
    for line, other in zip(*answers, strict=True):
        one, two = json.loads(line), json.loads(other)
        assert one["image"] == two["image"]
        first, second = (
            {row["class"]: row["probability"] for row in answer["top"]} for answer in (one, two)
        )
        assert first == pytest.approx(second, abs=1e-5)  # rounded to 6 digits
    for word in ("bee [x]", "émeu", *map(str, images)):
        assert word in table
    assert len(table.splitlines()) == 1 + 7 * len(images)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_corrupt_image_is_named(converted, images, tmp_path, damage):
    path = tmp_path / "broken.png"
    content = images[0].read_bytes()
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "text": b"no", "empty": b""}[damage]
    )
    with pytest.raises(InputError, match=r"broken\.png.*cannot be decoded") as caught:
        run("predict", images[0], path, "--weights", converted)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.png.*no such file"):
        run("predict", tmp_path / "none.png", "--weights", converted)


def test_timm_weights_come_with_timms_settings_and_preparation(rng, images, tmp_path):
    state = timm_layout.small_state(rng)
    save_file(state, tmp_path / "t.safetensors")
    run("convert", tmp_path / "t.safetensors", tmp_path / "t", *SETTINGS, "--size", SIZE)
    settings = read_weights(tmp_path / "t").settings
    assert (settings["padding"], settings["norm_epsilon"]) == ("torch", 1e-5)
    # timm scales the shorter side to 79 = floor(71 / 0.8975), crops the centre; mean and std 0.5.
    image = Image.open(images[0])
    scaled = image.resize((int(79 * image.width / image.height), 79), Image.Resampling.BICUBIC)
    left, top = round((scaled.width - SIZE) / 2), round((79 - SIZE) / 2)
    pixels = np.asarray(scaled, np.float32)[top : top + SIZE, left : left + SIZE]
    batch = ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
    expected = np.asarray(jax.nn.softmax(jax.jit(timm_layout.logits)(state, batch)))[0]
    line = run("predict", images[0], "--weights", tmp_path / "t", "--json", "--top", 7)
    actual = {entry["class"]: entry["probability"] for entry in json.loads(line)["top"]}
    # Of logits, float32's 6e-8 through 17 layers.
    np.testing.assert_allclose([actual[i] for i in range(7)], expected, rtol=0, atol=1e-5)


def test_weights_that_keras_would_compute_otherwise_are_pointed_out(rng, tmp_path, capfd):
    save_file(timm_layout.small_state(rng), tmp_path / "t.safetensors")
    app = typer.Typer()
    app.command()(convert)
    words = [tmp_path / "t.safetensors", tmp_path / "t.weights.h5", *SETTINGS]
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert "norm_epsilon 1e-05 and padding 'torch'" in result.stderr + capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{source}", "{tmp}/x.h5", *SETTINGS], r"must be a directory, or end in \.weights\.h5"),
        (["{source}", "{tmp}", *SETTINGS], "exists"),
        (["{source}", "{source}/b", *SETTINGS], "cannot be a directory"),
        (["{source}", "{tmp}/x"], "of another shape"),
        (["{source}", "{tmp}/x", "--model", "xceptoin"], "nearest valid value: 'xception'"),
        (["{source}", "{tmp}/x", "data.name=mnist"], "must be about model"),
        (["{source}", "{tmp}/x", *SETTINGS, "--class-names", "{source}"], "cannot be read"),
        (["{tmp}/x.pth", "{tmp}/x"], "can hold a pickle"),
        (["{tmp}", "{tmp}/x"], r"holds no weights\.json"),
        (["{converted}", "{tmp}/x", "model.width=1"], "is converted"),
        (["{converted}", "{tmp}/x", "--model", "xception"], "is converted"),
        (["{converted}", "{tmp}/x", "--size", "299"], "is converted"),
    ],
)
def test_bad_words_are_refused_and_nothing_is_made(source, converted, tmp_path, words, message):
    paths = {"source": source, "tmp": tmp_path, "converted": converted}
    with pytest.raises(InputError, match=message) as caught:
        run("convert", *(word.format(**paths) for word in words))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_artifact_runs_without_this_package(model, converted, rng, tmp_path):
    out = run("export", converted, "--output", tmp_path / "x.stablehlo")
    assert "jax.export.deserialize" in out
    images = rng.uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    subprocess.run(program("call_exported"), cwd=tmp_path, check=True, timeout=120)
    expected = np.asarray(jax.jit(model)(images))
    with np.load(tmp_path / "logits.npz") as logits:
        # The same operations, compiled separately: float32's 6e-8 through 17 layers.
        for name, rows in (("arr_0", expected), ("arr_1", expected[:1])):
            error = np.max(np.abs(logits[name] - rows)) / np.max(np.abs(expected))
            print(f"relative error {error:.2g}")
            assert error < 1e-5
    description = json.loads((tmp_path / "x.stablehlo.json").read_text())
    assert description["input"] == f"float32 [batch, {SIZE}, {SIZE}, 3]"
    assert description["preprocessing"]["size"] == SIZE


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--output", "{tmp}/a/x"], "lies in none"), (["--platforms", "gpu"], "must be one of cpu")],
)
def test_a_place_or_platform_that_does_not_exist_is_said(converted, tmp_path, words, message):
    output = [] if "--output" in words else ["--output", tmp_path / "x"]
    with pytest.raises(InputError, match=message):
        run("export", converted, *output, *(word.format(tmp=tmp_path) for word in words))
    assert not list(tmp_path.iterdir())


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("words", "failing"),
    [
        (("convert", "{kept}", "{tmp}/w"), "runtime.run_directory.write_regular"),
        (("convert", "{kept}", "{tmp}/x.weights.h5"), "runtime.run_directory.write_regular"),
        (("convert", "{kept}", "{tmp}/new/w"), "commands.weights.Path.mkdir"),
        (
            ("export", "{kept}", "--output", "{tmp}/x", "--platforms", "cpu"),
            "runtime.run_directory.write_regular",
        ),
    ],
    ids=["directory", "Keras", "parent", "export"],
)
def test_a_full_disk_is_one_line_and_no_bad_input(*, call, converted, tmp_path, words, failing):
    words = [word.format(kept=converted, tmp=tmp_path) for word in words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"xception_jax.{failing}", full)
        code, out, err = call(*words)
    assert (code, out) == (1, "")
    assert err == "xception-jax: OSError: [Errno 28] No space left on device\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w", "x.weights.h5"])
def test_a_disk_that_is_really_full_is_one_line(converted, tmp_path, name):
    """HDF5 crashed the process at its end, and TensorStore's threads wrote tracebacks."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=20k", "full", tmp_path]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        words = command_line("convert", converted, tmp_path / name)
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


def test_names_of_classes_from_an_editor_of_windows(tmp_path):
    (path := tmp_path / "names.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())
    assert _read_names(path) == ("cat", "dog")
