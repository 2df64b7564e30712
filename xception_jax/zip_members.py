"""Reads files in a zip, and unpacks no more of them than they declare."""

import zipfile

BOUNDED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods of which Python unpacks as much as is asked for; of others a block whole, however large
it becomes."""


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of a file in a zip.

    `ZipFile.read` unpacks all that there is, up to two gigabytes, before it cuts it to size.

    Args:
        archive: the zip.
        info: the file in it, whose declared size the caller has found to be small.

    Raises:
        ValueError: it holds less or more than it declares, or is packed by another method than
            `BOUNDED_METHODS`.
        zipfile.BadZipFile: it does not match its checksum.
    """
    if info.compress_type not in BOUNDED_METHODS:
        raise ValueError(f"{info.filename!r} is packed by another method than deflate")
    with archive.open(info) as file:
        content = file.read(info.file_size)
        if len(content) != info.file_size or file.read(1):
            raise ValueError(f"{info.filename!r} has another size than it declares")
    return content
