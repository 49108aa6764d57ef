"""folder: and csv: data sets, from good ones to hopeless ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lib.data.decoded
from lib.data import (
    DataError,
    DataSet,
    check_dataset,
    choose_fold,
    describe_dataset,
    load_dataset,
)

Rows = list[list[str]]


def picture(seed: int, grey: bool = False) -> Image.Image:
    shape = (32, 32) if grey else (32, 32, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def make_csv(folder: Path, rows: Rows, header: str = "image,label", draw: bool = True) -> str:
    folder.mkdir(exist_ok=True)
    for i, row in enumerate(rows):
        if draw:
            name = row[0] if Path(row[0]).suffix else f"{row[0]}.jpeg"
            (folder / name).parent.mkdir(exist_ok=True)
            picture(i).save(folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return f"csv:{folder / 'labels.csv'}"


def load(name: str, **options: Any) -> DataSet:
    return load_dataset(name, 32, progress=False, **options)


def plain_rows(n: int = 60) -> Rows:
    return [[f"im{i}.png", "ab"[i % 2]] for i in range(n)]


def image_of(data: DataSet, name: str) -> np.ndarray:
    for part in data.splits.values():
        if name in part.ids:
            return part.images[part.ids.tolist().index(name)]
    raise KeyError(name)


def test_csv_images_keep_their_pixels_labels_and_names(tmp_path: Path) -> None:
    data = load(make_csv(tmp_path / "d", plain_rows()))
    assert (data.task, data.classes, data.channels) == ("binary", ("a", "b"), 3)
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [42, 6, 12]
    names = [i for part in data.splits.values() for i in part.ids]
    assert sorted(names) == sorted(f"im{i}.png" for i in range(60))
    for part in data.splits.values():
        assert part.y is not None
        for name, label, image in zip(part.ids, part.y, part.images, strict=True):
            number = int(name[2:-4])
            assert label == number % 2
            assert np.array_equal(image, np.asarray(picture(number)))
    assert any("70/10/20" in note for note in data.notes)


def test_the_plan_sees_what_is_loaded(tmp_path: Path) -> None:
    name = make_csv(tmp_path / "d", plain_rows())
    info, data = describe_dataset(name, 32), load(name)
    assert info.fingerprint == data.fingerprint
    assert dict(info.counts) == {s: len(p) for s, p in data.splits.items()}
    assert (info.task, info.classes) == (data.task, data.classes)
    marks = {
        describe_dataset(name, 32, split_seed=1).fingerprint,
        describe_dataset(name, 33).fingerprint,
        data.fingerprint,
    }
    assert len(marks) == 3


def test_groups_are_never_torn(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", "ab"[i % 2], f"p{i // 4}"] for i in range(80)]
    data = load(make_csv(tmp_path / "d", rows, "image,label,group"))
    groups = [set(part.groups.tolist()) for part in data.splits.values()]  # type: ignore[union-attr]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 20


@pytest.mark.parametrize("grouped", [False, True])
def test_copies_of_a_file_stay_together(tmp_path: Path, grouped: bool) -> None:
    rows = [[*row, *([f"g{i}"] if grouped else [])] for i, row in enumerate(plain_rows(40))]
    name = make_csv(tmp_path / "d", rows, "image,label,group" if grouped else "image,label")
    for i in range(0, 40, 4):
        picture(1000 + i).save(tmp_path / "d" / f"im{i}.png")
        picture(1000 + i).save(tmp_path / "d" / f"im{i + 2}.png")
    for seed in range(3):
        data = load(name, split_seed=seed)
        where = {i: s for s, part in data.splits.items() for i in part.ids}
        assert all(where[f"im{i}.png"] == where[f"im{i + 2}.png"] for i in range(0, 40, 4))
    assert any("10 images are byte-for-byte" in note for note in data.notes)


def shared_pictures(data: DataSet) -> int:
    """How many pictures are in two splits or more."""
    parts = [{image.tobytes() for image in part.images} for part in data.splits.values()]
    return sum(map(len, parts)) - len(set().union(*parts))


def check_folds(data: DataSet) -> None:
    """No fold of 5 tears a picture apart, each image is tested once, and the note says it."""
    tested: list[str] = []
    for k in range(5):
        fold = choose_fold(data, 5, k, 0)
        assert shared_pictures(fold) == 0
        assert all(len(part) for part in fold.splits.values())
        assert "copies of a file kept together" in fold.notes[-1]
        tested += fold.splits["test"].ids.tolist()
    assert sorted(tested) == sorted(i for part in data.splits.values() for i in part.ids)


def test_folds_keep_copies_of_a_file_together(tmp_path: Path) -> None:
    for i in range(60):
        label = "ab"[i // 2 % 2]
        (tmp_path / "f" / label).mkdir(parents=True, exist_ok=True)
        picture(i // 2).save(tmp_path / "f" / label / f"{i}.png")
    data = load(f"folder:{tmp_path / 'f'}")
    assert shared_pictures(data) == 0
    check_folds(data)
    assert any("stratified, copies of a file kept together" in note for note in data.notes)


def test_folds_keep_groups_together_that_hold_copies_of_a_file(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", "ab"[i // 2 % 2], f"p{i // 2}"] for i in range(80)]
    name = make_csv(tmp_path / "d", rows, "image,label,group")
    for i in range(0, 20, 4):  # a picture of a patient is one of the next patient too
        picture(1000 + i).save(tmp_path / "d" / f"im{i}.png")
        picture(1000 + i).save(tmp_path / "d" / f"im{i + 2}.png")
    data = load(name)
    check_folds(data)
    for k in range(5):
        fold = choose_fold(data, 5, k, 0)
        where = {g: s for s, part in fold.splits.items() for g in part.groups}  # type: ignore[union-attr]
        assert sum(len(set(part.groups)) for part in fold.splits.values()) == len(where) == 40  # type: ignore[arg-type]
        assert all(where[f"p{i}"] == where[f"p{i + 1}"] for i in range(0, 10, 2))


@pytest.mark.parametrize("form", ["csv", "folder"])
def test_folds_bring_copies_together_that_a_given_split_tears(tmp_path: Path, form: str) -> None:
    def split(i: int) -> str:
        return "train" if i < 40 else "val" if i < 50 else "test"

    rows = [[f"{split(i)}/{'ab'[i % 2]}/{i}.png", "ab"[i % 2], split(i)] for i in range(60)]
    for i, (file, *_) in enumerate(rows):  # each picture twice, 20 of 30 in two splits
        (tmp_path / "d" / file).parent.mkdir(parents=True, exist_ok=True)
        picture(i % 30).save(tmp_path / "d" / file)
    name = f"folder:{tmp_path / 'd'}"
    if form == "csv":
        name = make_csv(tmp_path / "d", rows, "image,label,split", draw=False)
    data = load(name)
    assert shared_pictures(data) == 20
    check_folds(data)
    assert any("tears apart 20 copied images: its test figures" in note for note in data.notes)


def test_without_copies_folds_are_as_before(tmp_path: Path) -> None:
    data = load(make_csv(tmp_path / "d", plain_rows()))
    assert all(part.together is None for part in data.splits.values())
    assert "60 images, stratified, seed 0" in choose_fold(data, 5, 0, 0).notes[-1]


def test_a_given_split_is_kept_and_a_missing_val_carved(tmp_path: Path) -> None:
    rows = [[f"im{i}.png", "ab"[i % 2], f"g{i // 2}", "Train" if i < 64 else "test"] for i in range(80)]  # fmt: skip  # noqa: E501
    data = load(make_csv(tmp_path / "d", rows, "image,label,group,split"))
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 56, "val": 8, "test": 16}
    assert set(data.splits["test"].ids) == {f"im{i}.png" for i in range(64, 80)}
    groups = [set(p.groups.tolist()) for p in data.splits.values()]  # type: ignore[union-attr]
    assert not groups[0] & groups[1]
    assert any("eighth of train" in n for n in data.notes)
    for row in rows[:10]:
        row[3] = "validation"
    data = load(make_csv(tmp_path / "d", rows, "image,label,group,split"))
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 54, "val": 10, "test": 16}
    picture(60).save(tmp_path / "d" / "im70.png")  # an image of train once more, in test
    data = load(f"csv:{tmp_path / 'd' / 'labels.csv'}")
    assert any("tears apart 1 copied images" in n for n in data.notes)
    rows[70][2] = rows[60][2] = "g40"
    with pytest.raises(DataError, match=r"group g40 is in train \(line 62\) and test \(line 72\)"):
        load(make_csv(tmp_path / "d", rows, "image,label,group,split"))


def test_kaggles_retinopathy_layout(tmp_path: Path) -> None:
    rows = [[f"{i}_{eye}", str((i + j) % 5)] for i in range(30) for j, eye in enumerate(("left", "right"))]  # fmt: skip  # noqa: E501
    name = make_csv(tmp_path / "d", rows, "image,level", draw=False)
    (tmp_path / "d" / "train").mkdir()
    for i, (stem, _) in enumerate(rows):
        picture(i).save(tmp_path / "d" / "train" / f"{stem}.{'png' if i % 2 else 'tiff'}")
    data = load(name)
    assert (data.task, data.classes) == ("ordinal", ("0", "1", "2", "3", "4"))
    assert np.array_equal(image_of(data, "7_right"), np.asarray(picture(15)))
    patients = [set(p.groups.tolist()) for p in data.splits.values()]  # type: ignore[union-attr]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 30


def test_labels_of_several_kinds(tmp_path: Path) -> None:
    numbered = [[f"im{i}.png", str((i % 12) * 5 - 5)] for i in range(48)]
    data = load(make_csv(tmp_path / "n", numbered))
    assert data.classes == tuple(str(v) for v in range(-5, 55, 5))  # by value, not by text
    several = [[f"im{i}.png", ["", "x", "y|x", " z "][i % 4]] for i in range(48)]
    data = load(make_csv(tmp_path / "s", several))
    assert (data.task, data.classes) == ("multi-label", ("x", "y", "z"))
    for part in data.splits.values():
        assert part.y is not None
        kinds = [int(i[2:-4]) % 4 for i in part.ids]
        table = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
        assert np.array_equal(part.y, table[kinds])
        assert part.y.dtype == np.uint8


def test_without_labels_it_is_for_pretraining(tmp_path: Path) -> None:
    data = load(make_csv(tmp_path / "d", [[f"im{i}.png"] for i in range(20)], "image"))
    assert (data.splits["train"].y, data.classes) == (None, ())
    assert [len(p) for p in data.splits.values()] == [14, 2, 4]
    assert load(f"folder:{tmp_path / 'd'}").splits["train"].y is None


def test_folders_are_classes(tmp_path: Path) -> None:
    for i in range(40):
        folder = tmp_path / "f" / ("no", "yes")[i % 2] / ("deep" if i % 3 else ".")
        folder.mkdir(parents=True, exist_ok=True)
        picture(i).save(folder / f"{i}.bmp")
    (tmp_path / "f" / "no" / "Thumbs.db").write_bytes(b"?")
    picture(0).save(tmp_path / "f" / "loose.png")
    data = load(f"folder:{tmp_path / 'f'}")
    assert data.classes == ("no", "yes")
    assert sum(len(p) for p in data.splits.values()) == 40
    for part in data.splits.values():
        assert part.y is not None
        assert [int(Path(i).stem) % 2 for i in part.ids] == part.y.tolist()
    assert any("1 files without" in n for n in data.notes)
    assert any("1 images outside" in n for n in data.notes)


def test_folders_may_give_the_split(tmp_path: Path) -> None:
    for split, n in (("train", 20), ("Validation", 6), ("test", 8)):
        for i in range(n):
            folder = tmp_path / "f" / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            picture(i + 100 * n).save(folder / f"{i}.png")
    data = load(f"folder:{tmp_path / 'f'}")
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 20, "val": 6, "test": 8}
    assert data.classes == ("a", "b")


def test_grey_data_has_one_channel_however_it_is_stored(tmp_path: Path) -> None:
    name = make_csv(tmp_path / "d", plain_rows(20))
    for i in range(20):
        picture(i, grey=True).convert("RGB" if i % 2 else "L").save(tmp_path / "d" / f"im{i}.png")
    data = load(name)
    assert data.channels == 1
    assert np.array_equal(image_of(data, "im5.png")[..., 0], np.asarray(picture(5, grey=True)))
    assert any("stored as colour" in n for n in data.notes)
    picture(3).save(tmp_path / "d" / "im3.png")
    coloured = load(name)
    assert coloured.channels == 3
    grey = image_of(coloured, "im4.png")
    assert np.array_equal(grey, np.repeat(np.asarray(picture(4, grey=True))[..., None], 3, 2))


def test_twelve_bits_in_sixteen_are_not_black(tmp_path: Path) -> None:
    name = make_csv(tmp_path / "d", plain_rows(20))
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 3000, (20, 32, 32)).astype(np.uint16)
    deep[7, 0, 0] = 3000
    for i in range(19):
        Image.fromarray(deep[i]).save(tmp_path / "d" / f"im{i}.png")
    picture(19, grey=True).save(tmp_path / "d" / "im19.png")
    data = load(name)
    assert data.channels == 1
    for i in range(19):  # one scale for all: 0–4095 to 0–255
        exact = deep[i] * (255 / 4095)
        assert np.abs(image_of(data, f"im{i}.png")[..., 0] - exact).max() <= 0.5 + 1e-6
    assert np.array_equal(image_of(data, "im19.png")[..., 0], np.asarray(picture(19, grey=True)))
    assert any("19 images have more than 8 bits" in n and "4,095" in n for n in data.notes)


def test_unreadable_images_are_listed_and_counted(tmp_path: Path) -> None:
    rows = [*plain_rows(60), ["gone.png", "a"]]
    name = make_csv(tmp_path / "d", rows)
    (tmp_path / "d" / "gone.png").unlink()
    (tmp_path / "d" / "im7.png").write_bytes(b"no image")
    whole = (tmp_path / "d" / "im9.png").read_bytes()
    (tmp_path / "d" / "im9.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="3 of 61 images unreadable") as error:
        load(name)
    assert "im7.png (not an image" in str(error.value)
    data = load(name, max_unreadable=0.05)
    left = {i for part in data.splits.values() for i in part.ids}
    assert left == {r[0] for r in rows} - {"gone.png", "im7.png", "im9.png"}
    [note] = [n for n in data.notes if "unreadable" in n]
    assert "3 of 61" in note
    listing = Path(note.split("listed in ")[1].rstrip("."))
    with listing.open() as file:
        listed = list(csv.DictReader(file))
    assert [r["image"] for r in listed] == ["im7.png", "im9.png", "gone.png"]
    assert "truncated" in listed[1]["reason"]
    assert listed[2]["reason"] == "file not found"
    for i in range(60):  # whatever is allowed, nothing at all is not a data set
        (tmp_path / "d" / f"im{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match="61 of 61"):
        load(name, max_unreadable=1.0)


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = plain_rows(20)
    name = make_csv(tmp_path / "d", rows)
    decoded: list[int] = []
    original = lib.data.decoded.decode_image

    def counted(data: bytes, size: int, preprocess: str) -> Any:
        decoded.append(size)
        return original(data, size, preprocess)

    monkeypatch.setattr(lib.data.decoded, "decode_image", counted)
    first, again = load(name), load(name)
    assert len(decoded) == 20
    assert first.fingerprint == again.fingerprint
    rows[0][1] = "b"  # another label: the images are the same
    with (tmp_path / "d" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *rows])
    relabelled = load(name)
    assert len(decoded) == 20
    assert relabelled.fingerprint != first.fingerprint
    picture(999).save(tmp_path / "d" / "im5.png")  # another image: a new cache
    changed = load(name)
    assert len(decoded) == 40
    assert changed.fingerprint != relabelled.fingerprint
    assert np.array_equal(image_of(changed, "im5.png"), np.asarray(picture(999)))
    load_dataset(name, 16, progress=False)
    assert len(decoded) == 60
    cache = tmp_path / "cache" / "images"
    assert len(list(cache.glob("*.npy"))) == 3
    assert not [p for p in cache.iterdir() if p.name.startswith(".") and p.suffix != ".lock"]


def test_large_data_stay_on_disk(tmp_path: Path) -> None:
    name = make_csv(tmp_path / "d", plain_rows(40))
    whole, mapped = load(name), load(name, in_memory_limit=10_000)
    for split in whole.splits:
        a, b = whole.splits[split], mapped.splits[split]
        assert not isinstance(a.images, np.memmap)
        assert isinstance(b.images, np.memmap) == (b.images.nbytes > 10_000)
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.ids, b.ids)


def test_a_failed_decoding_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make_csv(tmp_path / "d", plain_rows(20))

    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(lib.data.decoded, "decode_image", fail)
    with pytest.raises(MemoryError):
        load(name)
    assert not list((tmp_path / "cache" / "images").glob("*.npy"))
    assert not list((tmp_path / "cache" / "images").glob(".*.npy"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["holds no rows"]),
        ("image,label\n", ["holds no rows"]),
        ("picture,label\na.png,x\n", ["no column image", "picture, label"]),
        ("image,label\na.png,x\nb.png\n", ["line 3", "1 fields"]),
        (
            "image,label,split\na.png,x,train\nb.png,,test\nc.png,y,test\n",
            ["label is empty in 1 rows", "lines 3"],
        ),
        (
            "image,label,split\na.png,x,train\nb.png,y,Unlabeled\nc.png,y,test\n",
            ["line 3 has the label y and the split unlabelled"],
        ),
        ("image,label,split\na.png,x,train\nb.png,,\nc.png,y,\n", ["split holds ''", "line 4"]),
        ("image,label,group\na.png,x,\nb.png,y,g\n", ["group is empty"]),
        ("image,label\n,x\nb.png,y\n", ["image is empty"]),
        ("image,label,split\na.png,x,train\nb.png,y,dev\n", ["split", "'dev'", "line 3"]),
        ("image,label\na.png,x\na.png,y\n", ["more than once", "lines 2, 3"]),
        ("image,label\na.png,x\nb.png,x\n", ["only one class"]),
        ("image,label,level\na.png,x,1\n", ["label and a column level"]),
        ("image,label,label\na.png,x,1\n", ["occurs more than once"]),
        ("image,label\nq.png,x\nr.png,y\n", ["2 of 2 images are not there", "q.png"]),
        ("image,label\ntwin,x\nb.png,y\n", ["twin could be"]),
    ],
)
def test_csv_mistakes_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    for i, name in enumerate(("a.png", "b.png", "c.png", "twin.png", "twin.jpg")):
        picture(i).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text(text)
    name = f"csv:{tmp_path / 'labels.csv'}"
    mistakes = check_dataset(name, 32)
    assert len(mistakes) == 1
    for word in words:
        assert word in mistakes[0]
    assert "\n" not in mistakes[0]
    with pytest.raises(DataError):
        load(name)
    assert not (tmp_path / "cache").exists()  # nothing was written for a plan that is refused


def test_semicolons_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    rows = plain_rows(20)
    name = make_csv(tmp_path / "d", rows)
    text = "\ufeffImage;Label\r\n" + "\r\n".join(";".join(row) for row in rows)
    (tmp_path / "d" / "labels.csv").write_text(text, encoding="utf-8")
    assert load(name).classes == ("a", "b")


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    assert "no such file" in check_dataset(f"csv:{tmp_path}/none.csv", 28)[0]
    assert "no such folder" in check_dataset(f"folder:{tmp_path}/none", 28)[0]
    (tmp_path / "empty").mkdir()
    assert "no images" in check_dataset(f"folder:{tmp_path}/empty", 28)[0]
    name = make_csv(tmp_path / "d", [[*row, "train"] for row in plain_rows(6)], "image,label,split")
    with pytest.raises(DataError, match="leaves test empty"):
        load(name)


def test_the_photographs_are_read_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    eyes = f"csv:{shared_data / 'retinopathy' / 'trainLabels.csv'}"
    skin = f"csv:{shared_data / 'dermatoscopy' / 'labels.csv'}"
    assert check_dataset(eyes, 28) == check_dataset(skin, 28) == []
    source = shared_data / "dermatoscopy" / "labels.csv"
    with source.open() as file:
        rows = list(csv.reader(file))
    some = [[str(source.parent / r[0]), *r[1:]] for r in rows[1:401]]
    data = load(make_csv(tmp_path / "d", some, ",".join(rows[0]), draw=False))
    assert sum(len(p) for p in data.splits.values()) == 400
    assert data.channels == 3
    groups = [set(p.groups.tolist()) for p in data.splits.values()]  # type: ignore[union-attr]
    assert sum(map(len, groups)) == len({r[2] for r in some})
    assert all(p.images.std() > 10 for p in data.splits.values())
