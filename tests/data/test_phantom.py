"""phantom: repeatable, one scene at every size, no class given away by colour or pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lib.data.base import DataError, DataSet
from lib.data.describe import check_dataset, describe_dataset
from lib.data.load import load_dataset
from lib.data.phantom import (
    CLASSES,
    WEIGHTS,
    centres,
    class_counts,
    cover,
    draw_cells,
    fingerprint,
    load_phantom,
)
from lib.data.phantom_shapes import DRAWS, SHAPES, Draw, segmented

K = len(CLASSES)
EVERY_CLASS = np.arange(4 * K, dtype=np.int64) % K


@pytest.fixture(scope="module")
def phantom() -> DataSet:
    return load_phantom()


def pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def pixel_data(data: DataSet) -> tuple[npt.NDArray[np.float32], ...]:
    train, test = data.splits["train"], data.splits["test"]
    return pixels(train.images), train.y, pixels(test.images), test.y


def colours(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)


def test_the_same_arguments_give_the_same_images() -> None:
    first = draw_cells(EVERY_CLASS, 28, seed=3)
    assert first.shape == (4 * K, 28, 28, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, draw_cells(EVERY_CLASS, 28, seed=3))


def test_an_image_depends_neither_on_the_chunk_nor_on_the_images_beside_it() -> None:
    whole = draw_cells(EVERY_CLASS, 28, seed=3)
    # A batched sum may round differently, which can move a value by one grey level.
    for other in (draw_cells(EVERY_CLASS, 28, 3, chunk=3), draw_cells(EVERY_CLASS[:9], 28, 3)):
        np.testing.assert_allclose(whole[: len(other)].astype(int), other.astype(int), atol=1)


def test_seed_and_stream_change_every_image() -> None:
    base = pixels(draw_cells(EVERY_CLASS, 28, seed=0))
    for other in (draw_cells(EVERY_CLASS, 28, 1), draw_cells(EVERY_CLASS, 28, 0, stream=1)):
        assert np.abs(base - pixels(other)).mean(1).min() > 0.02


@pytest.mark.parametrize("large", [56, 112, 224])
def test_a_larger_image_shows_the_same_scene(large: int) -> None:
    small = pixels(draw_cells(EVERY_CLASS, 28, seed=1))
    factor = large // 28
    big = draw_cells(EVERY_CLASS, large, seed=1).astype(np.float32) / 255
    shrunk = big.reshape(-1, 28, factor, 28, factor, 3).mean((2, 4)).reshape(len(small), -1)
    distance = np.abs(shrunk[:, None] - small[None]).mean(-1)
    own = distance.diagonal().copy()
    assert own.mean() < 0.02  # sensor noise alone is 0.004 to 0.025
    np.fill_diagonal(distance, np.inf)
    assert (distance.min(1) > 2 * own).all()


def test_the_class_changes_the_cell_and_leaves_the_slide_around_it() -> None:
    n = 40
    drawn = [draw_cells(np.full(n, k, np.int64), 28, seed=2) for k in range(K)]
    for other in drawn[1:]:
        same = (drawn[0] == other).all(-1)
        corners = same[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.any(1).all()  # a cell may reach into some corners, never into all four
        assert same[:, 8:20, 8:20].mean() < 0.5


def test_a_lone_blob_covers_the_area_of_its_disc() -> None:
    disc = np.asarray([[[0.5, 0.45, 0.2]], [[0.4, 0.5, 0.31]], [[0.5, 0.5, 0.0]]], np.float32)
    area = cover(disc, centres(128)).mean((1, 2))
    np.testing.assert_allclose(area, np.pi * disc[:, 0, 2] ** 2, rtol=0.02)


def test_nuclei_have_the_parts_their_class_is_named_for() -> None:
    from scipy import ndimage

    def parts(mask: npt.NDArray[np.bool_]) -> int:
        return int(ndimage.label(mask)[1])

    n = 50
    uniform = np.random.default_rng(0).random((n, DRAWS), np.float32)
    grid = np.linspace(-1.4, 1.4, 160, dtype=np.float32)
    nuclei = {}
    for name, _, shape in SHAPES:
        # `cover` measures edges in samples of a unit-wide image; a mask only needs the outline.
        nuclei[name] = cover(shape(Draw(uniform)).nucleus, grid) > 0.5
    holes = {name: [parts(~mask) - 1 for mask in masks] for name, masks in nuclei.items()}
    assert holes["ring"] == [1] * n
    assert holes["large round"] == holes["eccentric"] == [0] * n
    assert not nuclei["clump"].any()
    assert [parts(mask) for mask in nuclei["horseshoe"]] == [1] * n
    # Lobes are what is left when the necks between them are eaten away.
    depth = {name: [ndimage.distance_transform_edt(m) for m in nuclei[name]] for name in nuclei}
    lobes = {name: [parts(d > 0.75 * d.max()) for d in maps] for name, maps in depth.items()}
    drawn = (segmented(Draw(uniform)).nucleus[..., 2] > 0).sum(1)
    assert set(drawn) == {3, 4, 5}
    assert (lobes["segmented"] == drawn).mean() > 0.9
    assert lobes["bilobed"] == [2] * n
    assert lobes["large round"] == lobes["eccentric"] == [1] * n


def test_a_shape_that_asks_for_too_many_numbers_is_told_so() -> None:
    draw = Draw(np.zeros((2, 5), np.float32))
    draw.take(4)
    with pytest.raises(IndexError, match="more than 5"):
        draw.take(2)


def test_class_counts_are_exact(phantom: DataSet) -> None:
    counts = {name: np.bincount(split.y).tolist() for name, split in phantom.splits.items()}
    assert counts["train"] == [500, 340, 280, 260, 120, 220, 200, 80]
    assert counts["val"] == [100, 68, 56, 52, 24, 44, 40, 16]
    assert counts["test"] == [200, 136, 112, 104, 48, 88, 80, 32]


@pytest.mark.parametrize("n", [25, 101, 333, 1999])
def test_class_counts_round_by_largest_remainder(n: int) -> None:
    counts, exact = class_counts(n), n * np.asarray(WEIGHTS)
    assert counts.sum() == n
    up = counts > exact
    remainder = exact - np.floor(exact)
    assert (np.abs(counts - exact) < 1).all()
    assert remainder[up].min(initial=1) >= remainder[~up].max(initial=0)


def test_every_class_is_in_the_smallest_split() -> None:
    assert class_counts(K).tolist() == [1] * K
    with pytest.raises(ValueError, match="cannot hold 8 classes"):
        class_counts(K - 1)


def test_weights_are_imbalanced_shares() -> None:
    assert sum(WEIGHTS) == pytest.approx(1)
    assert max(WEIGHTS) / min(WEIGHTS) > 5


def test_no_image_is_in_two_splits_or_twice_in_one(phantom: DataSet) -> None:
    seen = [image.tobytes() for split in phantom.splits.values() for image in split.images]
    assert len(set(seen)) == len(seen) == 3200


def test_labels_are_shuffled_and_ids_name_their_row(phantom: DataSet) -> None:
    train = phantom.splits["train"]
    assert len(np.unique(train.y[:100])) == K
    assert train.ids[12] == "phantom-train-00012"
    assert len(set(train.ids)) == len(train)


def test_the_images_are_those_of_the_labels(phantom: DataSet) -> None:
    test = phantom.splits["test"]
    drawn = draw_cells(test.y[:20], 28, seed=0, stream=2)
    np.testing.assert_allclose(test.images[:20].astype(int), drawn.astype(int), atol=1)


def test_resizing_one_split_leaves_the_others_alone() -> None:
    small, large = (load_phantom(counts=(n, 16, 16)) for n in (16, 32))
    for name in ("val", "test"):
        np.testing.assert_array_equal(small.splits[name].images, large.splits[name].images)


def test_it_says_that_it_is_synthetic(phantom: DataSet) -> None:
    assert phantom.synthetic
    assert "synthetic" in phantom.title
    assert "Synthetic" in phantom.notes[0]


def test_the_fingerprint_follows_what_the_images_depend_on() -> None:
    tiny = (8, 8, 8)
    made = [(28, tiny, 0), (28, tiny, 1), (32, tiny, 0), (28, (8, 8, 9), 0), (28, (8, 9, 8), 0)]
    assert len({fingerprint(*args) for args in made}) == len(made)
    assert load_phantom(28, tiny, 0).fingerprint == fingerprint(28, tiny, 0)


@pytest.mark.parametrize("size", [0, 27, 225])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size} is outside 28 to 224"):
        draw_cells(EVERY_CLASS, size, seed=0)


@pytest.mark.parametrize("label", [-1, K])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="labels must lie in 0 to 7"):
        draw_cells(np.asarray([0, label]), 28, seed=0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_pixels_do_not_give_the_class(phantom: DataSet, metric: str) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    x, y, x_test, y_test = pixel_data(phantom)
    if metric == "cosine":
        x, x_test = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, x_test))
    # Squared distances by a matrix product: sklearn's own take ten seconds here.
    near = (x_test**2).sum(1)[:, None] + (x**2).sum(1) - 2 * x_test @ x.T
    near = np.maximum(near, 0)
    model = KNeighborsClassifier(metric="precomputed").fit(np.zeros((len(x), len(x))), y)
    for k in (1, 5, 20):
        assert model.set_params(n_neighbors=k).score(near, y_test) < 0.60


def test_a_linear_model_of_the_pixels_does_not_give_the_class(phantom: DataSet) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y, x_test, y_test = pixel_data(phantom)
    scale = StandardScaler().fit(x)
    for strength in (1e-4, 1e-2):
        model = LogisticRegression(C=strength, max_iter=60).fit(scale.transform(x), y)
        assert model.score(scale.transform(x_test), y_test) < 0.60


def test_colour_does_not_give_the_class(phantom: DataSet) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = phantom.splits["train"], phantom.splits["test"]
    scale = StandardScaler().fit(colours(train.images))
    model = LogisticRegression(max_iter=500).fit(scale.transform(colours(train.images)), train.y)
    assert model.score(scale.transform(colours(test.images)), test.y) < 0.45


# Below the smallest size that is drawn


@pytest.fixture(scope="module")
def halved() -> DataSet:
    return load_dataset("phantom", 14)


def test_small_images_are_means_of_the_drawn_ones(phantom: DataSet, halved: DataSet) -> None:
    assert (halved.size, halved.synthetic) == (14, True)
    for name, split in halved.splits.items():
        drawn = phantom.splits[name]
        assert split.images.shape == (len(drawn), 14, 14, 3)
        assert split.images.dtype == np.uint8
        means = drawn.images.reshape(-1, 14, 2, 14, 2, 3).mean((2, 4))
        assert np.abs(split.images - means).max() <= 0.5
        np.testing.assert_array_equal(split.y, drawn.y)  # type: ignore[arg-type]
        np.testing.assert_array_equal(split.ids, drawn.ids)
    assert halved.notes[-1] == "Images of 14 px are resampled from 28 px."


def test_a_plan_knows_small_phantoms_apart(halved: DataSet) -> None:
    described = {size: describe_dataset("phantom", size) for size in (7, 14, 20, 28)}
    assert described[14].fingerprint == halved.fingerprint
    assert len({info.fingerprint for info in described.values()}) == 4
    counts = {name: len(split) for name, split in halved.splits.items()}
    assert dict(described[14].counts) == counts


@pytest.mark.parametrize("size", [7, 28, 224])
def test_sizes_that_can_be_had(size: int) -> None:
    assert check_dataset("phantom", size) == []


@pytest.mark.parametrize("size", [0, 6, 225])
def test_sizes_that_cannot(size: int) -> None:
    [mistake] = check_dataset("phantom", size)
    assert mistake == f"size: {size} given for phantom; a whole number from 7 to 224"
    with pytest.raises(DataError, match=f"size: {size} given"):
        load_dataset("phantom", size)
