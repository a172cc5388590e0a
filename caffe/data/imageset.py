"""Image lists to databases, and databases to mean images: what convert_imageset and compute_image_mean do."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import atomic_write
from ..proto import caffe_pb2
from . import datum
from .images import decode_image, read_bytes, resize_linear
from .lmdb_reader import open_database
from .lmdb_writer import LmdbWriter

log = logging.getLogger("caffe")


def read_list(path: str | os.PathLike[str], label: Callable[[str], Any] = int,
              form: str = "'path label' with an integer label") -> list[tuple[str, Any]]:
    """The (image path, label) of each line `path label`; paths may hold spaces. Raises DataError naming the line.

    `label` makes a label of the last word, or raises ValueError; `form` says in errors what a line is.
    """
    try:
        # file names are bytes: whatever is not UTF-8 finds its file all the same
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError) as problem:
        raise DataError(f"cannot read the list: {problem}", file=path,
                        help="check the path; a relative one starts at the current folder") from problem
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        *image, word = line.rsplit(maxsplit=1)
        try:
            entries.append((image[0], label(word)))
        except (IndexError, ValueError):
            raise DataError(f"line {number} does not end in a label", file=path, line=number, found=repr(line),
                            expected=form, help="append a label; 0 where there is none") from None
    if not entries:
        raise DataError("lists no images", file=path, help="write one 'path label' in each line")
    return entries


def image_datum(path: str | os.PathLike[str], label: int, color: bool = True, size: tuple[int, int] | None = None,
                encode_type: str = "") -> tuple[Any, tuple[int, int, int]]:
    """The `Datum` of an image file, and the image's shape (channels, height, width).

    Raw BGR bytes; with `encode_type` ("png", "jpg", ...) an image file: the file itself where it is of that type,
    has the wanted channels and needs no resizing to `size` (height, width). Raises DataError naming the file.
    """
    data = read_bytes(path)
    image = decode_image(data, color, file=path)
    same_size = size is None
    if size is not None:
        image = resize_linear(image, *size)
    height, width, channels = image.shape
    message = caffe_pb2.Datum(label=label)
    if not encode_type:
        message.channels, message.height, message.width = channels, height, width
        message.data = image.transpose(2, 0, 1).tobytes()
        message.encoded = False
    else:
        kept = same_size and _type(encode_type) == _type(Path(path).suffix) and _stored_channels(data) == channels
        message.data = data if kept else encode(image, encode_type, path)
        message.encoded = True
    return message, (channels, height, width)


def encode(image: np.ndarray, encode_type: str, file: str | os.PathLike[str] | None = None) -> bytes:
    """An image file of height x width x channels uint8 (BGR or gray); JPEG in quality 95, as OpenCV's default.

    Raises DataError for a type that Pillow does not write.
    """
    from PIL import Image

    kind = Image.registered_extensions().get(f".{_type(encode_type)}")
    if kind not in Image.SAVE:
        raise DataError("cannot encode images of this type", file=file, found=repr(encode_type),
                        expected="png, jpg, bmp, ...", help="set encode_type")
    pixels = image[:, :, 0] if image.shape[2] == 1 else image[:, :, ::-1]
    buffer = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(f"cannot be encoded as {encode_type}: {problem}", file=file,
                        help="choose another encode_type") from problem
    return buffer.getvalue()


def _type(name: str) -> str:
    name = name.lower().removeprefix(".")
    return "jpg" if name == "jpeg" else name


def _stored_channels(data: bytes) -> int | None:
    """The channels that a reader who decodes the file as it is will see; None where that needs a closer look."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return {"L": 1, "RGB": 3}.get(image.mode) if "transparency" not in image.info else None


def convert_imageset(root_folder: str, list_file: str | os.PathLike[str], database: str | os.PathLike[str], *,
                     gray: bool = False, shuffle: bool = False, seed: int | None = None, resize_width: int = 0,
                     resize_height: int = 0, check_size: bool = False, encoded: bool = False,
                     encode_type: str = "") -> int:
    """Write the images of a list to a new LMDB of `Datum` messages; returns how many were written.

    A path is `root_folder` (which ends in a slash) followed by the list's path; the key of line N is
    `%08d_path`, counted from 0 after shuffling (`seed` repeats an order). An image that cannot be read is named in
    the log and left out, as by Caffe. `encode_type` implies `encoded`; without it the type is that of the file's name.
    Raises DataError: nothing readable, sizes that differ with `check_size`, a database that is there already.
    """
    if (resize_width > 0) != (resize_height > 0):
        raise DataError("resize_width and resize_height go together", found=f"{resize_width} and {resize_height}",
                        help="set both, or neither")
    size = (resize_height, resize_width) if resize_height > 0 else None
    entries = read_list(list_file)
    if shuffle:
        log.info("Shuffling data")
        entries = [entries[i] for i in np.random.default_rng(seed).permutation(len(entries))]
    log.info("A total of %d images.", len(entries))
    if encode_type and not encoded:
        log.info("encode_type specified, assuming encoded=true.")
    first: tuple[int, int, int] | None = None
    count = 0
    with LmdbWriter(database) as out:
        for number, (name, label) in enumerate(entries):
            path = root_folder + name
            kind = encode_type or (_suffix(path) if encoded else "")
            try:
                message, shape = image_datum(path, label, not gray, size, kind)
            except DataError as problem:
                log.error("%s", problem)
                continue
            first = first or shape
            if check_size and shape != first:
                raise DataError("has another size than the images before it", file=path, found=_times(shape),
                                expected=_times(first), help="set resize_height and resize_width")
            out.put(b"%08d_" % number + os.fsencode(name), message.SerializeToString())
            count += 1
            if count % 1000 == 0:
                log.info("Processed %d files.", count)
        if not count:
            raise DataError("none of the images can be read", file=list_file, found=f"first of them {root_folder}"
                            f"{entries[0][0]}", help="the folder's name is put before each path as it is: end it in /")
    if count % 1000:
        log.info("Processed %d files.", count)
    if count < len(entries):
        log.warning("%d of %d images could not be read and were left out", len(entries) - count, len(entries))
    return count


def _suffix(path: str) -> str:
    suffix = Path(path).suffix
    if not suffix:
        raise DataError("has no extension that tells how to encode it", file=path, help="set encode_type")
    return suffix[1:]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def compute_image_mean(database: str, backend: str = "lmdb") -> np.ndarray:
    """The mean of all images in a database: channels x height x width, float32 (summed in double precision).

    Encoded images are decoded as they are. Raises DataError when their sizes differ or a record is damaged.
    """
    reader = open_database(database, backend.upper())
    total: np.ndarray | None = None
    count = 0
    log.info("Starting iteration")
    for value in islice(reader.records(0), len(reader)):
        with datum.record(count, database):
            image = datum.array(datum.parse(value))
        if total is None:
            total = np.zeros(image.shape)
        elif image.shape != total.shape:
            raise DataError(f"record {count} has another size than the ones before it", file=database,
                            found=_times(image.shape), expected=_times(total.shape),
                            help="write it with convert_imageset -resize_height H -resize_width W")
        total += image
        count += 1
        if count % 10000 == 0:
            log.info("Processed %d files.", count)
    if count % 10000:
        log.info("Processed %d files.", count)
    assert total is not None   # a reader has at least one record
    return (total / count).astype(np.float32)


def write_mean(mean: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write channels x height x width as the BlobProto that `mean_file` names, with num 1. Raises DataError."""
    channels, height, width = mean.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.ravel().tolist())
    atomic_write(path, blob.SerializeToString(), error=DataError)
