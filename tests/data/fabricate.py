"""Image files generated for the tests."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    """Returns pixels encoded as the content of an image file."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


def write_folder(
    root: Path, rng: np.random.Generator, splits: dict[str, int], size: tuple[int, int] = (24, 32)
) -> None:
    """Writes `splits[name]` random PNG images of (height, width) `size` for each of 3 classes."""
    for split, count in splits.items():
        for label in ("ant", "bee", "cat"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (*size, 3), np.uint8)
                (root / split / label / f"{number:03}.png").write_bytes(encode(pixels))


def tiff(samples: np.ndarray, bits: int, photometric: int, compression: int) -> bytes:
    """The TIFF file of grey samples [height, width], by the format's definition."""
    height, width = samples.shape
    if bits == 12:  # the highest bit first; rows end with a byte
        rows = ["".join(f"{sample:012b}" for sample in row) for row in samples]
        padded = "".join(row + "0" * (-len(row) % 8) for row in rows)
        data = int(padded, 2).to_bytes(len(padded) // 8, "big")
    else:
        data = samples.astype("<u2").tobytes()
    data = zlib.compress(data) if compression == 8 else data
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: photometric}
    tags |= {273: 8, 277: 1, 278: height, 279: len(data)}
    data += b"\0" * (len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return start + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def png(samples: np.ndarray, color_type: int, bits: int = 16, **chunks: bytes) -> bytes:
    """The PNG file of samples [height, width, channels] with a number of bits each."""
    height, width, _ = samples.shape
    rows = b""
    for row in samples.reshape(height, -1):
        digits = "".join(f"{sample:0{bits}b}" for sample in row)
        digits += "0" * (-len(digits) % 8)  # rows end with a byte
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + (named := name.encode() + body)
        + struct.pack(">I", zlib.crc32(named))
        for name, body in parts.items()
    )
