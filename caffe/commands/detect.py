"""`caffe detect WINDOWS.csv OUTPUT -model_def NET -pretrained_model WEIGHTS`: scores for windows of images."""

from __future__ import annotations

import argparse
import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import atomic_path, atomic_write, package
from ._flags import preprocessing, settings

COLUMNS = ("ymin", "xmin", "ymax", "xmax")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input_file", help="windows as .csv with a head line filename,ymin,xmin,ymax,xmax; "
                                           "or image names as .txt for selective search")
    parser.add_argument("output_file", help="the .csv or .h5 to write")
    preprocessing(parser)
    parser.add_argument("--crop_mode", choices=("list", "selective_search"),
                        help="where windows come from; default list for .csv, selective_search for .txt")
    parser.add_argument("--context_pad", type=int, default=16, help="border of context in the net's input (default 16)")


def run(options: argparse.Namespace) -> int:
    from ..detector import Detector

    suffixes = Path(options.input_file).suffix.lower(), Path(options.output_file).suffix.lower()
    mode = options.crop_mode or ("list" if suffixes[0] == ".csv" else "selective_search")
    if suffixes[0] != (".csv" if mode == "list" else ".txt"):
        raise DataError(f"-crop_mode {mode} does not read this", file=options.input_file,
                        expected=".csv for list, .txt for selective_search", help="rename it, or set -crop_mode")
    if suffixes[1] not in (".csv", ".h5"):
        raise DataError("the output is a .csv or .h5 file", file=options.output_file, help="rename it")
    given = settings(options)
    if given["mean"] is not None and given["mean"].ndim == 3:
        given["mean"] = given["mean"].mean((1, 2))   # windows are of any size: one value for each channel
    net = Detector(options.model_def, options.pretrained_model, context_pad=options.context_pad, **given)
    start = time.perf_counter()
    if mode == "list":
        detections = net.detect_windows(read_windows(options.input_file))
    else:
        names = _read(options.input_file).splitlines()
        detections = net.detect_selective_search([name.strip() for name in names if name.strip()])
    print(f"Processed {len(detections)} windows in {time.perf_counter() - start:.3f} s.")
    write_detections(options.output_file, detections)
    print(f"Saved to {options.output_file}.")
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        raise DataError(f"cannot be read: {problem}", file=path, help="check the path") from problem


def read_windows(path: str) -> list[tuple[str, list[list[int]]]]:
    """(filename, windows) for each image of a CSV file, windows as ymin, xmin, ymax, xmax. Raises DataError."""
    reader = csv.DictReader(io.StringIO(_read(path)), skipinitialspace=True)
    missing = {"filename", *COLUMNS} - set(reader.fieldnames or ())
    if missing:
        raise DataError("the head line lacks columns", file=path, line=1, found=", ".join(reader.fieldnames or ()),
                        expected="filename,ymin,xmin,ymax,xmax", help="name the columns in the first line")
    windows: dict[str, list[list[int]]] = {}
    for row in reader:
        try:
            windows.setdefault(row["filename"], []).append([int(float(row[name])) for name in COLUMNS])
        except (TypeError, ValueError, OverflowError):
            raise DataError("is no window", file=path, line=reader.line_num, found=list(row.values()),
                            expected="numbers for " + ", ".join(COLUMNS), help="correct this line") from None
    if not windows:
        raise DataError("lists no windows", file=path, help="add a line for each")
    return list(windows.items())


def write_detections(path: str, detections: list[dict[str, Any]]) -> None:
    """Write filename, window and prediction: CSV columns class0, class1, ..., or HDF5 datasets of these names.

    Raises DataError.
    """
    names = [str(one["filename"]) for one in detections]
    windows = np.array([one["window"] for one in detections])
    predictions = np.stack([np.ravel(one["prediction"]) for one in detections])
    if path.lower().endswith(".csv"):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["filename", *COLUMNS, *(f"class{i}" for i in range(predictions.shape[1]))])
        for name, window, values in zip(names, windows.tolist(), predictions, strict=True):
            writer.writerow([name, *window, *values])
        atomic_write(path, text.getvalue(), error=DataError)
        return
    h5py = package("h5py", DataError, file=path)
    with atomic_path(path, error=DataError) as temporary, h5py.File(temporary, "w") as file:
        file["filename"], file["window"], file["prediction"] = names, windows, predictions
