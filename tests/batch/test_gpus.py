"""GPUs as a resource: pretended ones, real locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lib.batch import gpus
from lib.batch.engine import Room
from lib.batch.gpus import VISIBLE, Gpu, count_gpus, name_gpus, take_gpus

AUTO = {"device": "auto"}


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two GPUs."""
    monkeypatch.setattr(gpus, "gpus_here", lambda: (Gpu("0", "uuid-a"), Gpu("1", "uuid-b")))
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "RETRY", 0.01)
    yield


def test_each_run_sees_a_gpu_of_its_own(two: None) -> None:
    with take_gpus(AUTO) as first, take_gpus(AUTO) as second:
        assert {first[VISIBLE], second[VISIBLE]} == {"0", "1"}
        with take_gpus({"device": "cpu"}) as third:
            assert third == {VISIBLE: ""}  # and is not held up
    with take_gpus({**AUTO, "devices": 2}) as both:
        assert both == {VISIBLE: "0,1"}
    with take_gpus({**AUTO, "devices": 8}) as all_there_are:
        assert all_there_are == {VISIBLE: "0,1"}


def test_a_third_run_waits_until_one_is_free_or_it_is_unwanted(two: None) -> None:
    with ExitStack() as first, take_gpus(AUTO) as second:
        taken = first.enter_context(take_gpus(AUTO))
        waited: list[str] = []

        def wait() -> None:
            waited.append("said once")
            first.close()

        with take_gpus(AUTO, wait=wait) as third:
            assert third == taken != second
        assert waited == ["said once"]
        with take_gpus(AUTO), take_gpus(AUTO, gone=lambda: True) as unwanted:
            assert unwanted == {VISIBLE: ""}


def test_two_on_one_gpu_where_that_is_asked_for(two: None) -> None:
    with ExitStack() as stack:
        taken = [stack.enter_context(take_gpus(AUTO, share=2))[VISIBLE] for _ in range(4)]
        assert sorted(taken) == ["0", "0", "1", "1"]


def test_a_gpu_named_by_its_number_is_the_one_taken(two: None) -> None:
    with take_gpus({"device": "cuda:1"}) as pinned, take_gpus(AUTO) as other:
        assert pinned == {VISIBLE: "0,1"}  # its number stays its number
        assert other == {VISIBLE: "0"}


def test_a_killed_process_leaves_its_gpu_to_others(two: None) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with take_gpus({**AUTO, "devices": 2}):
            os.write(writing, b"1")
            os.read(os.pipe()[0], 1)
    os.read(reading, 1)
    with take_gpus(AUTO, gone=lambda: True) as none:
        assert none == {VISIBLE: ""}
    os.kill(child, 9)
    os.waitpid(child, 0)
    with take_gpus(AUTO) as free:
        assert free == {VISIBLE: "0"}


def test_without_gpus_nothing_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "gpus_here", lambda: ())
    with take_gpus(AUTO) as environment:
        assert environment == {}


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"device": "cpu"}, 0), ({"device": "auto"}, 1), ({"device": "cuda:1"}, 1),
        ({"device": "cuda", "devices": 4}, 4), ({"device": "cpu", "devices": 4}, 0), ({}, 0),
    ],
)  # fmt: skip
def test_which_runs_need_one(params: dict[str, Any], count: int) -> None:
    assert count_gpus(params) == count


def test_what_gpus_are_called() -> None:
    uuids = ["GPU-a", "GPU-b", "GPU-c"]
    assert name_gpus(2, {}, uuids) == (Gpu("0", "GPU-a"), Gpu("1", "GPU-b"))
    assert name_gpus(1, {VISIBLE: "2"}, uuids) == (Gpu("2", "GPU-c"),)
    assert name_gpus(1, {VISIBLE: "MIG-x,GPU-b"}, uuids) == (Gpu("MIG-x", "MIG-x"),)
    # Two jobs of Slurm may each call theirs 0, where nobody can say which it is.
    first, second = (name_gpus(1, {VISIBLE: "0", "SLURM_JOB_ID": job}, []) for job in "12")
    assert first != second


def test_runs_with_and_without_a_gpu_have_places_of_their_own() -> None:
    room = Room(runs=3, cpu=3, gpu=1, most=1)
    assert room.fits(1, [0, 0])
    assert not room.fits(1, [1])
    assert room.fits(0, [1])
    assert not room.fits(0, [1, 0, 0])
    small = Room(runs=4, cpu=1, gpu=3, most=3)
    assert not small.fits(0, [0])
    assert not small.fits(2, [2])
