"""Over-optimisation forms: recover known coefficients, and the reference file's peaks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from instructgpt.evaluation.overoptimization import (
    CurvePoint,
    describe_curve,
    fit_overoptimization,
    form_gain,
)

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text("utf-8")
)["overoptimisation_forms"]


def test_best_of_n_form_recovers_the_reference():
    """R = d (1 - d/4) at d = 0 .. 4: values by hand; peak at KL 4, gain 1."""
    expected = REFERENCE["bon R=d(a-b d)"]
    kl = [0.0, 1.0, 4.0, 9.0, 16.0]
    fit = fit_overoptimization("bon", kl, [0.0, 0.75, 1.0, 0.75, 0.0])
    assert (fit.a, fit.b) == pytest.approx((expected["a"], expected["b"]))
    assert fit.peak_kl == pytest.approx(expected["KL*=d*^2"])
    assert fit.peak_gain == pytest.approx(expected["R*=a^2/(4b)"])
    assert fit.r_squared == pytest.approx(1.0)


def test_rl_form_recovers_the_reference():
    expected = REFERENCE["rl R=d(a-b ln d)"]
    distances = [1.0, math.e, math.e**2, 5.0]
    gains = [1.0, math.e * 0.75, math.e**2 * 0.5, 5 * (1 - 0.25 * math.log(5))]
    fit = fit_overoptimization("rl", [d * d for d in distances], gains)
    assert (fit.a, fit.b) == pytest.approx((1.0, 0.25))
    assert fit.peak_kl == pytest.approx(expected["d*=exp(a/b-1)"] ** 2)
    assert fit.peak_gain == pytest.approx(expected["R*=b d*"])
    assert form_gain(fit, 0.0) == 0.0
    assert form_gain(fit, math.e**2) == pytest.approx(math.e * 0.75)


def test_a_curve_that_never_turns_has_no_peak():
    fit = fit_overoptimization("bon", [0.0, 1.0, 4.0], [0.0, 1.0, 2.5])
    assert (fit.peak_kl, fit.peak_gain) == (None, None)


def test_an_estimate_of_kl_below_zero_does_not_come_before_the_start():
    """Sampling noise puts a model that has hardly moved at a KL of -0.004."""
    points = [CurvePoint(0.0, 1.0, 0.0, "0"), CurvePoint(-0.004, 1.1, 0.1, "10")]
    assert [p["label"] for p in describe_curve(points, "rl")["points"]] == ["0", "10"]


def test_the_curve_names_its_peak_and_its_verdict():
    rising_proxy = [
        CurvePoint(4.0, 1.2, 3.6, "200"),
        CurvePoint(0.0, 0.0, 3.0, "0"),
        CurvePoint(9.0, 2.0, 2.0, "300"),
        CurvePoint(1.0, 0.5, 3.5, "100"),
    ]
    curve = describe_curve(rising_proxy, "rl")
    assert [p["label"] for p in curve["points"]] == ["0", "100", "200", "300"]
    assert curve["peak"]["label"] == "200"
    assert curve["overoptimized"] is True
    assert curve["fit"]["b"] > 0
    still_rising = describe_curve(rising_proxy[:2], "rl")
    assert (still_rising["overoptimized"], still_rising["fit"]) == (False, None)


def test_two_coefficients_need_two_points():
    with pytest.raises(ValueError, match="two coefficients"):
        fit_overoptimization("rl", [1.0], [1.0])
