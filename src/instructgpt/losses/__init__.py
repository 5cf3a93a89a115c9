"""The paper layer: tensors in, ``(loss, metrics)`` or tensors out; torch and nothing else.

    language_model   -log p of the counted tokens             pretrain, sft, and eq. 2's gamma term
    reward_model     ranking loss over all pairs, mean-0 bias Ouyang et al. 2022, eq. 1 and sec. 3.5
    kl               k1, k2, k3; adaptive coefficient         eq. 2's beta term
    advantages       per-token rewards, GAE, missing EOS      eq. 2; Schulman et al. 2016
    ppo              clipped policy and value losses          Schulman et al. 2017
    dpo              sigmoid, conservative and IPO losses     Rafailov et al. 2023
    logprobs, masked what all of them stand on

Position t describes token t. A mask has one polarity: True counts (completion tokens and their
EOS). Sums are divided by a global count passed in, so that microbatches, padding and processes
cannot change a result, and metrics of microbatches add up (those named ``*_max`` by maximum).
"""
