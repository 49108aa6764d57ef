"""Data that cannot be used, as far as it shows without decoding an image."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.refused.case import Case, Desk


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trap),)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The header of an array that is not there."""
    buffer = io.BytesIO()
    content = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG of a few bytes that says it is of this size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff_header(width: int, height: int) -> bytes:
    """A TIFF of 16-bit RGB that says it is of this size."""
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, 200), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 1, 1000),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    ifd = struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)
    return (b"II*\0" + struct.pack("<I", 8) + ifd).ljust(1300, b"\0")


def dataset(name: str, make: Callable[[Desk], str], *says: str, **more: Any) -> Case:
    """A data set: `make` writes it and returns what is put under `dataset`."""
    settings = {"notebook": "01_pretrain", **more}
    return Case(
        name,
        lambda desk: desk.experiment(dataset=f"'{make(desk)}'", **settings),
        ["experiments.one.dataset: ", *says],
    )


def npz(name: str, *says: str, **changes: Any) -> Case:
    return dataset(f"npz: {name}", lambda desk: desk.npz(**changes), "cells.npz", *says)


def table(name: str, rows: list[list[str]], header: str, *says: str, **more: Any) -> Case:
    return dataset(f"csv: {name}", lambda d: d.table(rows, header), "labels.csv", *says, **more)


def folds(name: str, make: Callable[[Desk], str], *says: str, **more: Any) -> Case:
    """Data that cannot be shared out over five folds, or as many as `more` says."""
    settings = {"folds": 5, **more}
    return Case(
        f"folds: {name}",
        lambda desk: desk.experiment(dataset=f"'{make(desk)}'", **settings),
        [f"experiments.one.folds: {settings['folds']}", *says],
    )


def raw_table(name: str, content: bytes, *says: str) -> Case:
    def make(desk: Desk) -> str:
        return f"csv:{desk.write('own/labels.csv', content)}"

    return dataset(f"csv: {name}", make, "labels.csv", *says)


def folder(name: str, make: Callable[[Desk], object], *says: str, **more: Any) -> Case:
    def build(desk: Desk) -> str:
        (desk.folder / "own").mkdir()
        make(desk)
        return f"folder:{desk.folder / 'own'}"

    return dataset(f"folder: {name}", build, "own", *says, **more)


def truncated(desk: Desk) -> str:
    name = desk.npz()
    path = Path(name.removeprefix("npz:"))
    path.write_bytes(path.read_bytes()[:3000])
    return name


def good_members() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    members = {}
    for split, n in (("train", 12), ("test", 6)):
        members[f"{split}_images.npy"] = npy(rng.integers(0, 256, (n, 28, 28), np.uint8))
        members[f"{split}_labels.npy"] = npy((np.arange(n) % 2).astype(np.uint8))
    return members


def cut_member(desk: Desk) -> str:
    members = good_members()
    members["train_images.npy"] = members["train_images.npy"][:-500]
    return desk.zipped(members)


def boastful_header(desk: Desk) -> str:
    members = good_members()
    members["train_images.npy"] = npy_header((10**9, 1000, 1000)) + bytes(100)
    return desk.zipped(members)


def boastful_labels(desk: Desk) -> str:
    members = good_members()
    members["train_labels.npy"] = npy_header((10**12,)) + bytes(100)
    return desk.zipped(members)


def pickled_images(desk: Desk) -> str:
    return desk.npz(train_images=np.array([Payload(desk.trap)] * 12, object))


def pickled_labels(desk: Desk) -> str:
    return desk.npz(train_labels=np.array([Payload(desk.trap)] * 12, object))


def pickled_classes(desk: Desk) -> str:
    return desk.npz(classes=np.array([Payload(desk.trap), "b"], object))


def a_pickle(desk: Desk) -> str:
    return f"npz:{desk.write('cells.npz', pickle.dumps(Payload(desk.trap)))}"


def pickle_as_member(desk: Desk) -> str:
    members = good_members()
    members["train_labels.npy"] = pickle.dumps(Payload(desk.trap))
    return desk.zipped(members)


