"""phantom-fundus: repeatable, the grade in the lesions alone, patients never torn apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lib import identity
from lib.data.base import DataError, DataSet
from lib.data.describe import check_dataset, describe_dataset
from lib.data.embedded import EMBEDDED
from lib.data.load import load_dataset
from lib.data.medmnist import names
from lib.data.phantom_fundus import (
    CLASSES,
    WEIGHTS,
    choose_grades,
    draw_eyes,
    fingerprint,
    load_phantom_fundus,
)

NAME = "phantom-fundus"
K = len(CLASSES)
EVERY_GRADE = np.arange(4 * K, dtype=np.int64) % K


@pytest.fixture(scope="module")
def eyes() -> DataSet:
    return load_phantom_fundus()


@pytest.fixture(scope="module")
def graded() -> npt.NDArray[np.float32]:
    """The same 30 eyes at each grade, [K, 30, H, W, C]."""
    drawn = [draw_eyes(np.full(30, k, np.int64), 28, seed=2) for k in range(K)]
    return np.stack(drawn).astype(np.float32) / 255


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_dataset` draws only some of the images."""
    small = dataclasses.replace(EMBEDDED[NAME], counts=(20, 10, 11))
    monkeypatch.setitem(EMBEDDED, NAME, small)


def pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def test_the_same_arguments_give_the_same_images() -> None:
    first = draw_eyes(EVERY_GRADE, 28, seed=3)
    assert first.shape == (4 * K, 28, 28, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, draw_eyes(EVERY_GRADE, 28, seed=3))


def test_an_image_does_not_depend_on_the_images_beside_it() -> None:
    whole = draw_eyes(EVERY_GRADE, 28, seed=3)
    np.testing.assert_array_equal(whole[:7], draw_eyes(EVERY_GRADE[:7], 28, seed=3))
    other = EVERY_GRADE.copy()
    other[::2] = (other[::2] + 1) % K
    same = (whole == draw_eyes(other, 28, seed=3)).all((1, 2, 3))
    assert same.tolist() == [False, True] * (2 * K)


def test_seed_and_stream_change_every_image() -> None:
    base = pixels(draw_eyes(EVERY_GRADE, 28, seed=0))
    for other in (draw_eyes(EVERY_GRADE, 28, 1), draw_eyes(EVERY_GRADE, 28, 0, stream=1)):
        assert np.abs(base - pixels(other)).mean(1).min() > 0.02


@pytest.mark.parametrize("large", [56, 112, 224])
def test_a_larger_image_shows_the_same_scene(large: int) -> None:
    small = pixels(draw_eyes(EVERY_GRADE, 28, seed=1))
    factor = large // 28
    big = draw_eyes(EVERY_GRADE, large, seed=1).astype(np.float32) / 255
    shrunk = big.reshape(-1, 28, factor, 28, factor, 3).mean((2, 4)).reshape(len(small), -1)
    distance = np.abs(shrunk[:, None] - small[None]).mean(-1)
    own = distance.diagonal().copy()
    assert own.mean() < 0.02  # sensor noise alone is 0.003 to 0.013
    np.fill_diagonal(distance, np.inf)
    assert (distance.min(1) > 2 * own).all()


def test_an_eye_looks_less_like_its_healthy_self_with_every_grade(
    graded: npt.NDArray[np.float32],
) -> None:
    change = np.abs(graded - graded[0]).mean((2, 3, 4))
    assert (np.diff(change.mean(1)) > 0).all()
    assert (np.diff(change, axis=0) > 0).mean() > 0.95
    # Yet another eye differs far more: what a grade changes is small in the picture.
    another = np.abs(graded[0] - np.roll(graded[0], 2, axis=0)).mean()
    assert another > 5 * change[4].mean()


def test_grades_change_the_retina_and_nothing_around_it(graded: npt.NDArray[np.float32]) -> None:
    corners = graded[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[0]).all()


def test_the_lesions_order_the_grades_and_overlap(graded: npt.NDArray[np.float32]) -> None:
    from scipy.stats import spearmanr

    area = (np.abs(graded - graded[0]).max(-1) > 0.03).mean((2, 3))
    grades = np.repeat(np.arange(K), graded.shape[1])
    assert spearmanr(area.ravel(), grades).statistic > 0.9
    assert (area[1:].min(1) > 0).all()  # an ill eye has a lesion that is seen at 28 pixels
    assert area[2].max() > area[3].min()
    assert area[3].max() > area[4].min()


