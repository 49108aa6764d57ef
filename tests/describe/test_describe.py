"""python -m lib.describe on folders with everything wrong that can be."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.batch.plan import PlannedRun, plan_study
from lib.batch.study import read_study
from lib.data import choose_fold, load_dataset
from lib.data.base import DataError
from lib.data.phantom import draw_cells
from lib.describe.__main__ import main
from lib.describe.alike import find_alike
from lib.describe.facts import Facts, gather
from lib.describe.look import Look, look_at
from lib.describe.pictures import picture_from_file
from lib.describe.recognise import recognise
from lib.describe.sheet import choose_pairs
from lib.describe.suggest import COLOURED, choose_epochs, suggest
from lib.describe.text import WIDTH
from lib.params import notebook_defaults
from tests.photographs import write_photographs
from tests.tiny import write_npz


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))


def write_folder(folder: Path, n: int = 40, split: bool = False) -> Path:
    """n cells of two kinds, as PNG; with a split three quarters are train."""
    images = draw_cells(np.arange(n) % 2 * 3, 48, seed=9, stream=1)
    for i, image in enumerate(images):
        part = Path(("train", "test")[i % 8 in (3, 6)] if split else ".")
        file = folder / part / ("round", "lobed")[i % 2] / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def spoil(folder: Path) -> None:
    """Everything at once: see the assertions of the test below."""
    train, test = folder / "train", folder / "test"
    (test / "lobed" / "copy.png").write_bytes((train / "lobed" / "01.png").read_bytes())
    (test / "round" / "liar.png").write_bytes((train / "lobed" / "05.png").read_bytes())
    again = np.asarray(Image.open(train / "round" / "02.png"))
    Image.fromarray(again).save(test / "round" / "again.jpg", quality=70)
    (train / "round" / "cut.png").write_bytes((train / "round" / "00.png").read_bytes()[:300])
    (train / "round" / "text.jpg").write_text("no image")
    Image.new("RGB", (30, 20)).save(train / "lobed" / "black.png")
    Image.new("L", (30, 20), 77).save(train / "lobed" / "flat.png")
    deep = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48)
    cv2.imwrite(str(train / "lobed" / "deep.png"), deep)


def test_everything_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(write_folder(tmp_path / "mine", split=True))
    files = ["--html", "a.html", "--contact-sheet", "a.png", "--write-params", "a.yaml"]
    assert main(["mine", *files]) == 0
    text = capsys.readouterr().out
    flat = " ".join(text.replace("!", " ").split())
    assert "46: 33 train, 13 test" in flat
    assert "2 of 48 images cannot be read: train/round/cut.png (" in flat
    assert "text.jpg: not an image, or of an unknown format" in flat
    assert "Leak: 3 of 13 test images have a copy or near-duplicate in train" in flat
    assert "Different labels in 1 set of identical images: test/round/liar.png (round)" in flat
    assert "One value throughout in 2 images, 1 of them black: train/lobed/black.png" in flat
    assert "45 8 bit, 1 12 bit" in flat
    assert "43 colour, 2 grey, 1 grey, stored as colour" in flat
    assert "most often 48 × 48 (96%)" in flat
    assert re.search(r"round\s+15\s+7\s+47\.8%", text), text
    assert max(map(len, text.splitlines())) <= WIDTH
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 16
    assert "test/round/liar.png (round, test) · train/lobed/05.png (lobed, train)" in page or (
        "train/lobed/05.png (lobed, train) · test/round/liar.png (round, test)" in page
    )
    assert not re.search(r"(src|href)='(?!data:)", page)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (4 + 2 * (16 + 96 + 4), 4 + 8 * 100, 3)
    study = read_study(tmp_path / "a.yaml")  # refuses what would not run
    assert [e.notebook[:2] for e in study.experiments] == ["00", "01", "02", "03", "09"]
    assert len((tmp_path / "a.yaml").read_text().splitlines()) <= 10
    assert study.experiments[0].settings[0].values["max_unreadable"] == pytest.approx(0.05)


def test_a_good_folder_has_nothing_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write_folder(tmp_path / "mine"))]) == 0
    text = capsys.readouterr().out
    assert "Nothing to mend was found." in text
    assert "folds: 5" in text
    assert "matrix: {fold: [0, 1, 2, 3, 4]}" in text


def test_counts_are_those_that_a_study_loads(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "tiny.npz", "multi-label")
    look = look_at(f"npz:{path}", progress=False)
    counts = gather(look, find_alike(look.pictures)).counts
    data = load_dataset(f"npz:{path}", 28)
    for split, part in data.splits.items():
        assert part.y is not None
        assert counts.loc[list(data.classes), split].tolist() == part.y.sum(axis=0).tolist()
        assert look.splits.count(split) == len(part)


def test_groups_that_a_split_tears_apart(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    rows = [["image", "label", "group", "split"]]
    for file in sorted(tmp_path.glob("images/*/*.png")):
        i = int(file.stem)
        group = f"p{min(i // 2, 15)}"  # p15 is everyone from 30 on
        rows.append(
            [
                str(file.relative_to(tmp_path)),
                file.parent.name,
                group,
                "train" if i < 34 else "test",
            ]
        )
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    name = recognise(str(tmp_path))
    assert name == f"csv:{tmp_path / 'labels.csv'}"
    with pytest.raises(DataError, match=r"group p15 is in train \(line \d+\) and test"):
        look_at(name, progress=False)


def test_groups_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    files = sorted(tmp_path.glob("images/*/*.png"))
    rows = [[str(f.relative_to(tmp_path)), f.parent.name, f"p{int(f.stem) // 2}"] for f in files]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", "group"], *rows])
    look = look_at(recognise(str(tmp_path)), progress=False)
    facts = gather(look, find_alike(look.pictures))
    assert facts.about["groups"] == f"{len(files) // 2}, images in each: 2"
    assert facts.leaks == {}


def test_fundus_photographs_are_recognised(tmp_path: Path) -> None:
    look = look_at(write_photographs(tmp_path / "eyes", 10), progress=False)
    facts = gather(look, find_alike(look.pictures))
    suggestion = suggest(look)
    assert look.task == "ordinal"
    assert "preprocess: fundus" in suggestion.text
    assert "augment: fundus" in suggestion.text
    assert any("One value throughout in 1 image, 1 of them black" in w for w in facts.warnings)
    drawn = suggest(look_at("phantom", 16, progress=False)).text
    assert "preprocess" not in drawn and "augment: microscopy" in drawn


def unlabelled(tmp_path: Path) -> Look:
    folder = write_folder(tmp_path / "mine")
    for file in folder.rglob("*.png"):
        file.rename(folder / file.name)
    for sub in ("round", "lobed"):
        (folder / sub).rmdir()
    return look_at(f"folder:{folder}", progress=False)


def test_without_labels_the_study_only_pretrains(tmp_path: Path) -> None:
    look = unlabelled(tmp_path)
    text = suggest(look).text
    assert "01_pretrain" in text and "02_probe" not in text and "folds" not in text
    assert gather(look, find_alike(look.pictures)).counts.loc["without labels", "all"] == 40


def test_sides_are_as_shown_and_deep_colour_is_counted(tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20), (200, 30, 30))
    exif = turned.getexif()
    exif[274] = 6  # the camera was held upright
    turned.save(tmp_path / "turned.jpg", exif=exif)
    picture = picture_from_file((tmp_path / "turned.jpg").read_bytes())
    assert (picture.width, picture.height, picture.channels) == (20, 40, 3)
    deep = np.zeros((12, 10, 3), np.uint16)
    deep[2:5, 2:5, 0] = 40_000
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    picture = picture_from_file((tmp_path / "deep.tif").read_bytes())
    assert (picture.width, picture.height, picture.channels, picture.bits) == (10, 12, 3, 16)
    assert picture.coloured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all"], "no such folder or file"),
        (["bloodmnst"], "did you mean bloodmnist"),
        (["notes.txt"], "neither a folder nor a .csv or .npz file"),
        (["empty"], "no images in it"),
        (["csv:notes.txt"], "holds no rows"),
        (["one"], "only one class (a)"),
        (["bad"], "no image can be read"),
        (["two"], "several tables of images (a.csv, b.csv)"),
        (["folder:mine", "--html", "mine/round/00.png/a.html"], "00.png"),
    ],
)
def test_nonsense_is_refused_with_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "empty").mkdir()
    for name in ("bad/a/1.png", "bad/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("no image")
    write_folder(tmp_path / "mine", 4)
    write_folder(tmp_path / "one", 2)
    (tmp_path / "one" / "round").rename(tmp_path / "one" / "a")
    (tmp_path / "one" / "lobed" / "01.png").unlink()
    (tmp_path / "one" / "lobed").rmdir()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / "two" / f"{name}.csv").write_text("image,label\nx,y\n")
    assert main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lib.describe: ")
    assert message in line


def test_a_size_out_of_range_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["phantom", "--size", "3"])


# What is suggested can be done


def write_table(folder: Path, labels: str, groups: list[int] | None = None) -> str:
    """`csv:PATH` of an image for each letter of labels, its class, and the group it belongs to."""
    images = draw_cells(np.arange(len(labels)) % 2 * 3, 28, seed=9, stream=1)
    rows = [["image", "label", *(["group"] if groups else [])]]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append([f"{i}.png", label, *([f"p{groups[i]}"] if groups else [])])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"csv:{folder / 'labels.csv'}"


def suggested(name: str, folder: Path) -> tuple[list[PlannedRun], str]:
    """The runs of the suggested params file, and the reasons for it."""
    suggestion, params = suggest(look_at(name, progress=False)), folder / "mine.yaml"
    params.write_text(suggestion.text, encoding="utf-8")
    return plan_study(read_study(params), params, folder / "none"), "\n".join(suggestion.reasons)


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "reason"),
    [
        ("ab" * 15, None, 5, "in 5 folds\n"),
        ("ab" * 15, [i // 2 % 3 for i in range(30)], 3, "no more since there are only 3 groups"),
        ("a" * 27 + "b" * 3, None, 3, "in 3 folds, no more since b is in only 3 images"),
        ("ab" * 10 + "a" * 6 + "cccc", [*range(26), 30, 30, 31, 31], 2, "c is in only 2 groups"),
        ("a" * 29 + "b", None, 0, "folds: none, though there are fewer than 1,000 images: b is in"),
        ("aaab" * 5, [0, 1, 2, 1] * 5, 0, "b is in only 1 group; a class cannot be trained on and"),
        ("aabb" * 5, [0, 1, 2, 1] * 5, 0, "1,000 images: there are only 3 groups"),
    ],
)  # fmt: skip
def test_every_suggested_fold_tests_every_class(
    tmp_path: Path, labels: str, groups: list[int] | None, folds: int, reason: str
) -> None:
    name = write_table(tmp_path, labels, groups)
    runs, reasons = suggested(name, tmp_path)
    assert reason in reasons
    found = [run.params["fold"] for run in runs if run.notebook == "01_pretrain"]
    assert found == (list(range(folds)) if folds else [0, 0, 0])
    data = load_dataset(name, 28, progress=False)
    for fold in range(folds):
        part = choose_fold(data, folds, fold, 0).splits
        assert part["test"].y is not None and part["train"].y is not None
        assert set(part["test"].y.tolist()) == set(range(len(data.classes)))
        assert set(part["train"].y.tolist()) == set(range(len(data.classes)))


def test_copies_of_a_file_count_once_for_the_folds(tmp_path: Path) -> None:
    name = write_table(tmp_path, "a" * 20 + "b" * 6)
    for i in range(23, 26):
        (tmp_path / f"{i}.png").write_bytes((tmp_path / "22.png").read_bytes())
    runs, reasons = suggested(name, tmp_path)
    assert "b is in only 3 images" in reasons
    assert {run.params.get("folds") for run in runs if run.notebook == "01_pretrain"} == {3}


@pytest.mark.parametrize(
    ("images", "settings", "reason"),
    [
        (21, "epochs: 100", "epochs: 2,100 image passes over 21 training images, 100 epochs being "
         "the most suggested"),
        (2000, "epochs: 25", "epochs: 50,000 image passes over 2,000 training images"),
        (5000, "epochs: 10, warmup_epochs: 1.0", "50,000 image passes over 5,000 training images; "
         "a tenth of them to warm up"),
        (50_000, "epochs: 2, warmup_epochs: 0.2", "epochs: 100,000 image passes over 50,000 "
         "training images, 2 epochs being the fewest suggested; a tenth"),
    ],
)  # fmt: skip
def test_epochs_are_counted_and_leave_room_after_the_warm_up(
    images: int, settings: str, reason: str
) -> None:
    found, why = choose_epochs(images, 0)
    assert found == settings and reason in why
    [epochs, *warmup] = [float(part.partition(": ")[2]) for part in found.split(", ")]
    default = notebook_defaults("01_pretrain")["warmup_epochs"]
    assert (warmup or [default])[0] == pytest.approx(min(default, epochs / 10))


def test_a_suggested_warm_up_is_planned(tmp_path: Path) -> None:
    folder = write_unlabelled(write_folder(tmp_path / "mine"), 3000)
    runs, _ = suggested(f"folder:{folder}", tmp_path)
    [params, *_] = [run.params for run in runs if run.notebook == "01_pretrain"]
    assert (params["epochs"], params["warmup_epochs"]) == (17, 1.7)


def test_a_stray_coloured_image_does_not_choose_the_augmentation(tmp_path: Path) -> None:
    name = write_table(tmp_path, "ab" * 20)
    for i in range(40):
        Image.open(tmp_path / f"{i}.png").convert("L").save(tmp_path / f"{i}.png")
    augment = "augment: greyscale, since no image is coloured"
    assert augment in suggest(look_at(name, progress=False)).reasons
    tinted = Image.open(tmp_path / "0.png").convert("RGB")
    tinted.putpixel((14, 14), (250, 240, 200))
    tinted.save(tmp_path / "0.png")
    found = suggest(look_at(name, progress=False))
    assert "augment: greyscale, since only 1 of 40 images is coloured" in found.reasons
    assert "augment: greyscale" in found.text and "novel" not in found.text
    for i in range(1, round(40 * COLOURED)):
        (tmp_path / f"{i}.png").write_bytes((tmp_path / "0.png").read_bytes())
    assert "augment: novel" in suggest(look_at(name, progress=False)).text


def test_a_few_fundus_photographs_among_grey_images_are_no_fundus_set(tmp_path: Path) -> None:
    name = write_table(tmp_path, "ab" * 20)
    write_photographs(tmp_path / "eyes", 4)
    for i in range(40):
        Image.open(tmp_path / f"{i}.png").convert("L").save(tmp_path / f"{i}.png")
    for i, file in enumerate(sorted((tmp_path / "eyes").glob("[01]_*.jpeg"))[:3]):
        Image.open(file).save(tmp_path / f"{i}.png")
    assert "preprocess" not in suggest(look_at(name, progress=False)).text


def test_unequal_classes_are_named_by_those_with_images(tmp_path: Path) -> None:
    name = write_table(tmp_path, "a" * 22 + "bb" + "c")
    (tmp_path / "24.png").write_text("no image")
    _, facts = facts_of(name)
    said = " ".join(facts.warnings)
    assert "Unequal classes: a has 11 times the images of b. Read balanced accuracy; 04" in said


def test_imbalance_is_not_advised_where_images_have_several_labels(tmp_path: Path) -> None:
    name = write_table(tmp_path, "a" * 24 + "b")
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("24.png,b", "24.png,a|b"))
    _, facts = facts_of(name)
    said = " ".join(facts.warnings)
    assert "Unequal classes: a has 25 times the images of b. Read balanced accuracy." in said
    assert "04_imbalance" not in said


# Images without a label beside labelled ones


def write_unlabelled(folder: Path, n: int = 60, start: int = 0) -> Path:
    """n cells that are none of those of `write_folder`, without a label."""
    images = draw_cells(np.arange(n) % 2 * 3, 48, seed=10, stream=2)
    for i, image in enumerate(images):
        file = folder / "unlabelled" / f"{start + i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def facts_of(name: str) -> tuple[Look, Facts]:
    look = look_at(name, progress=False)
    return look, gather(look, find_alike(look.pictures))


@pytest.mark.parametrize("split", [False, True])
def test_unlabelled_images_are_counted_apart(tmp_path: Path, split: bool) -> None:
    folder = write_unlabelled(write_folder(tmp_path / "mine", split=split))
    look, facts = facts_of(f"folder:{folder}")
    assert look.classes == ("lobed", "round") and len(look.unlabelled) == 60
    assert facts.counts.loc["without labels"].sum() == 60
    assert facts.counts.drop(index="without labels").to_numpy().sum() == 40
    if split:
        assert facts.counts.loc["without labels", "train"] == 60
        assert facts.about["images"] == "100: 30 train, 10 test"
    else:
        assert facts.about["images"] == "100, not split yet"
    assert facts.about["labels"] == "binary, 2 classes"
    assert facts.about["without labels"] == "60, for pretraining alone"
    said = " ".join(facts.warnings)
    assert "Nothing is known about whether images without a label show patients of the test" in said
    assert "Unequal classes" not in said and "Different labels" not in said


def test_budgets_and_folds_go_by_labelled_images_and_epochs_by_all(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    plain = suggest(look_at(f"folder:{folder}", progress=False))
    write_unlabelled(folder, 1000)
    found = suggest(look_at(f"folder:{folder}", progress=False))
    assert "folds: 5" in found.text and "seed: [0, 1, 2]" not in found.text
    budgets = [re.findall(r"labels: \[.*?\]", s.text) for s in (plain, found)]
    assert budgets[0] == budgets[1] and budgets[0]
    assert "epochs: 100}" in plain.text and "epochs: 49}" in found.text
    assert any(
        "over 28 training images and 1,000 without labels" in reason for reason in found.reasons
    )
    assert any("fewer than 1,000 labelled images" in reason for reason in found.reasons)


def test_a_copy_without_a_label_contradicts_nothing_and_is_left_out(tmp_path: Path) -> None:
    folder = write_unlabelled(write_folder(tmp_path / "mine", split=True))
    [*tested] = sorted((folder / "test").rglob("*.png"))
    (folder / "unlabelled" / "copy.png").write_bytes(tested[0].read_bytes())
    look, facts = facts_of(f"folder:{folder}")
    said = " ".join(facts.warnings)
    assert "1 images without a label are copies of a labelled one: left out." in said
    assert "Different labels" not in said and "Leak" not in said and facts.leaks == {}
    assert len(look.beside_train) == 60
    pairs = choose_pairs(look, find_alike(look.pictures))
    assert any("unlabelled/copy.png" in (look.ids[a], look.ids[b]) for a, b, _ in pairs)


def test_a_near_duplicate_of_a_test_image_is_a_leak(tmp_path: Path) -> None:
    folder = write_unlabelled(write_folder(tmp_path / "mine", split=True))
    tested = sorted((folder / "test").rglob("*.png"))[0]
    Image.open(tested).save(folder / "unlabelled" / "again.jpg", quality=70)
    _, facts = facts_of(f"folder:{folder}")
    assert facts.leaks == {"test": 1}
    assert "Leak: 1 of 10 test images have a copy or near-duplicate in train" in facts.warnings[0]


def test_unlabelled_images_of_test_patients_are_said_to_be_left_out(tmp_path: Path) -> None:
    write_unlabelled(write_folder(tmp_path), 20)
    rows = [["image", "label", "group", "split"]]
    for file in sorted(tmp_path.glob("*/*.png")):
        i, name = int(file.stem), str(file.relative_to(tmp_path))
        if file.parent.name == "unlabelled":
            rows.append([name, "", f"p{i}", ""])
        else:
            rows.append([name, file.parent.name, f"p{i // 4}", "train" if i < 32 else "test"])
    tested = next(row[0] for row in rows if row[3] == "test" and row[2] == "p8")
    Image.open(tmp_path / tested).save(tmp_path / "unlabelled" / "08.png", compress_level=1)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    look, facts = facts_of(f"csv:{tmp_path / 'labels.csv'}")
    said = " ".join(facts.warnings)
    assert "2 images without a label are of groups in val or test" in said
    assert "Nothing is known" not in said
    assert facts.leaks == {}  # the one that is alike is of a patient who is left out
    assert len(look.beside_train) == 18


def test_the_page_and_the_sheet_show_them_under_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_unlabelled(write_folder(tmp_path / "mine"))
    tested = sorted(Path("mine/round").glob("*.png"))[0]
    Image.open(tested).save("mine/unlabelled/again.jpg", quality=70)
    assert main(["mine", "--html", "a.html", "--contact-sheet", "a.png"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"without labels\s+61\s+60\.4%", text), text
    assert "1 have a near-duplicate among the labelled ones" in " ".join(text.split())
    said = text.partition("study: mine")[0]  # below stands the params file, in its own lines
    assert max(map(len, said.splitlines())) <= WIDTH
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert ">without labels</h3>" in page
    assert "unlabelled/again.jpg (without a label)" in page
    assert np.asarray(Image.open("a.png")).shape[0] == 4 + 3 * (16 + 96 + 4)


def test_unlabelled_arrays_of_an_npz(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "tiny.npz", "multi-label", unlabelled=9)
    look, facts = facts_of(f"npz:{path}")
    assert facts.counts.loc["without labels"].to_dict() == {"train": 9, "val": 0, "test": 0}
    assert facts.about["images"] == "113: 48 train, 24 val, 32 test"
    assert look.ids[-1] == "unlabelled-8" and look.splits[-1] == "train"
    assert look.fetch(len(look) - 1, 28).shape == (28, 28, 3)
    # In a table of several labels an image, "none of these" is a finding and no missing label.
    plain = write_npz(tmp_path / "plain.npz", "multi-label")
    assert "without labels" not in facts_of(f"npz:{plain}")[1].counts.index
