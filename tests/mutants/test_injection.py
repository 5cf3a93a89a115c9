"""The tool that judges the tests is tested too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from instructgpt.losses.kl import kl_k1

HARMLESS = {
    "story": "no bug at all",
    "target": "instructgpt.losses.kl:kl_k2",
    "old": "0.5 * kl_k1(logprobs, ref_logprobs).square()",
    "new": "kl_k1(logprobs, ref_logprobs).square() / 2",
    "caught_by": "unit/losses/test_kl.py::test_estimators_match_the_reference",
}


def test_a_harmless_change_is_not_caught(
    assert_caught: Callable[[Mapping[str, str]], None],
) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        assert_caught(HARMLESS)


def test_a_change_that_no_longer_applies_is_an_error(
    assert_caught: Callable[[Mapping[str, str]], None],
) -> None:
    with pytest.raises(AssertionError, match="not once"):
        assert_caught({**HARMLESS, "old": "text that is not there"})


def test_a_change_that_crashes_is_not_a_catch(
    assert_caught: Callable[[Mapping[str, str]], None],
) -> None:
    with pytest.raises(NameError):
        assert_caught({**HARMLESS, "new": "undefined_name"})


def test_the_bug_is_taken_out_again(
    assert_caught: Callable[[Mapping[str, str]], None],
) -> None:
    before = kl_k1.__code__
    assert_caught(
        {
            "story": "sign",
            "target": "instructgpt.losses.kl:kl_k1",
            "old": "at_least_float32(logprobs) -",
            "new": "-at_least_float32(logprobs) +",
            "caught_by": HARMLESS["caught_by"],
        }
    )
    assert kl_k1.__code__ is before