def wrong_md5(desk: Desk) -> list[str]:
    desk.npz("root/breastmnist.npz")
    return desk.experiment(dataset="breastmnist", data_root=desk.folder / "root")


def truncated_medmnist(desk: Desk) -> list[str]:
    path = Path(desk.npz("root/breastmnist.npz").removeprefix("npz:"))
    path.write_bytes(path.read_bytes()[:3000])
    return desk.experiment(dataset="breastmnist", data_root=desk.folder / "root")


def data_root_is_a_file(desk: Desk) -> list[str]:
    return desk.experiment(dataset="breastmnist", data_root=desk.write("root.txt", "x"))


def good_set_then_bad_set(desk: Desk) -> list[str]:
    """The digests of the first are not kept either."""
    good, bad = desk.npz("good.npz"), desk.table([["no.jpg", "a"], ["no2.jpg", "b"]])
    matrix = f"{{dataset: ['{good}', '{bad}']}}"
    return desk.study(
        f"study: mine\nexperiments:\n  one: {{notebook: 01_pretrain, matrix: {matrix}}}\n"
    )


def pictures(desk: Desk, *contents: bytes, good: int = 0) -> str:
    rows = [[f"bad{i}.png", "ab"[i % 2]] for i in range(len(contents))]
    for row, content in zip(rows, contents, strict=True):
        desk.write(f"own/{row[0]}", content)
    return desk.table([*rows, *desk.rows(good)])


def patients(desk: Desk, n: int = 3) -> str:
    """30 images of two classes, and of three patients or n."""
    rows = [[f"im{i}.png", "ab"[i % 2], f"p{i // 2 % n}"] for i in range(30)]
    return desk.table(rows, "image,label,group")


