"""The field's historical bugs in the mathematics, put in one at a time: each must be caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

LOSSES = "instructgpt.losses"
UNIT = "unit/losses"

MUTANTS = {
    # --- reductions ---
    "whitening keeps the mean": {
        "story": "torchtune shipped the flag inverted, and its unit test agreed with it",
        "target": f"{LOSSES}.masked:masked_whiten",
        "old": "whitened_BT if shift_mean else whitened_BT + mean",
        "new": "whitened_BT + mean if shift_mean else whitened_BT",
        "caught_by": f"{UNIT}/test_masked.py::test_whitening_matches_the_reference",
    },
    "whitening looks at padding": {
        "story": "mean over the padded rectangle: advantages shift with the longest row",
        "target": f"{LOSSES}.masked:masked_whiten",
        "old": "mean = masked_mean(x_BT, mask_BT) if mean is None else mean",
        "new": "mean = x_BT.nan_to_num().mean() if mean is None else mean",
        "caught_by": (
            f"{UNIT}/test_masked.py"
            "::test_whitened_entries_have_mean_0_and_std_1_and_padding_does_not_shift_them"
        ),
    },
    "whitening by the sample variance": {
        "story": "torch.var divides by n - 1, lm-human-preferences by n",
        "target": f"{LOSSES}.masked:masked_var",
        "old": ".square(), mask_BT)",
        "new": ".square(), mask_BT, mask_BT.sum() - 1)",
        "caught_by": f"{UNIT}/test_masked.py::test_paper_reference_mean_and_variance",
    },
    "metrics over padding": {
        "story": "TRL averaged entropy and KL over padding for years",
        "target": f"{LOSSES}.masked:masked_sum",
        "old": "torch.where(mask_BT, at_least_float32(x_BT), 0.0)",
        "new": "at_least_float32(x_BT).nan_to_num()",
        "caught_by": f"{UNIT}/test_masked.py::test_paper_reference_mean_and_variance",
    },
    # --- log-probs ---
    "temperature forgotten in log-probs": {
        "story": "rollouts at T = 0.7, ratios at T = 1: the first ratio is not 1",
        "target": f"{LOSSES}.logprobs:_scaled",
        "old": "return logits if temperature == 1.0 else logits / temperature",
        "new": "return logits",
        "caught_by": f"{UNIT}/test_logprobs.py::test_logprob_at_the_sampling_temperature",
    },
    "logits multiplied by the temperature": {
        "story": "the other way round",
        "target": f"{LOSSES}.logprobs:_scaled",
        "old": "logits / temperature",
        "new": "logits * temperature",
        "caught_by": f"{UNIT}/test_logprobs.py::test_logprob_at_the_sampling_temperature",
    },
    "logits not shifted against the tokens": {
        "story": "each token scored by the logits that have already read it",
        "target": f"{LOSSES}.logprobs:token_logprobs",
        "old": "logits_BTV[:, :-1]",
        "new": "logits_BTV[:, 1:]",
        "caught_by": f"{UNIT}/test_logprobs.py::test_position_t_describes_token_t",
    },
    "entropy one position late": {
        "story": "entropy at the state after the token, not at the one it was drawn from",
        "target": f"{LOSSES}.logprobs:token_entropy",
        "old": "logits_BTV[:, :-1]",
        "new": "logits_BTV[:, 1:]",
        "caught_by": (
            f"{UNIT}/test_logprobs.py"
            "::test_entropy_uses_the_temperature_and_stands_where_the_token_was_drawn"
        ),
    },
    "softmax in half precision": {
        "story": "bfloat16 log-softmax: log-probs off by 1e-2, ratios off by a per cent",
        "target": f"{LOSSES}.logprobs:_scaled",
        "old": "logits = at_least_float32(logits)",
        "new": "logits = logits * 1",
        "caught_by": (f"{UNIT}/test_logprobs.py::test_half_precision_logits_give_float32_results"),
    },
    "chunks do not save memory": {
        "story": "chunked, but every chunk's logits are kept for backward",
        "target": f"{LOSSES}.logprobs:chunked_token_logprobs",
        "old": "checkpoint(one_chunk, *chunk, use_reentrant=False, preserve_rng_state=False)",
        "new": "one_chunk(*chunk)",
        "caught_by": f"{UNIT}/test_logprobs.py::test_chunked_logprobs_never_hold_all_logits",
    },
    # --- language model loss ---
    "EOS masked out of the loss": {
        "story": "pad == eos and labels compared with the pad id: the model never stops",
        "target": f"{LOSSES}.language_model:language_model_loss",
        "old": "masked_sum(logprobs_BT, mask_BT)",
        "new": "masked_sum(logprobs_BT, mask_BT & mask_BT.roll(-1, 1))",
        "caught_by": (
            f"{UNIT}/test_language_model_loss.py::test_the_end_token_is_learnt_and_padding_is_not"
        ),
    },
    "averaged per microbatch": {
        "story": "transformers until late 2024: accumulation weighs short microbatches too much",
        "target": f"{LOSSES}.language_model:language_model_loss",
        "old": "/ num_tokens",
        "new": "/ mask_BT.sum()",
        "caught_by": (
            f"{UNIT}/test_language_model_loss.py"
            "::test_microbatches_divided_by_the_global_count_give_the_whole_gradient"
        ),
    },
    "mean of sequence means": {
        "story": "tokens of short answers weigh more than those of long ones",
        "target": f"{LOSSES}.language_model:language_model_loss",
        "old": "masked_sum(logprobs_BT, mask_BT) / num_tokens",
        "new": "(masked_sum(logprobs_BT, mask_BT, dim=1) / mask_BT.sum(1)).mean()",
        "caught_by": f"{UNIT}/test_language_model_loss.py::test_token_mean_matches_the_reference",
    },
    # --- KL ---
    "KL sign flipped": {
        "story": "log pi_ref - log pi: the penalty rewards leaving the reference",
        "target": f"{LOSSES}.kl:kl_k1",
        "old": "at_least_float32(logprobs) - at_least_float32(ref_logprobs)",
        "new": "at_least_float32(ref_logprobs) - at_least_float32(logprobs)",
        "caught_by": (
            f"{UNIT}/test_kl.py::test_kl_is_positive_where_the_policy_is_surer_than_the_reference"
        ),
    },
    "KL clamped at zero": {
        "story": "AlpacaFarm clamps each token's estimate: biased upwards",
        "target": f"{LOSSES}.kl:kl_k1",
        "old": "- at_least_float32(ref_logprobs)",
        "new": "- at_least_float32(ref_logprobs).clamp(max=at_least_float32(logprobs))",
        "caught_by": f"{UNIT}/test_kl.py::test_k1_and_k3_are_unbiased_and_k2_is_not",
    },
    "k3 of the wrong ratio": {
        "story": "exp(d) instead of exp(-d): an estimator of nothing",
        "target": f"{LOSSES}.kl:kl_k3",
        "old": "(-d).clamp",
        "new": "d.clamp",
        "caught_by": f"{UNIT}/test_kl.py::test_k1_and_k3_are_unbiased_and_k2_is_not",
    },
    "reported KL averaged over tokens": {
        "story": "a per-token mean compared with papers that report a sum per sequence",
        "target": f"{LOSSES}.kl:sequence_kl",
        "old": "/ num_sequences",
        "new": "/ mask_BT.sum()",
        "caught_by": (
            f"{UNIT}/test_kl.py::test_sequence_kl_sums_over_tokens_and_averages_over_sequences"
        ),
    },
    "adaptive coefficient unclipped": {
        "story": "one bad batch multiplies beta",
        "target": f"{LOSSES}.kl:adapted_kl_coef",
        "old": "min(max(kl / target - 1.0, -0.2), 0.2)",
        "new": "kl / target - 1.0",
        "caught_by": f"{UNIT}/test_kl.py::test_adaptive_coefficient_matches_the_reference",
    },
    # --- rewards and advantages ---
    "score added to every token": {
        "story": "a broadcast instead of one position: long answers earn their score many times",
        "target": f"{LOSSES}.advantages:shape_rewards",
        "old": "rewards_BT.scatter_add(1, last_B1, score_B.unsqueeze(1).to(rewards_BT.dtype))",
        "new": "rewards_BT + score_B.unsqueeze(1) * mask_BT",
        "caught_by": (
            f"{UNIT}/test_advantages.py::test_the_score_stands_on_the_last_completion_token_alone"
        ),
    },
    "score one past EOS": {
        "story": "EOS + 1 where it fits: outside the mask, where no advantage sees it",
        "target": f"{LOSSES}.advantages:shape_rewards",
        "old": "last_position(mask_BT)",
        "new": "(last_position(mask_BT) + 1).clamp(max=mask_BT.shape[1] - 1)",
        "caught_by": (
            f"{UNIT}/test_advantages.py::test_the_score_stands_on_the_last_completion_token_alone"
        ),
    },
    "score on the last column": {
        "story": "right for fixed-length completions, lost in padding for all others",
        "target": f"{LOSSES}.advantages:last_position",
        "old": "torch.where(mask_BT, positions_T, -1).amax(dim=1)",
        "new": "positions_T[-1].expand(mask_BT.shape[0])",
        "caught_by": f"{UNIT}/test_advantages.py::test_last_position",
    },
    "KL added to the reward": {
        "story": "+beta: the policy is paid for leaving the reference",
        "target": f"{LOSSES}.advantages:shape_rewards",
        "old": "-beta * at_least",
        "new": "beta * at_least",
        "caught_by": f"{UNIT}/test_advantages.py::test_a_policy_that_leaves_the_reference_pays",
    },
    "KL penalty on the prompt": {
        "story": "the prompt's log-ratios are charged to the completion",
        "target": f"{LOSSES}.advantages:shape_rewards",
        "old": "torch.where(mask_BT, -beta * at_least_float32(kl_BT), 0.0)",
        "new": "-beta * at_least_float32(kl_BT)",
        "caught_by": (
            f"{UNIT}/test_advantages.py::test_rewards_sum_to_the_score_minus_the_kl_penalty"
        ),
    },
    "GAE bootstraps past the end": {
        "story": "the value at the last column flows into the last token's advantage",
        "target": f"{LOSSES}.advantages:gae",
        "old": "next_value_B = next_advantage_B = torch.zeros_like(values_BT[:, 0])",
        "new": (
            "next_value_B = values_BT[:, -1]; next_advantage_B = torch.zeros_like(next_value_B)"
        ),
        "caught_by": f"{UNIT}/test_advantages.py::test_gae_matches_the_reference",
    },
    "GAE reads values in padding": {
        "story": "the critic's opinion of a pad token becomes the next value of EOS",
        "target": f"{LOSSES}.advantages:gae",
        "old": "next_value_B = torch.where(counts_B, value_B, next_value_B)",
        "new": "next_value_B = value_B",
        "caught_by": (f"{UNIT}/test_advantages.py::test_gae_equals_the_double_sum_on_ragged_rows"),
    },
    "lambda without gamma": {
        "story": "A_t = delta + lam A_{t+1}: unseen while gamma is 1",
        "target": f"{LOSSES}.advantages:gae",
        "old": "gamma * lam * next_advantage_B",
        "new": "lam * next_advantage_B",
        "caught_by": (f"{UNIT}/test_advantages.py::test_gae_equals_the_double_sum_on_ragged_rows"),
    },
    "returns are the advantages": {
        "story": "the critic learns its own error",
        "target": f"{LOSSES}.advantages:gae",
        "old": "advantages_BT + values_BT",
        "new": "advantages_BT",
        "caught_by": f"{UNIT}/test_advantages.py::test_gae_matches_the_reference",
    },
    "EOS rule on the wrong rows": {
        "story": "completions that did end are the ones penalised",
        "target": f"{LOSSES}.advantages:apply_missing_eos",
        "old": "torch.where(has_eos_B, score_B, score_B - value)",
        "new": "torch.where(has_eos_B, score_B - value, score_B)",
        "caught_by": f"{UNIT}/test_advantages.py::test_missing_eos_rules",
    },
    # --- reward model ---
    "ties counted as pairs": {
        "story": "a tie becomes a win for whichever completion was listed first",
        "target": f"{LOSSES}.reward_model:ranking_pairs",
        "old": " if pair[0][0] != pair[1][0]]",
        "new": "]",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py::test_pairs_match_the_reference_and_ties_are_dropped"
        ),
    },
    "rank 1 is worst": {
        "story": "ranks read as scores: the reward model learns the opposite",
        "target": f"{LOSSES}.reward_model:ranking_pairs",
        "old": "sorted(pair)",
        "new": "sorted(pair, reverse=True)",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py::test_pairs_match_the_reference_and_ties_are_dropped"
        ),
    },
    "pairs across prompts": {
        "story": "indices not moved on: every prompt's pairs point at the first prompt",
        "target": f"{LOSSES}.reward_model:ranking_pairs",
        "old": "first += len(ranking)",
        "new": "first += 0",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py::test_loss_equals_the_double_loop_over_prompts_and_pairs"
        ),
    },
    "mean over all pairs of the batch": {
        "story": "a prompt with K = 9 weighs 36 times one with K = 2",
        "target": f"{LOSSES}.reward_model:ranking_loss",
        "old": "* pairs.weight_P).sum() / num_prompts",
        "new": ").mean()",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py::test_loss_equals_the_double_loop_over_prompts_and_pairs"
        ),
    },
    "equal scores count as right": {
        "story": "a reward model that says the same of everything is 100 % accurate",
        "target": f"{LOSSES}.reward_model:ranking_accuracy",
        "old": "(margin_P > 0)",
        "new": "(margin_P >= 0)",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py"
            "::test_accuracy_is_strict_over_the_pairs_that_people_did_not_tie"
        ),
    },
    "unguarded log of sigmoid": {
        "story": "log(sigmoid(x)) is -inf from x = -104 on, and its gradient nan",
        "target": f"{LOSSES}.reward_model:ranking_loss",
        "old": "F.logsigmoid(margins(scores_N, pairs))",
        "new": "margins(scores_N, pairs).sigmoid().log()",
        "caught_by": f"{UNIT}/test_ranking_loss.py::test_extreme_scores_stay_finite",
    },
    "bias with the wrong sign": {
        "story": "demonstrations end at twice their mean",
        "target": f"{LOSSES}.reward_model:reward_bias",
        "old": "-at_least_float32",
        "new": "at_least_float32",
        "caught_by": (
            f"{UNIT}/test_ranking_loss.py"
            "::test_the_bias_moves_demonstrations_to_mean_zero_and_orders_nothing_anew"
        ),
    },
    # --- PPO ---
    "optimistic clip": {
        "story": "the smaller of the two losses: nothing ever holds the policy back",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "torch.maximum(unclipped_BT, clipped_BT)",
        "new": "torch.minimum(unclipped_BT, clipped_BT)",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_policy_loss_matches_the_reference",
    },
    "ratio always clipped": {
        "story": "no maximum at all: bad moves past the clip cannot be undone",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "torch.maximum(unclipped_BT, clipped_BT)",
        "new": "clipped_BT",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_policy_loss_matches_the_reference",
    },
    "ratio upside down": {
        "story": "pi_old / pi",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "at_least_float32(logprobs_BT) - at_least_float32(old_logprobs_BT)",
        "new": "at_least_float32(old_logprobs_BT) - at_least_float32(logprobs_BT)",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_policy_loss_matches_the_reference",
    },
    "advantage sign dropped": {
        "story": "gradient ascent where descent was meant",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "unclipped_BT = -advantages_BT * ratio_BT",
        "new": "unclipped_BT = advantages_BT * ratio_BT",
        "caught_by": (
            f"{UNIT}/test_ppo_losses.py::test_first_minibatch_is_the_vanilla_policy_gradient"
        ),
    },
    "unguarded exp": {
        "story": "a log ratio of 1000 is inf, and inf times a zero advantage is nan",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "log_ratio_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()",
        "new": "log_ratio_BT.exp()",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_extreme_log_ratios_stay_finite",
    },
    "clip fraction counts every token": {
        "story": ">= instead of >: 100 % at the first minibatch",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "clipped_BT > unclipped_BT",
        "new": "clipped_BT >= unclipped_BT",
        "caught_by": (
            f"{UNIT}/test_ppo_losses.py::test_first_minibatch_is_the_vanilla_policy_gradient"
        ),
    },
    "policy loss averaged per microbatch": {
        "story": "DeepSpeed-Chat and others: the result depends on the split",
        "target": f"{LOSSES}.ppo:clipped_policy_loss",
        "old": "clipped_BT), mask_BT) / num_tokens",
        "new": "clipped_BT), mask_BT) / mask_BT.sum()",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_policy_microbatches_add_up_to_the_whole",
    },
    "value loss without its half": {
        "story": "the critic's learning rate is silently doubled",
        "target": f"{LOSSES}.ppo:clipped_value_loss",
        "old": "0.5 * torch.maximum",
        "new": "torch.maximum",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_value_loss_matches_the_reference",
    },
    "value clipped around the returns": {
        "story": "held near the target: the clipped error is at most the clip range",
        "target": f"{LOSSES}.ppo:clipped_value_loss",
        "old": "old_values_BT - clip, old_values_BT + clip",
        "new": "returns_BT - clip, returns_BT + clip",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_value_loss_matches_the_reference",
    },
    "optimistic value clip": {
        "story": "the smaller error: the critic stops learning where it is most wrong",
        "target": f"{LOSSES}.ppo:clipped_value_loss",
        "old": "torch.maximum(unclipped_BT, clipped_BT)",
        "new": "torch.minimum(unclipped_BT, clipped_BT)",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_value_loss_matches_the_reference",
    },
    "explained variance of the wrong thing": {
        "story": "divided by the variance of the predictions: a wild critic looks good",
        "target": f"{LOSSES}.ppo:explained_variance",
        "old": "masked_var(returns_BT, mask_BT)",
        "new": "masked_var(values_BT, mask_BT)",
        "caught_by": f"{UNIT}/test_ppo_losses.py::test_explained_variance",
    },
    # --- DPO ---
    "reference forgotten in DPO": {
        "story": "the chosen side is not compared with where it started",
        "target": f"{LOSSES}.dpo:dpo_loss",
        "old": " - at_least_float32(ref_chosen_logprobs_P)",
        "new": "",
        "caught_by": f"{UNIT}/test_dpo_losses.py::test_one_pair_worked_by_hand",
    },
    "chosen and rejected exchanged": {
        "story": "columns in the other order: the model learns what people disliked",
        "target": f"{LOSSES}.dpo:dpo_loss",
        "old": "beta * (chosen_P - rejected_P)",
        "new": "beta * (rejected_P - chosen_P)",
        "caught_by": (
            f"{UNIT}/test_dpo_losses.py::test_gradient_raises_the_chosen_and_lowers_the_rejected"
        ),
    },
    "smoothing on the right labels": {
        "story": "the believed share of flipped labels weighs the right ones",
        "target": f"{LOSSES}.dpo:dpo_loss",
        "old": "(1 - label_smoothing) * right_P + label_smoothing * flipped_P",
        "new": "label_smoothing * right_P + (1 - label_smoothing) * flipped_P",
        "caught_by": f"{UNIT}/test_dpo_losses.py::test_dpo_equals_loops_in_plain_floats",
    },
    "pairs of a ranking not weighted": {
        "story": "36 pairs of one prompt drown the prompts that have one",
        "target": f"{LOSSES}.dpo:dpo_loss",
        "old": "(loss_P * weight_P).sum()",
        "new": "loss_P.sum()",
        "caught_by": (
            f"{UNIT}/test_dpo_losses.py::test_a_ranking_of_k_completions_counts_as_one_prompt"
        ),
    },
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_bug_is_caught(name: str, assert_caught: Callable[[Mapping[str, str]], None]) -> None:
    assert_caught(MUTANTS[name])
