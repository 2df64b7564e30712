"""`convert`, `predict` and `export`: pretrained weights in, predictions and programs out.

JAX is imported inside the commands, so that --help stays fast. Bad input raises `InputError`, which
the command line prints as one line.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xception_jax.commands.console import console, plain_table, warn
from xception_jax.commands.library_output import kept_apart
from xception_jax.commands.process import prepare_jax, require_devices
from xception_jax.errors import InputError, printable, refused
from xception_jax.json_values import as_real
from xception_jax.regular_files import DIRECTORY, FILE, kind_of, read_regular

if TYPE_CHECKING:
    import numpy as np

    from xception_jax.pretrained.directory import Weights

_KERAS_FILE = ".weights.h5"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="Weight file (.weights.h5, .keras, .h5, .safetensors), or converted weights."
        ),
    ],
    destination: Annotated[Path, typer.Argument(help="New directory, or new file *.weights.h5.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of the model, as model.…=value, if not the published ones."),
    ] = None,
    *,
    model: Annotated[str | None, typer.Option(help="Name of the model; default: xception.")] = None,
    head: Annotated[
        bool, typer.Option("--head/--no-head", help="Whether to keep the classifier.")
    ] = True,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width of its images, in pixels; default: 299."),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="Text file with a class name per line.")
    ] = None,
) -> int:
    """Convert weights of Keras or timm, to predict, export and train with them.

    No code in the files is run: pickles (.pth, .bin) are refused.

    Example: `xception-jax convert xception_weights_tf_dim_ordering_tf_kernels.h5 weights/xception`
    """
    prepare_jax()
    require_devices()
    from xception_jax.pretrained.directory import read_weights, write_weights
    from xception_jax.pretrained.importing import import_file

    _require_new(destination)
    if kind_of("source", source) == DIRECTORY:
        if overrides or class_names or model or size or not head:
            raise InputError("source", str(source), "is converted; only a file can be changed so")
        weights = read_weights(source)
    else:
        names = _read_names(class_names) if class_names else None
        weights = import_file(
            source,
            model=model or "xception",
            overrides=overrides or (),
            head=head,
            size=size or 299,
            class_names=names,
        )
    with refused("destination", str(destination), "lies in what cannot be a directory"):
        destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.name.endswith(_KERAS_FILE):
        _to_keras(weights, destination)
    else:
        with kept_apart(None):  # on a full disk the threads of TensorStore have much to say
            write_weights(destination, weights)
    count = sum(value.size for value in weights.parameters.values())
    classes = "no classifier" if weights.num_classes is None else f"{weights.num_classes} classes"
    console.print(f"{weights.model}, {count:,} parameters, {classes}: {destination}")
    return 0


def _require_new(destination: Path) -> None:
    """Raises `InputError` unless it names a directory, or a file of Keras, that is not there."""
    is_file = destination.suffix in (".h5", ".hdf5", ".keras", ".safetensors")
    if is_file and not destination.name.endswith(_KERAS_FILE):
        reason = f"must be a directory, or end in {_KERAS_FILE}"
        raise InputError("destination", str(destination), reason)
    if kind_of("destination", destination):
        raise InputError("destination", str(destination), "exists; delete it or choose another")


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = read_regular(path).decode("utf-8-sig").splitlines()  # editors of Windows mark it
    except (OSError, ValueError) as error:
        raise InputError("--class-names", str(path), f"cannot be read: {error}") from error
    return tuple(name.strip() for name in names)


def _to_keras(weights: "Weights", destination: Path) -> None:
    from xception_jax.pretrained import save_keras_weights

    model = weights.function().bind(weights.parameters, weights.batch_stats)
    save_keras_weights(model, destination)
    unlike = [
        f"{name} {weights.settings[name]!r}"
        for name, keras in (("norm_epsilon", 1e-3), ("padding", "same"))
        if weights.settings.get(name, keras) != keras
    ]
    if unlike:
        warn(
            f"these weights were trained with {' and '.join(unlike)}; Keras has settings of its "
            f"own, with which the logits are others"
        )
    if weights.probabilities != "softmax":
        warn(f"their head ends in a {weights.probabilities}: give Keras's classifier the same one")


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="Image files, in any format that Pillow reads.")
    ],
    *,
    weights: Annotated[Path, typer.Option(help="Directory of converted weights.")],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 32,
    upright: Annotated[
        bool,
        typer.Option(
            "--upright/--as-stored",
            help="Turn photos as their EXIF orientation says; Keras and timm read them as stored.",
        ),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image.")
    ] = False,
) -> int:
    """Show the most probable classes of images, preprocessed as the weights expect.

    The probabilities are those of a softmax, or of a sigmoid if the weights' model ends in one.
    Transparent areas become white; of an animation the first frame is used.

    Example: `xception-jax predict cat.jpg dog.png --weights weights/xception`
    """
    for image in images:
        if (found := kind_of("image", image)) != FILE:
            raise InputError("image", str(image), "is not a file" if found else "no such file")
    prepare_jax()
    require_devices()
    from rich.table import Column

    from xception_jax.pretrained.directory import read_weights

    read = read_weights(weights)
    headings = [Column(name, overflow="fold") for name in ("image", "class", "name", "probability")]
    table = plain_table(*headings)
    for image, ranking in _rank(read, images, top, batch_size, upright):
        if as_json:
            answer = {
                "image": str(image),
                "top": [
                    {"class": index, "name": name, "probability": as_real(round(probability, 6))}
                    for index, name, probability in ranking
                ],
            }
            typer.echo(json.dumps(answer, allow_nan=False))
            continue
        for rank, (index, name, probability) in enumerate(ranking):
            image_name = printable(str(image)) if rank == 0 else ""
            table.add_row(image_name, str(index), printable(name or ""), f"{probability:.4f}")
    if not as_json:
        console.print(table)
    return 0


def _rank(
    weights: "Weights", images: list[Path], top: int, batch_size: int, upright: bool
) -> Iterator[tuple[Path, list[tuple[int, str | None, float]]]]:
    """Yields each image with (index, name, probability) of its `top` classes, best first."""
    import jax
    import numpy as np

    from xception_jax.pretrained.folding import apply_folded

    apply = jax.jit(partial(apply_folded, weights.function()))
    names = weights.class_names
    for start in range(0, len(images), batch_size):
        paths = images[start : start + batch_size]
        batch = np.stack([_prepared(weights, path, upright) for path in paths])
        logits = apply(weights.parameters, weights.batch_stats, batch)
        probabilities = getattr(jax.nn, weights.probabilities)(logits)
        for path, row in zip(paths, np.asarray(probabilities), strict=True):
            best = np.argsort(-row, kind="stable")[:top].tolist()
            yield path, [(i, names[i] if names else None, float(row[i])) for i in best]


def _prepared(weights: "Weights", path: Path, upright: bool) -> "np.ndarray":
    from xception_jax.data.images import CorruptImage, decode_and

    prepare = weights.preprocessing
    try:
        return decode_and(prepare, path, 3, str(path), upright=upright)
    except CorruptImage as error:
        reason = f"cannot be decoded: {error.reason}"
        raise InputError("image", str(path), reason) from error


def export(
    directory: Annotated[Path, typer.Argument(help="Directory of converted weights.")],
    output: Annotated[Path, typer.Option(help="File to write.")],
    platforms: Annotated[
        str, typer.Option(help="Platforms it runs on, separated by commas.")
    ] = "cpu,cuda,tpu",
) -> int:
    """Write a model with its weights as a StableHLO program, which JAX runs without this package.

    OUTPUT.json beside it describes the preprocessing of the images.

    Example: `xception-jax export weights/xception --output xception.stablehlo`
    """
    prepare_jax()
    require_devices()
    from xception_jax.pretrained.directory import read_weights
    from xception_jax.pretrained.exporting import export_model
    from xception_jax.runtime.run_directory import write_whole

    lies_in = kind_of("--output", output.absolute().parent)
    if lies_in != DIRECTORY or kind_of("--output", output) == DIRECTORY:
        raise InputError("--output", str(output), "is a directory, or lies in none")
    names = [name.strip() for name in platforms.split(",")]
    weights = read_weights(directory)
    size = weights.preprocessing.size
    artifact = export_model(
        weights.function(),
        weights.parameters,
        weights.batch_stats,
        image_shape=(size, size, 3),
        platforms=names,
    )
    described = weights.describe() | {
        "input": f"float32 [batch, {size}, {size}, 3]",
        "output": f"float32 [batch, {weights.num_classes}], logits",
    }
    with refused("--output", str(output), "cannot be written"):
        write_whole(output, artifact)
        text = json.dumps(described, indent=2, sort_keys=True, default=list)
        write_whole(output.with_name(f"{output.name}.json"), text + "\n")
    console.print(f"{output}: {len(artifact):,} bytes, for {', '.join(names)}; to run it:")
    console.print(f"jax.export.deserialize(bytearray(open({str(output)!r}, 'rb').read())).call(x)")
    return 0
