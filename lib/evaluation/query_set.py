"""Another data set whose images are graded by the training images of this one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lib.checks import ParameterError
from lib.data.base import DataError, DataSet
from lib.evaluation.grading import check_grades
from lib.evaluation.sources import embed_sources
from lib.models.embed import Features
from lib.run import Run

Scale = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is graded. data: the library's training split, and the val and test split asked about;
    its classes are the grades of the queries. features: method → split → float32 [N, D]. scale:
    what each grade of the library is on the scale of the queries; None where they are the same.
    """

    data: DataSet
    features: Mapping[str, Mapping[str, Features]]
    scale: Scale | None = None


def choose_asked(data: DataSet, features: Mapping[str, Mapping[str, Features]], run: Run) -> Asked:
    """The data set itself, or the one that the parameter `queries` names, embedded as the first.

    Raises DataError where channels differ or grades do not fit, and ParameterError for a
    `grade_scale` without queries or one that does not lead from the one scale to the other.
    """
    scale = parse_scale(run.params.grade_scale)
    other = run.load_queries()
    if other is None:
        if scale is not None:
            raise ParameterError("grade_scale: the images asked about have the library's grades")
        return Asked(data, features)
    check_scale(check_grades(data), check_grades(other), scale)
    if other.channels != data.channels:
        raise DataError(f"queries: {other.channels} channels, {data.name} has {data.channels}")
    kept = {name: other.splits[name] for name in ("val", "test")}
    asked = dataclasses.replace(other, splits=kept)
    embedded = {
        source: {**h, "train": features[source]["train"]}
        for source, h in embed_sources(asked, run).items()
    }
    whole = dataclasses.replace(other, splits={"train": data.splits["train"], **kept})
    return Asked(whole, embedded, scale)


def parse_scale(text: str) -> Scale | None:
    """The parameter `grade_scale` as numbers: `0,1,2,3,3`; None where it is empty."""
    return tuple(int(word) for word in text.split(",")) if text else None


def check_scale(library: int, queries: int, scale: Scale | None) -> None:
    """ParameterError unless a library of so many grades can grade queries of so many."""
    if scale is None:
        if library != queries:
            raise ParameterError(
                f"grade_scale: the library has {library} grades, the queries have {queries}; say "
                "what each of the library's grades is on their scale, as in 0,1,2,3,3"
            )
    elif len(scale) != library or scale[-1] != queries - 1:
        raise ParameterError(
            f"grade_scale: expected {library} grades from 0 to {queries - 1}, found "
            f"{','.join(map(str, scale))}"
        )