def test_eyes_of_a_patient_are_mirrored_and_alike() -> None:
    drawn = draw_eyes(np.zeros(60, np.int64), 28, seed=0).astype(np.float64)
    # The optic disc is bluer than the retina, the light being what it is.
    blue = drawn[..., 2] / (drawn.sum(-1) + 30)
    middle = blue[:, 6:22, 3:25] - np.median(blue[:, 6:22, 3:25], axis=(1, 2), keepdims=True)
    weight = np.clip(middle - 0.5 * middle.max((1, 2), keepdims=True), 0, None)
    x = (weight.sum(1) * np.arange(3, 25)).sum(1) / weight.sum((1, 2))
    assert (x[::2] < 13.5).mean() > 0.9  # of left eyes it lies on the left
    assert (x[1::2] > 13.5).mean() > 0.9
    tone = drawn[:, 8:20, 8:20].mean((1, 2))
    tone /= tone.sum(-1, keepdims=True)
    apart = np.abs(tone[:, None] - tone[None]).sum(-1)
    own = apart[np.arange(0, 60, 2), np.arange(1, 60, 2)]
    assert own.mean() < 0.4 * apart.mean()


def test_shares_are_exact(eyes: DataSet) -> None:
    counts = {name: np.bincount(split.y).tolist() for name, split in eyes.splits.items()}
    assert counts["train"] == [500, 140, 200, 90, 70]
    assert counts["val"] == [100, 28, 40, 18, 14]
    assert counts["test"] == [200, 56, 80, 36, 28]
    assert sum(WEIGHTS) == pytest.approx(1)


@pytest.mark.parametrize("n", [5, 6, 31, 200])
def test_every_grade_is_in_every_split(n: int) -> None:
    counts = np.bincount(choose_grades(n, np.random.default_rng(n)), minlength=K)
    assert counts.sum() == n
    assert counts.min() >= 1
    if n > 20:
        assert (np.abs(counts - n * np.asarray(WEIGHTS)) < 1).all()


def test_a_split_without_room_for_every_grade_is_refused() -> None:
    with pytest.raises(ValueError, match="a split of 4 images cannot hold 5 classes"):
        load_phantom_fundus(28, (10, 4, 10))


def test_a_patient_has_two_eyes_in_one_split(eyes: DataSet) -> None:
    seen: set[str] = set()
    for name, split in eyes.splits.items():
        assert split.groups is not None
        groups, times = np.unique(split.groups, return_counts=True)
        assert (times == 2).all()
        assert not seen & set(groups)
        seen |= set(groups)
        assert [*split.ids[2:4]] == [f"{NAME}-{name}-00001_left", f"{NAME}-{name}-00001_right"]
        assert len(set(split.ids)) == len(split)
        assert [i.rpartition("_")[0] for i in split.ids] == [*split.groups]


def test_eyes_of_a_patient_often_have_the_same_grade(eyes: DataSet) -> None:
    y = np.concatenate([split.y for split in eyes.splits.values()]).reshape(-1, 2)  # type: ignore
    apart = np.abs(y[:, 0] - y[:, 1])
    assert 0.7 < (apart == 0).mean() < 0.95
    assert (apart > 1).mean() < 0.05
    assert (y[:, 0] > y[:, 1]).any()
    assert (y[:, 0] < y[:, 1]).any()
    assert len(np.unique(y[:50])) == K  # shuffled


def test_the_images_are_those_of_the_grades(eyes: DataSet) -> None:
    test = eyes.splits["test"]
    np.testing.assert_array_equal(test.images[:20], draw_eyes(test.y[:20], 28, seed=0, stream=2))
    seen = {image.tobytes() for split in eyes.splits.values() for image in split.images}
    assert len(seen) == 1600


def test_resizing_one_split_leaves_the_others_alone() -> None:
    small, large = (load_phantom_fundus(counts=(n, 8, 9)) for n in (6, 12))
    for name in ("val", "test"):
        np.testing.assert_array_equal(small.splits[name].images, large.splits[name].images)


def test_it_says_that_it_is_synthetic(eyes: DataSet) -> None:
    assert eyes.synthetic
    assert "synthetic" in eyes.title
    assert "Synthetic" in eyes.notes[0]
    assert eyes.task == "ordinal"


