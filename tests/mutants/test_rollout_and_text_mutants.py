"""Historical bugs of sampling, chat templates and splits, put in one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

CHECKS = "mutants/test_rollout_and_text.py"
RENDERER = "instructgpt.text.chat_template:ChatRenderer"
ROLLOUT = "instructgpt.rollout"

MUTANTS = {
    # --- sampling ---
    "greedy sampling": {
        "story": "DeepSpeed-Chat's work-around for a NaN: rollouts that never explore",
        "target": f"{ROLLOUT}.sampling:choose_tokens",
        "old": "if uniforms_RK is None:",
        "new": "if True:",
        "caught_by": f"{CHECKS}::test_tokens_are_drawn_as_often_as_the_model_says",
    },
    "temperature forgotten in sampling": {
        "story": "settings say 0.7, the engine draws at 1",
        "target": f"{ROLLOUT}.sampling:sampling_probs",
        "old": "if temperature_R1 is not None or params.temperature != 1.0:",
        "new": "if False:",
        "caught_by": f"{CHECKS}::test_tokens_are_drawn_as_often_as_the_model_says",
    },
    "log-probs before temperature": {
        "story": "vLLM's default: raw log-probs, not those of what was sampled from",
        "target": f"{ROLLOUT}.sampling:choose_tokens",
        "old": "probs_RV.gather(-1, ids_RK).log()",
        "new": "logits_RV.log_softmax(-1).gather(-1, ids_RK)",
        "caught_by": f"{CHECKS}::test_the_engine_reports_the_policys_own_logprobs",
    },
    "n samples, one random stream": {
        "story": "best-of-n of n equal answers",
        "target": f"{ROLLOUT}.sampling:request_uniforms",
        "old": "[0, 0, 0, sample]",
        "new": "[0, 0, 0, 0]",
        "caught_by": f"{CHECKS}::test_samples_of_one_prompt_differ",
    },
    "one random number per completion": {
        "story": "the counter does not advance: every token comes from the same quantile",
        "target": f"{ROLLOUT}.sampling:request_uniforms",
        "old": "generator.random_raw(count) >> 41",
        "new": "generator.random_raw(1).repeat(count) >> 41",
        "caught_by": (f"{CHECKS}::test_tokens_of_one_completion_have_random_numbers_of_their_own"),
    },
    "dropout during rollouts": {
        "story": "sampling from a model in training mode",
        "target": f"{ROLLOUT}.forward:ForwardPass.ready",
        "old": "self.model.eval()",
        "new": "self.model.train()",
        "caught_by": f"{CHECKS}::test_the_engine_reports_the_policys_own_logprobs",
    },
    "EOS stripped from the completion": {
        "story": "the token that ends the answer has no log-prob, no reward, no gradient",
        "target": f"{ROLLOUT}.completions:Completions.record",
        "old": "done.append(token)",
        "new": "done += [token] if token not in self._eos_ids else []",
        "caught_by": f"{CHECKS}::test_eos_is_part_of_the_completion",
    },
    # --- text ---
    "EOS masked because pad == eos": {
        "story": "labels compared with the pad id: fine-tuned models never stop (unsloth, TRL)",
        "target": f"{RENDERER}.dialogue_ids",
        "old": "mask += [counts] * len(piece)",
        "new": "mask += [counts and i != self.tokenizer.eos_token_id for i in piece]",
        "caught_by": f"{CHECKS}::test_the_answer_and_its_end_are_learned_and_nothing_else",
    },
    "pad stays eos": {
        "story": "tokenizer.pad_token = tokenizer.eos_token, copied from notebook to notebook",
        "target": "instructgpt.text.tokenizer:_set_pad",
        "old": " and tokenizer.pad_token not in ends:",
        "new": ":",
        "caught_by": f"{CHECKS}::test_a_pad_token_that_equals_eos_is_replaced",
    },
    "loss on the prompt": {
        "story": "DeepSpeed-Chat's SFT learns to write the users' questions",
        "target": f"{RENDERER}.dialogue_ids",
        "old": 'train_on == "all" or',
        "new": "True or",
        "caught_by": f"{CHECKS}::test_the_answer_and_its_end_are_learned_and_nothing_else",
    },
    "only the last turn is learned": {
        "story": "multi-turn data of which most answers are silently ignored",
        "target": f"{RENDERER}.dialogue_ids",
        "old": 'train_on == "assistant" and turn >= 0',
        "new": "False",
        "caught_by": f"{CHECKS}::test_the_answer_and_its_end_are_learned_and_nothing_else",
    },
    "no end token after the answer": {
        "story": "an answer without an end: nothing ever teaches the model to stop",
        "target": f"{RENDERER}._end_of_turn",
        "old": "return end + len(self._end_token)",
        "new": "return end",
        "caught_by": f"{CHECKS}::test_what_is_learned_is_what_generation_continues",
    },
    "stop only at the documents' EOS": {
        "story": "the turn ends with another token than eos_token: answers run into a new turn",
        "target": f"{RENDERER}._find_stop_ids",
        "old": "self._end_token,",
        "new": "",
        "caught_by": (
            f"{CHECKS}::test_a_turns_end_stops_generation_where_it_is_not_the_eos_of_documents"
        ),
    },
    "special tokens in messages": {
        "story": "a user types the turn markers and speaks as the assistant",
        "target": f"{RENDERER}._stand_in_for_special_texts",
        "old": "if pattern is None:",
        "new": "if True:",
        "caught_by": f"{CHECKS}::test_a_message_cannot_open_a_turn",
    },
    "documents without an end": {
        "story": "rows without an end token: nothing marks where a text is over",
        "target": "instructgpt.text.rows:_document_ids",
        "old": "yield before + ids + after",
        "new": "yield before + ids",
        "caught_by": f"{CHECKS}::test_a_document_ends_with_its_separator",
    },
    # --- data ---
    "split by row": {
        "story": "the same prompt, or the same person, on both sides: a leak that looks like skill",
        "target": "instructgpt.data.splits:held_out",
        "old": "for group in groups",
        "new": "for group in range(len(keys.owners))",
        "caught_by": f"{CHECKS}::test_neither_a_prompt_nor_a_user_is_on_both_sides",
    },
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_bug_is_caught(name: str, assert_caught: Callable[[Mapping[str, str]], None]) -> None:
    assert_caught(MUTANTS[name])
