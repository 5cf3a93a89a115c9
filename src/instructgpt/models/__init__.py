"""Any causal language model of `transformers`, in the four roles of RLHF."""
