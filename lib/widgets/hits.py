"""The retrieval explorer: the training images nearest to a test image, or to a picture of yours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet, labels_of
from lib.data.decode import bit_depth, decode_image, to_uint8
from lib.evaluation.representation import embed_plain
from lib.evaluation.retrieval import Retrieval
from lib.evaluation.search import nearest
from lib.evaluation.sources import source_encoders
from lib.findings.retrieval import name_labels_of
from lib.models.embed import Features
from lib.names import name_source
from lib.run import Run
from lib.watched import is_watched
from lib.widgets.thumbnails import Thumbnail, note, strip

Image = npt.NDArray[np.uint8]
SHOWN = 10  # nearest images, at most
EVERY = "every class"
UNREADABLE = "This picture cannot be used: "


def choose_class(result: Retrieval, data: DataSet, name: str) -> list[int]:
    """The queries that carry a label, or all: places in `result.queries.rows`."""
    y = result.queries.y
    if name == EVERY:
        return list(range(len(y)))
    k = [str(c) for c in data.classes].index(name)
    return [int(q) for q in np.flatnonzero(y[:, k] == 1 if y.ndim == 2 else y == k)]


def query_of(result: Retrieval, data: DataSet, q: int) -> Thumbnail:
    """The q-th query with its label and what it is called in the data set."""
    queries, row = result.queries, int(result.queries.rows[q])
    split = data.splits[queries.split]
    label = name_labels_of(queries.y[q], data.classes)
    return Thumbnail(split.images[row], ("query", label, str(split.ids[row])))


def hits_of(result: Retrieval, data: DataSet, q: int) -> list[Thumbnail]:
    """The training images nearest to the q-th query, marked as hits and misses."""
    found = zip(result.hits[q], result.similarity[q], result.found[q], strict=True)
    return [
        library_image(result, data, int(row), float(similarity), bool(right))
        for row, similarity, right in list(found)[:SHOWN]
        if row >= 0
    ]


def hits_of_picture(
    h: Features, library: Features, result: Retrieval, data: DataSet
) -> list[Thumbnail]:
    """The training images nearest to features float32 [D]; nothing is known to be right."""
    similarity, hits = nearest(h[None], library, SHOWN)
    return [
        library_image(result, data, int(row), float(s), None)
        for row, s in zip(hits[0], similarity[0], strict=True)
    ]


def library_image(
    result: Retrieval, data: DataSet, row: int, similarity: float, right: bool | None
) -> Thumbnail:
    """An image of the library: its distance 1 − cos and its label."""
    name = result.queries.library
    mark = "" if right is None else "✓ " if right else "✗ "
    label = name_labels_of(labels_of(data, name)[row], data.classes)
    return Thumbnail(data.splits[name].images[row], (f"{mark}{1 - similarity:.3f}", label), right)


def count_labels(hits: Sequence[Thumbnail]) -> str:
    """How often each label is among the hits, the most frequent first."""
    counts = Counter(hit.lines[1] for hit in hits).most_common()
    return f"Of the {len(hits)} nearest: " + ", ".join(f"{n} × {label}" for label, n in counts)


def read_picture(content: bytes, data: DataSet, preprocess: str = "none") -> Image:
    """A picture file as the data set's images are: uint8 [size, size, C], one or three channels.

    A picture of more than 8 bits is scaled by its own depth. Raises ValueError or OSError with the
    reason for what cannot be read.
    """
    decoded = decode_image(content, data.size, preprocess)
    pixels = decoded.pixels
    if pixels.dtype != np.uint8:
        pixels = to_uint8(pixels, bit_depth(decoded.peak))
    if data.channels == 1 and pixels.shape[-1] == 3:
        from PIL import Image as Pillow

        return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]
    return np.broadcast_to(pixels, (*pixels.shape[:2], data.channels)).copy()


def explore_retrieval(
    result: Retrieval, features: Mapping[str, Mapping[str, Features]], data: DataSet, run: Run
) -> Any:
    """The explorer over one method's features; None where nobody watches.

    A picture that is uploaded stays in this notebook's memory: it is written nowhere.
    """
    if not is_watched():
        return None
    import ipywidgets as w

    library = features[result.source][result.queries.library]
    names = [EVERY, *(str(c) for c in data.classes if choose_class(result, data, str(c)))]
    kind = w.Dropdown(options=names, description="queries of")
    place = w.BoundedIntText(value=0, min=0, max=0, description="number")
    again = w.Button(description="Another query", icon="random")
    upload = w.FileUpload(accept="image/*", multiple=False, description="Your picture")
    asked, found, text = w.HTML(), w.HTML(), w.HTML()
    rng = np.random.default_rng(run.params.seed)

    def show(query: Thumbnail, hits: Sequence[Thumbnail]) -> None:
        asked.value, found.value = strip([query], 140), strip(hits, 76)
        text.value = note(count_labels(hits))

    def show_query(_: Any = None) -> None:
        q = choose_class(result, data, kind.value)[place.value]
        show(query_of(result, data, q), hits_of(result, data, q))

    def change_class(_: Any) -> None:
        place.max = len(choose_class(result, data, kind.value)) - 1
        show_query()

    def another(_: Any) -> None:
        place.value = int(rng.integers(place.max + 1))

    def show_upload(_: Any) -> None:
        if not upload.value:
            return
        file = upload.value[0]
        try:
            image = read_picture(
                bytes(file["content"]), data, getattr(run.params, "preprocess", "none")
            )
        except (ValueError, OSError) as error:
            text.value = note(f"{UNREADABLE}{file['name']}: {error}")
            return
        encoder = source_encoders(data, run)[result.source]
        h = embed_plain(encoder, image[None], run.device, run.precision)[0]
        seen = f"as the encoder sees it, {data.size} px"
        show(Thumbnail(image, (str(file["name"]), seen)), hits_of_picture(h, library, result, data))

    kind.observe(change_class, "value")
    place.observe(show_query, "value")
    again.on_click(another)
    upload.observe(show_upload, "value")
    change_class(None)
    about = f"Features: {name_source(result.source, result.augment)}. Under each image: distance "
    head = note(f"{about}1 − cos, label; ✓ solid frame: it shares a label with the query.")
    wrap = w.Layout(flex_flow="row wrap")
    top = w.HBox([kind, place, again, upload], layout=wrap)
    found.layout = w.Layout(flex="1 1 400px")
    explorer = w.VBox([w.HTML(head), top, w.HBox([asked, found], layout=wrap), text])
    explorer.add_class("retrieval-explorer")
    return explorer
