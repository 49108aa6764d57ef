"""Exponents and plots of how cost grows, and the measurements they are made from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress

from bench import scaling
from bench.fitting import fit_power, plot_growth


def test_a_power_law_is_found_exactly() -> None:
    x = [1.0, 10.0, 1000.0]
    fit = fit_power(x, [3 * v**1.5 for v in x])
    assert (fit.factor, fit.exponent) == pytest.approx((3.0, 1.5))
    assert fit.error == pytest.approx(0.0, abs=1e-12)
    assert fit.at([4.0]) == pytest.approx([24.0])


def test_the_standard_error_is_that_of_a_regression_on_logarithms() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1000, 8)
    y = 2 * x**0.7 * rng.lognormal(sigma=0.3, size=8)
    fit, known = fit_power(x.tolist(), y.tolist()), linregress(np.log(x), np.log(y))
    assert (fit.exponent, fit.error) == pytest.approx((known.slope, known.stderr))


def test_two_points_have_no_error_and_one_or_a_zero_no_fit() -> None:
    assert str(fit_power([1, 2], [1, 4])) == "2.00"
    for x, y in (([1], [1]), ([2, 2], [1, 3]), ([1, 2], [0, 1])):
        with pytest.raises(ValueError, match="positive points"):
            fit_power(x, y)


def test_plots_have_units_and_are_the_same_each_time(tmp_path: Path) -> None:
    series = {"time": ([1.0, 2.0, 4.0], [1.0, 2.1, 3.9])}
    fits = plot_growth(tmp_path / "a.svg", series, "image side (pixels)", "time (s)")
    assert fits["time"].exponent == pytest.approx(0.98, abs=0.02)
    text = (tmp_path / "a.svg").read_text()
    assert "image side (pixels)" in text and "time (s)" in text
    assert not re.search(r"<dc:date>", text)


def test_a_point_is_a_pretraining_that_ends_after_its_steps(tmp_path: Path) -> None:
    file = scaling.write_images(tmp_path / "images.npy", 64)
    point = {**scaling.BASE, "batch": 4, "stem": "strided", "images": 60, "file": str(file)}
    row = scaling.measure(point, "cpu", "fp32")
    # 15 batches an epoch, of which the epoch was ended after the steps asked for
    assert len(scaling.Stepwise.began) == scaling.WARM_UP + scaling.STEPS + 1
    assert row["images"] == 60
    assert row["s_per_view"] == pytest.approx(row["s_per_step"] / 8, rel=0.01)
    assert row["memory_mib"] is None or row["memory_mib"] > 0


def test_planning_is_timed_and_drawn(tmp_path: Path) -> None:
    rows = [
        {"series": "runs", "runs": n, "seconds": scaling.time_planning(tmp_path, n)} for n in (2, 4)
    ]
    [fit] = scaling.draw(rows, tmp_path)
    assert fit["of"] == "planning" and fit["points"] == 2 and fit["error"] is None
    assert (tmp_path / "scaling_runs_time.svg").exists()


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="MiB free"):
        scaling.write_images(tmp_path / "images.npy", 10**13)
