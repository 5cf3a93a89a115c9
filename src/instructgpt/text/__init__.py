"""Strings <-> token ids: tokenizer policy, the one chat renderer, packing."""