def patients_apart(desk: Desk) -> str:
    """Four patients in train and val, two in test."""
    splits = ("train", "train", "train", "val", "test", "test")
    rows = [[f"im{i}.png", "ab"[i // 6 % 2], f"p{i % 6}", splits[i % 6]] for i in range(30)]
    return desk.table(rows, "image,label,group,split")


def linked_patients(desk: Desk) -> str:
    """Six patients, of whom two pairs share a file: for the folds there are four."""
    name = patients(desk, 6)
    for patient, other in ((0, 2), (4, 6)):
        copied = (desk.folder / f"own/im{patient}.png").read_bytes()
        desk.write(f"own/im{other}.png", copied)
    return name


def copies(desk: Desk) -> str:
    """20 files of which 18 are one."""
    name = desk.table(desk.rows())
    for i in range(3, 20):
        desk.write(f"own/im{i}.png", (desk.folder / "own/im2.png").read_bytes())
    return name


def two_gigabytes(desk: Desk) -> str:
    """Two files with a hole of 2 GB: nothing on the disk."""
    for name in ("big0.png", "big1.png"):
        path = desk.write(f"own/{name}", b"\x89PNG\r\n\x1a\n")
        os.truncate(path, 2**31)
    return desk.table([["big0.png", "a"], ["big1.png", "b"]])


def link_to_itself(desk: Desk) -> None:
    desk.image("own/a/0.png")
    (desk.folder / "own" / "b").symlink_to(desk.folder / "own")


def link_in_circles(desk: Desk) -> str:
    (desk.folder / "x").symlink_to(desk.folder / "y")
    (desk.folder / "y").symlink_to(desk.folder / "x")
    return f"folder:{desk.folder / 'x'}"


def name_without_encoding(desk: Desk) -> None:
    desk.folders(a=3, b=3)
    odd = os.fsdecode(os.fsencode(desk.folder / "own/a") + b"/\xff.png")
    (desk.folder / "own/a/0.png").rename(odd)


PLAIN = [[f"im{i}.png", "ab"[i % 2]] for i in range(20)]
PLAIN_TRAIN = [[*row, "train"] for row in PLAIN]
MISSING = [[f"gone{i}.jpg", "ab"[i % 2]] for i in range(20)]
TORN = [[f"im{i}.png", "ab"[i % 2], f"p{i // 2}", "train" if i < 11 else "test"] for i in range(20)]
BEYOND_NAMES = np.array([0, 1] * 5 + [7, 0])
NOTES = np.array(["p1"] * 12), np.array(["p2", "p2", "p1", "p3"]), np.array(["p4"] * 6)

NPZ = [
    dataset("npz: missing", lambda desk: f"npz:{desk.folder / 'no.npz'}", "no.npz: no such file"),
    dataset("npz: a folder", lambda desk: f"npz:{desk.folder}", "no such file"),
    dataset("npz: no path", lambda desk: "npz:", "no such file"),
    dataset("npz: truncated", truncated, "cells.npz: not a readable .npz"),
    dataset("npz: empty file", lambda d: f"npz:{d.write('cells.npz', b'')}", "not a readable .npz"),
    dataset("npz: an array cut short", cut_member, "train_images", "cut short"),
    dataset("npz: images of 10^15 bytes", boastful_header, "train_images", "cut short"),
    dataset("npz: labels of 10^12 bytes", boastful_labels, "train_labels", "cut short"),
    dataset("npz: pickled images", pickled_images, "train_images", "object"),
    dataset("npz: pickled labels", pickled_labels, "train_labels", "pickle"),
    dataset("npz: pickled classes", pickled_classes, "classes", "pickle"),
    dataset("npz: a pickle", a_pickle, "cells.npz: not a readable .npz"),
    dataset("npz: a pickle inside", pickle_as_member, "train_labels", "not a readable .npz"),
    npz("no test images", "has no test_images", test_images=None),
    npz("no test labels", "has train_labels but no test_labels", test_labels=None),
    npz("labels below 0", "train_labels holds -1", train_labels=np.array([-1, 1] * 6)),
    npz("labels beyond the names", "classes holds 2 names", classes=["a", "b"],
        train_labels=BEYOND_NAMES),
    npz("a class left out", "class 2 never occurs", train_labels=BEYOND_NAMES),
    npz("labels of 2^40", "class 2 never occurs", train_labels=np.array([0, 2**40] * 6)),
    npz("labels NaN", "train_labels holds float64 values", train_labels=np.array([0, np.nan] * 6)),
    npz("labels infinite", "train_labels holds", train_labels=np.array([0, np.inf] * 6)),
    npz("labels of halves", "train_labels holds float64", train_labels=np.array([0, 0.5] * 6)),
    npz("labels as text", "train_labels holds <U1 values", train_labels=np.array(["a", "b"] * 6)),
    npz("labels too few", "train_labels is 5; there are 12", train_labels=np.arange(5) % 2),
    npz("columns that are no labels", "has 2 columns, but 0 to 3",
        train_labels=np.full((12, 2), 3) * (np.arange(24).reshape(12, 2) % 2)),
    npz("one class", "one class only", train_labels=np.zeros(12, int), val_labels=np.zeros(4, int),
        test_labels=np.zeros(6, int)),
    npz("images as floats", "images must be uint8", train_images=np.zeros((12, 28, 28))),
    npz("images without height", "needed is N × H × W", train_images=np.zeros((12, 784), np.uint8)),
    npz("images of two channels", "needed is", train_images=np.zeros((12, 28, 28, 2), np.uint8)),
    npz("images of another size", "differ", train_images=np.zeros((12, 30, 30), np.uint8)),
    npz("images of 3 pixels", "3 × 3",
        **{f"{s}_images": np.zeros((n, 3, 3), np.uint8)
           for s, n in (("train", 12), ("val", 4), ("test", 6))}),
    npz("empty split", "test_images is empty", test_images=np.zeros((0, 28, 28), np.uint8),
        test_labels=np.zeros(0, int)),
    npz("one image, no val", "1 images cannot be shared out", val_images=None, val_labels=None,
        train_images=np.zeros((1, 28, 28), np.uint8), train_labels=np.zeros(1, int),
        ),
    npz("unlabelled with labels", "has unlabelled_labels", unlabelled_labels=np.zeros(3, int),
        unlabelled_images=np.zeros((3, 28, 28), np.uint8)),
    npz("unlabelled of another size", "differ", unlabelled_images=np.zeros((3, 30, 30), np.uint8)),
    npz("unlabelled and empty", "unlabelled_images is empty",
        unlabelled_images=np.zeros((0, 28, 28), np.uint8)),
    npz("task that is none", "task is 'guess'", task="guess"),
    npz("groups too few", "train_groups is 3", train_groups=np.array(["a", "b", "c"])),
    npz("groups of train and test only", "has train_groups but no val_groups",
        train_groups=NOTES[0], test_groups=NOTES[2]),
    npz("a patient in two splits", "p1", "train and val", train_groups=NOTES[0],
        val_groups=NOTES[1], test_groups=NOTES[2]),
]  # fmt: skip

MEDMNIST = [
    Case("MedMNIST: wrong MD5", wrong_md5, ["one.dataset: ", "breastmnist.npz", "MD5"]),
    Case("MedMNIST: truncated", truncated_medmnist, ["one.dataset: ", "breastmnist.npz"]),
    Case("MedMNIST: root is a file", data_root_is_a_file, ["one.data_root: ", "root.txt"]),
    dataset("unknown name", lambda desk: "bloodmist", "did you mean bloodmnist"),
    dataset("a 3D set", lambda desk: "organmnist3d", "3D set"),
    dataset("unknown kind", lambda desk: "zip:cells.zip", "unknown"),
    dataset("no name", lambda desk: "", "empty"),
    Case("a good set, then a bad one", good_set_then_bad_set, ["one.dataset: ", "no.jpg"]),
]

CSV = [
    dataset("csv: missing", lambda desk: f"csv:{desk.folder / 'no.csv'}", "no.csv: no such file"),
    raw_table("empty", b"", "labels.csv: holds no rows"),
    raw_table("only a heading", b"image,label\n", "labels.csv: holds no rows"),
    raw_table("not UTF-8", "image,label\nä.png,a\n".encode("latin-1"), "UTF-8"),
    raw_table("a null byte", b"image,label\na\0.png,a\nb.png,b\n", "labels.csv"),
    table("no column image", PLAIN, "picture,label", "no column image"),
    table("label and level", [[*r, "1"] for r in PLAIN], "image,label,level", "label and a column"),
    table("a column twice", [[*r, "1"] for r in PLAIN], "image,label,label", "more than once"),
    table("a field too many", [*PLAIN, ["x.png", "a", "b"]], "image,label", "line 22 has 3 fields"),
    table("missing files", MISSING, "image,label", "20 of 20 images are not there", "gone0.jpg"),
    table("too many missing", [*PLAIN, *MISSING[:5]], "image,label", "5 of 25", "gone0.jpg"),
    table("a row twice", [*PLAIN, PLAIN[3]], "image,label", "im3.png is listed more than once"),
    table("a row twice, spelt otherwise", [*PLAIN, ["./im3.png", "b"]], "image,label",
          "im3.png is listed more than once (lines 5, 22)"),
    table("no label in a row of test", [*PLAIN_TRAIN, ["x.png", "", "test"]],
          "image,label,split", "column label is empty"),
    table("unlabelled with a label", [*PLAIN_TRAIN, ["x.png", "a", "unlabelled"]],
          "image,label,split", "line 22 has the label a and the split unlabelled"),
    table("unlabelled with labels", [*[[f"{r[0]}", "a|b", "train"] for r in PLAIN],
          ["x.png", "a", "unlabeled"]], "image,label,split", "line 22 has the label a"),
    table("one class beside unlabelled", [["im0.png", "a"], ["im1.png", ""], ["im2.png", "a"]],
          "image,label", "only one class (a)"),
    table("no group in a row", [[*r, ""] for r in PLAIN], "image,label,group", "column group"),
    table("unknown split", [[*r, "dev"] for r in PLAIN], "image,label,split", "holds 'dev'"),
    table("no test split", [[*r, "train"] for r in PLAIN], "image,label,split", "test empty"),
    table("a patient in two splits", TORN, "image,label,group,split", "p5", "line 12", "line 13"),
    table("one class", [[f"im{i}.png", "a"] for i in range(9)], "image,label", "only one class"),
    table("one image", [["im0.png"]], "image", "1 images cannot be shared out"),
    table("two groups", [[*r, "pq"[i // 10]] for i, r in enumerate(PLAIN)], "image,label,group",
          "2 groups cannot be shared out"),
    table("no labels to probe", [r[:1] for r in PLAIN], "image", "no labels", notebook="02_probe"),
    table("no labels for SupCon", [r[:1] for r in PLAIN], "image", "no labels", method="supcon"),
    table("no labels to cap", [r[:1] for r in PLAIN], "image", "no labels", cap_per_class=5),
    dataset("csv: zero bytes", lambda d: pictures(d, b"", b"", good=20), "bad0.png", "empty"),
    dataset("csv: no images", lambda d: pictures(d, b"text", b"text"), "bad0.png", "not an image"),
    dataset("csv: a PNG of 50,000 × 50,000",
            lambda d: pictures(d, *[png_header(50_000, 50_000)] * 2, good=20),
            "bad0.png", "50,000 × 50,000"),
    dataset("csv: a 16-bit PNG of 30,000 × 30,000",
            lambda d: pictures(d, *[png_header(30_000, 30_000, 16, 2)] * 2),
            "bad0.png", "30,000 × 30,000"),
    dataset("csv: a 16-bit TIFF of 30,000 × 30,000",
            lambda d: pictures(d, *[tiff_header(30_000, 30_000)] * 2),
            "bad0.png", "30,000 × 30,000"),
    dataset("csv: files of 2 GB", two_gigabytes, "big0.png", "2.0 GiB"),
]  # fmt: skip

FOLDER = [
    dataset("folder: missing", lambda desk: f"folder:{desk.folder / 'no'}", "no: no such folder"),
    dataset("folder: a file", lambda d: f"folder:{d.write('f.txt', 'x')}", "no such folder"),
    dataset("folder: a link in circles", link_in_circles, "x: no such folder"),
    folder("empty", lambda desk: None, "no images in it"),
    folder("no images", lambda desk: desk.write("own/a/notes.txt", "x"), "no images in it"),
    folder("one class", lambda desk: desk.folders(a=5), "only one class (a)"),
    folder("a link to the folder itself", link_to_itself, "b", "link"),
    folder("a name without encoding", name_without_encoding, "not UTF-8"),
    folder("no sub-folders to probe", lambda d: [d.image(f"own/{i}.png", i) for i in range(6)],
           "no labels", notebook="02_probe"),
    folder("one class beside unlabelled", lambda desk: desk.folders(a=5, unlabelled=5),
           "only one class (a)"),
    folder("unlabelled images to test", lambda desk: [
        desk.image(f"own/{part}/{i}.png", i)
        for part in ("train/a", "train/b", "test/a", "test/b", "test/unlabelled") for i in range(3)
    ], "test/unlabelled: images without a label can only be trained on"),
    folder("zero bytes", lambda desk: [desk.write(f"own/{c}/0.png", b"") for c in "ab"], "empty"),
]  # fmt: skip

ONE_EACH = {f"{s}_groups": np.array([s] * n) for s, n in (("train", 12), ("val", 4), ("test", 6))}
FOLDS = [
    folds("three patients", patients, "labels.csv has 3"),
    folds("three patients in halves", patients, "need 4 groups", "has 3", folds=2),
    folds("of a split given, the test patients put away", patients_apart,
          "has 4 in train and val", folds_of="trainval"),
    folds("patients who share a file", linked_patients, "copies of one file", "has 4"),
    folds("copies of one file", copies, "copies of one file", "has 3"),
    folds("an npz of three groups", lambda d: d.npz(**ONE_EACH), "cells.npz has 3"),
]  # fmt: skip

CASES = [*NPZ, *MEDMNIST, *CSV, *FOLDER, *FOLDS]