def test_the_fingerprint_follows_what_the_images_depend_on() -> None:
    tiny = (5, 5, 5)
    made = [(28, tiny, 0), (28, tiny, 1), (32, tiny, 0), (28, (5, 5, 6), 0), (28, (5, 6, 5), 0)]
    assert len({fingerprint(*args) for args in made}) == len(made)
    assert load_phantom_fundus(28, tiny, 0).fingerprint == fingerprint(28, tiny, 0)


@pytest.mark.parametrize("size", [0, 27, 225])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size} is outside 28 to 224"):
        draw_eyes(EVERY_GRADE, size, seed=0)


@pytest.mark.parametrize("grade", [-1, K])
def test_a_grade_that_is_none_is_refused(grade: int) -> None:
    with pytest.raises(ValueError, match="grades must lie in 0 to 4"):
        draw_eyes(np.asarray([0, grade]), 28, seed=0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_pixels_do_not_give_the_grade(eyes: DataSet, metric: str) -> None:
    from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

    train, test = eyes.splits["train"], eyes.splits["test"]
    x, z = pixels(train.images), pixels(test.images)
    if metric == "cosine":
        x, z = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, z))
    order = np.argsort((x**2).sum(1) - 2 * z @ x.T, axis=1)
    for k in (1, 5, 20):
        votes = np.eye(K)[train.y[order[:, :k]]].sum(1)
        mean = np.floor(train.y[order[:, :k]].mean(1) + 0.5).astype(int)
        assert balanced_accuracy_score(test.y, votes.argmax(1)) < 0.35
        assert cohen_kappa_score(test.y, mean, weights="quadratic") < 0.25


def test_colour_does_not_give_the_grade(eyes: DataSet) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    train, test = eyes.splits["train"], eyes.splits["test"]
    x, z = (np.hstack([s.images.mean((1, 2)), s.images.std((1, 2))]) for s in (train, test))
    scale = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=500, class_weight="balanced").fit(
        scale.transform(x), train.y
    )
    assert balanced_accuracy_score(test.y, model.predict(scale.transform(z))) < 0.35


# As any other data set


@pytest.mark.parametrize("size", [14, 28, 32])
def test_it_is_described_as_it_is_loaded(few: None, size: int) -> None:
    data, info = load_dataset(NAME, size), describe_dataset(NAME, size)
    assert (data.task, data.classes, data.channels) == (info.task, info.classes, info.channels)
    assert {s: len(p) for s, p in data.splits.items()} == dict(info.counts)
    assert (data.name, data.title, data.synthetic) == (info.name, info.title, info.synthetic)
    assert data.fingerprint == info.fingerprint
    assert data.splits["train"].images.shape == (20, size, size, 3)
    other = {describe_dataset(name, s).fingerprint for name in EMBEDDED for s in (14, 28, 32, 64)}
    assert len(other) == 4 * len(EMBEDDED)


def test_what_a_plan_is_told() -> None:
    info = describe_dataset(NAME)
    assert dict(info.counts) == {"train": 1000, "val": 200, "test": 400}
    assert (info.task, info.synthetic, len(info.classes)) == ("ordinal", True, 5)


@pytest.mark.parametrize("size", [0, 6, 225])
def test_sizes_that_cannot_be_had(size: int) -> None:
    [mistake] = check_dataset(NAME, size)
    assert mistake == f"size: {size} given for {NAME}; a whole number from 7 to 224"
    with pytest.raises(DataError, match=f"size: {size} given"):
        load_dataset(NAME, size)
    assert check_dataset(NAME, 7) == check_dataset(NAME, 224) == []


@pytest.mark.parametrize("name", ["phantom_fundus", "phantomfundus", "phantom-fundas"])
def test_a_misspelt_name_gets_a_suggestion(name: str) -> None:
    [mistake] = check_dataset(name, 28)
    assert f"did you mean {NAME}" in mistake
    assert not set(EMBEDDED) & set(names())


def test_a_run_is_another_when_the_drawing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, changed = identity.module_file, tmp_path / "changed.py"
    codes = [identity.code_fingerprint.__wrapped__("00_data")]
    for module in ("lib.data.phantom", "lib.data.phantom_fundus", "lib.data.phantom_eye"):
        source = find(module)
        assert source is not None
        changed.write_text(source.read_text(encoding="utf-8") + "\nCHANGED = 1\n", encoding="utf-8")
        instead = {module: changed}
        monkeypatch.setattr(identity, "module_file", lambda n, i=instead: i.get(n) or find(n))
        codes.append(identity.code_fingerprint.__wrapped__("00_data"))
    assert len(set(codes)) == 4
