"""Proxy reward rises for ever, gold reward rises and falls: where is the peak?

Points are measured models: their KL from the start, the score of the reward model they were
optimised against (proxy) and the gold score. d = sqrt(KL) throughout (Gao et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Form = Literal["bon", "rl"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measured policy: KL in nats per sequence, mean proxy and gold score."""

    kl: float
    proxy: float
    gold: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class FittedForm:
    """R(d) - R(0) = d (a - b d) for best-of-n, d (a - b ln d) for RL, with its fit and peak.

    `peak_kl` and `peak_gain` are None when the fitted curve never turns (b <= 0 or a <= 0 where
    that decides).
    """

    form: Form
    a: float
    b: float
    r_squared: float | None
    peak_kl: float | None
    peak_gain: float | None


def fit_overoptimization(form: Form, kl: Sequence[float], gain: Sequence[float]) -> FittedForm:
    """Least squares of Gao et al.'s form to gold gains over the starting model (linear in a, b)."""
    if len(kl) != len(gain) or len(kl) < 2:
        raise ValueError(f"fitting two coefficients to {len(kl)} KLs and {len(gain)} gains")
    d = np.sqrt(np.maximum(np.asarray(kl, dtype=np.float64), 0.0))
    gains = np.asarray(gain, dtype=np.float64)
    bend = d * d if form == "bon" else d * np.log(np.where(d > 0, d, 1.0))
    (a, b), *_ = np.linalg.lstsq(np.stack([d, -bend], axis=1), gains, rcond=None)
    spread = float(((gains - gains.mean()) ** 2).sum())
    residual = float(((a * d - b * bend - gains) ** 2).sum())
    peak_d = _peak(form, float(a), float(b))
    return FittedForm(
        form,
        float(a),
        float(b),
        1 - residual / spread if spread > 0 else None,
        None if peak_d is None else peak_d**2,
        None if peak_d is None else _gain(form, float(a), float(b), peak_d),
    )


def form_gain(fit: FittedForm, kl: float) -> float:
    """The fitted gain at `kl`, for drawing the curve."""
    return _gain(fit.form, fit.a, fit.b, math.sqrt(max(kl, 0.0)))


def describe_curve(points: Sequence[CurvePoint], form: Form) -> dict[str, Any]:
    """The curve as JSON: points by KL, the best measured point, the fitted form, the verdict.

    The first point by KL is the start of the curve; an estimate below 0, where no KL is, counts as
    0. `overoptimized` says whether gold fell below its measured peak while the proxy still rose
    above its value there.
    """
    if not points:
        raise ValueError("no points: an over-optimisation curve needs at least one")
    ordered = sorted(points, key=lambda p: max(p.kl, 0.0))
    peak = max(ordered, key=lambda p: p.gold)
    after = [p for p in ordered if p.kl > peak.kl]
    fit = None
    if len(ordered) >= 4:
        start = ordered[0].gold
        fit = fit_overoptimization(form, [p.kl for p in ordered], [p.gold - start for p in ordered])
    return {
        "form": form,
        "points": [asdict(p) for p in ordered],
        "peak": asdict(peak),
        "overoptimized": any(p.gold < peak.gold and p.proxy > peak.proxy for p in after),
        "fit": None if fit is None else asdict(fit),
    }


def _gain(form: Form, a: float, b: float, d: float) -> float:
    if d == 0:
        return 0.0
    return d * (a - b * d) if form == "bon" else d * (a - b * math.log(d))


def _peak(form: Form, a: float, b: float) -> float | None:
    """The d at which the fitted gain is largest, if it turns at a d that can be represented."""
    if b <= 0:
        return None
    if form == "bon":
        return a / (2 * b) if a > 0 else None
    exponent = a / b - 1
    return math.exp(exponent) if exponent < 300 else None
