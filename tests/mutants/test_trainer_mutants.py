"""The field's historical bugs around the mathematics, put in one at a time: each must be caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

MODELS = "instructgpt.models"
PADDING_FREE = "unit/models/test_padding_free.py"
PPO = "instructgpt.training.ppo:PPOTrainer"
STEP = "mutants/test_ppo_step.py"
TRAINING = "instructgpt.training"
UPDATE = "unit/training/test_update.py"

MUTANTS = {
    # --- models ---
    "temperature forgotten by the policy": {
        "story": "the log-probs are right, the caller's temperature never reaches them",
        "target": f"{MODELS}.causal_lm:CausalLM._predict",
        "old": "temperature,\n            self._logit_rows",
        "new": "1.0,\n            self._logit_rows",
        "caught_by": (
            "unit/models/test_causal_lm.py::test_logprobs_equal_the_models_own_logits_row_by_row"
        ),
    },
    "log-probs of the next token": {
        "story": "hidden state t paired with token t: every token predicted by itself",
        "target": f"{MODELS}.trainable:TrainableModel.states_before",
        "old": "batch.predicted_BT[:, 1:]",
        "new": "batch.predicted_BT[:, 1:].roll(1, 1)",
        "caught_by": (
            "unit/models/test_causal_lm.py::test_logprobs_equal_the_models_own_logits_row_by_row"
        ),
    },
    "EOS outside the completion's mask": {
        "story": "the last token taken for padding: EOS has no log-prob, no reward, no loss",
        "target": f"{MODELS}.batch:TokenBatch.from_completions",
        "old": "[True] * len(c)",
        "new": "[True] * (len(c) - 1) + [False]",
        "caught_by": "unit/models/test_batch.py::test_completions_are_masked_and_right_padded",
    },
    "score read in the padding": {
        "story": "the head at the last column: a score of padding for all but the longest row",
        "target": f"{MODELS}.scalar_model:ScalarModel.scores",
        "old": "batch.lengths_B[:, None] - 1",
        "new": "batch.lengths_B.max().expand(batch.lengths_B.shape)[:, None] - 1",
        "caught_by": f"{STEP}::test_the_score_of_a_completion_does_not_depend_on_its_neighbours",
    },
    "positions run on into the next row": {
        "story": "rows side by side, and the second begins at the position where the first ends",
        "target": f"{MODELS}.padding_free:RowLayout.__init__",
        "old": " - starts_B.repeat_interleave(lengths_B)",
        "new": "",
        "caught_by": (f"{PADDING_FREE}::test_logprobs_and_gradients_are_those_of_each_row_alone"),
    },
    "padding has gradients": {
        "story": "what stands behind a row's end for attention hands its keys a gradient",
        "target": f"{MODELS}.padding_free:_Gather.backward",
        "old": "grad if ctx.real is None else grad.mul_(ctx.real)",
        "new": "grad",
        "caught_by": f"{PADDING_FREE}::test_attention_is_that_of_each_row_alone",
    },
    "reward bias forgotten": {
        "story": "the bias is part of the checkpoint and of no score",
        "target": f"{MODELS}.scalar_model:ScalarModel.scores",
        "old": "self._apply_head(last_BD) + self.bias",
        "new": "self._apply_head(last_BD)",
        "caught_by": (
            "unit/models/test_scalar_model.py::test_score_is_what_transformers_says_plus_the_bias"
        ),
    },
    "value that has read its token": {
        "story": "values not shifted: the baseline depends on the action",
        "target": f"{MODELS}.scalar_model:ScalarModel.values",
        "old": "self.states_before(self.model.base_model, batch)",
        "new": (
            "self.states_at(self.model.base_model, batch.token_ids_BT, batch.lengths_B, "
            "batch.predicted_BT)"
        ),
        "caught_by": (
            "unit/models/test_scalar_model.py"
            "::test_value_before_a_token_does_not_see_it_and_the_score_does"
        ),
    },
    # --- the update ---
    "gradients averaged per microbatch": {
        "story": "loss / number of microbatches on top of the global count",
        "target": f"{TRAINING}.update:Update.__call__",
        "old": "torch.autograd.backward(loss)",
        "new": "torch.autograd.backward(loss / len(microbatches))",
        "caught_by": f"{UPDATE}::test_the_split_into_microbatches_changes_nothing",
    },
    "second group overwrites the first": {
        "story": "zero_grad between the PPO and the pretraining gradient",
        "target": f"{TRAINING}.update:Update.__call__",
        "old": "before = self._snapshot() if apart else []",
        "new": "before = []; [setattr(p, 'grad', None) for p in self.optimizer.parameters]",
        "caught_by": f"{UPDATE}::test_groups_add_up_in_the_same_buffers",
    },
    "non-finite gradient steps anyway": {
        "story": "only the loss is looked at: one infinite slope ruins every weight",
        "target": f"{TRAINING}.update:Update.__call__",
        "old": "if not math.isfinite(norm):",
        "new": "if False:",
        "caught_by": f"{UPDATE}::test_a_non_finite_step_moves_nothing",
    },
    "gradients never clipped": {
        "story": "the norm is computed, logged, and not used",
        "target": f"{TRAINING}.update:Update.__call__",
        "old": "if norm > self.max_grad_norm:",
        "new": "if False:",
        "caught_by": f"{UPDATE}::test_clipping_scales_the_whole_gradient",
    },
    "maxima summed over microbatches": {
        "story": "a largest ratio of 9 that no token ever had",
        "target": f"{TRAINING}.update:_add",
        "old": 'elif name.endswith("_max"):',
        "new": "elif False:",
        "caught_by": f"{UPDATE}::test_the_split_into_microbatches_changes_nothing",
    },
    "average with its weights exchanged": {
        "story": "0.992 of the new weights: the average is the last step",
        "target": f"{TRAINING}.optimizer:MovingAverage.update",
        "old": "1 - self.decay",
        "new": "self.decay",
        "caught_by": (
            "unit/training/test_optimizer.py::test_moving_average_has_the_published_memory"
        ),
    },
    "cosine to zero": {
        "story": "the paper's schedule ends at 10 % of the peak",
        "target": f"{TRAINING}.optimizer:lr_factor",
        "old": "1.0 - (1.0 - config.final_lr_ratio) * fall",
        "new": "1.0 - fall",
        "caught_by": (
            "unit/training/test_optimizer.py::test_cosine_falls_to_ten_percent_as_published"
        ),
    },
    # --- the PPO step ---
    "PPO ratio at temperature 1": {
        "story": "old log-probs at the sampling temperature, new ones without",
        "target": f"{PPO}._policy_loss",
        "old": "self.policy.logprobs(tokens, self.config.sampling.temperature)",
        "new": "self.policy.logprobs(tokens)",
        "caught_by": f"{STEP}::test_the_first_ratio_is_one_and_the_first_kl_zero",
    },
    "reference at temperature 1": {
        "story": "the KL is not zero where policy and reference are the same",
        "target": f"{PPO}._look",
        "old": "self.reference.logprobs(tokens, temperature)",
        "new": "self.reference.logprobs(tokens)",
        "caught_by": f"{STEP}::test_the_first_ratio_is_one_and_the_first_kl_zero",
    },
    "dropout left on": {
        "story": "policy in training mode: every ratio is noise",
        "target": f"{PPO}._look",
        "old": "self.policy.model.eval()",
        "new": "self.policy.model.train()",
        "caught_by": f"{STEP}::test_the_first_ratio_is_one_and_the_first_kl_zero",
    },
    "policy is its own reference": {
        "story": "the reference shares the policy's weights: the KL is 0 for ever",
        "target": f"{PPO}._look",
        "old": "self.reference.logprobs",
        "new": "self.policy.logprobs",
        "caught_by": f"{STEP}::test_metrics_are_those_of_the_completion_tokens",
    },
    "unmasked entropy": {
        "story": "TRL's entropy and KL went over prompts and padding",
        "target": f"{PPO}._metrics",
        "old": "masked_mean(batch.entropy_BT, mask_BT)",
        "new": "batch.entropy_BT.mean()",
        "caught_by": f"{STEP}::test_metrics_are_those_of_the_completion_tokens",
    },
    "returns from whitened advantages": {
        "story": "the critic learns values of a scale that changes with every batch",
        "target": f"{PPO}._set_advantages",
        "old": "advantages_BT = masked_whiten(advantages_BT, mask_BT)",
        "new": (
            "advantages_BT = masked_whiten(advantages_BT, mask_BT);"
            " batch.returns_BT = advantages_BT + batch.values_BT"
        ),
        "caught_by": f"{STEP}::test_returns_come_from_advantages_before_whitening",
    },
    "whitened rewards lose their mean": {
        "story": "shift_mean left on for rewards: the sign of the score is gone",
        "target": f"{PPO}._set_advantages",
        "old": "shift_mean=False",
        "new": "shift_mean=True",
        "caught_by": f"{STEP}::test_whitened_rewards_keep_their_mean",
    },
    "PPO loss per microbatch": {
        "story": "each microbatch divided by its own tokens",
        "target": f"{PPO}._policy_loss",
        "old": "num_tokens,\n",
        "new": "int(tokens.mask_BT.sum()),\n",
        "caught_by": f"{STEP}::test_the_split_into_microbatches_changes_nothing",
    },
    "critic loss per microbatch": {
        "story": "the same, where nobody looks",
        "target": f"{PPO}._value_loss",
        "old": "num_tokens,\n",
        "new": "int(tokens.mask_BT.sum()),\n",
        "caught_by": f"{STEP}::test_the_split_into_microbatches_changes_nothing",
    },
    "ptx coefficient ignored": {
        "story": "gamma is read from the settings and multiplied with nothing",
        "target": f"{PPO}._ptx_microbatches",
        "old": "coef=self.config.ptx_coef",
        "new": "coef=1.0",
        "caught_by": f"{STEP}::test_ptx_adds_gamma_times_the_pretraining_gradient",
    },
    "the same pretraining rows at every update": {
        "story": "the stream restarts each time: the tax is measured on four sentences",
        "target": f"{PPO}._ptx_microbatches",
        "old": "self.ptx_stream.indices(update * self.ptx_rows, self.ptx_rows)",
        "new": "self.ptx_stream.indices(0, self.ptx_rows)",
        "caught_by": f"{STEP}::test_every_update_reads_fresh_pretraining_rows",
    },
    "critic never restored": {
        "story": "TRL, OpenRLHF: the critic is missing from the checkpoint",
        "target": f"{PPO}.load_state_dict",
        "old": 'self.critic.load_state_dict(state["critic"])',
        "new": "pass",
        "caught_by": f"{STEP}::test_resumed_equals_uninterrupted",
    },
    "critic's optimizer never restored": {
        "story": "Adam starts cold after every interruption",
        "target": f"{PPO}.load_state_dict",
        "old": 'self.critic_optimizer.load_state_dict(state["critic_optimizer"])',
        "new": "pass",
        "caught_by": f"{STEP}::test_resumed_equals_uninterrupted",
    },
    "average never restored": {
        "story": "the exported model forgets everything before the interruption",
        "target": f"{PPO}.load_state_dict",
        "old": 'self.average.load_state_dict(state["average"])',
        "new": "pass",
        "caught_by": f"{STEP}::test_resumed_equals_uninterrupted",
    },
    "adaptive KL coefficient never restored": {
        "story": "beta jumps back to its start",
        "target": f"{PPO}.load_state_dict",
        "old": 'self.kl.load_state_dict(state["kl"])',
        "new": "pass",
        "caught_by": f"{STEP}::test_resumed_equals_uninterrupted",
    },
    "the same random numbers in every iteration": {
        "story": "a seed that does not depend on the step: 8 prompts, 8 answers, for ever",
        "target": f"{PPO}._sample",
        "old": "keys=[first + e for e in episodes]",
        "new": "keys=episodes",
        "caught_by": f"{STEP}::test_every_episode_has_random_numbers_of_its_own",
    },
    "minibatches drawn with replacement": {
        "story": "a third of the episodes is never learned from",
        "target": f"{TRAINING}.experience:Experience.minibatches",
        "old": "torch.randperm(self.size, generator",
        "new": "torch.randint(self.size, (self.size,), generator",
        "caught_by": f"{STEP}::test_each_epoch_uses_each_episode_once",
    },
    "missing EOS rewarded": {
        "story": "the fixed score loses its minus: running on is the best policy",
        "target": f"{PPO}._missing_eos_value",
        "old": "return -value if",
        "new": "return value if",
        "caught_by": f"{STEP}::test_a_missing_eos_costs_what_the_rule_says",
    },
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_bug_is_caught(name: str, assert_caught: Callable[[Mapping[str, str]], None]) -> None:
    assert_caught(MUTANTS[name])
