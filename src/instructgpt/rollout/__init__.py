"""Completions from token ids: continuous batching over any causal language model.

types            SamplingParams in, Rollout out, EngineStats for the time table
engine           Engine: the one way to generate, for training, evaluation and serving
live_batch       LiveBatch: requests that come and go while others run, for servers
slow_engine      SlowEngine: the same answers by full forward passes, the oracle of the tests
requests         what is asked, checked once; completions: when a completion ends
sampling         random numbers that belong to a request, inverse CDF for a whole batch
scheduler        who sits in which slot (pure Python); kv_cache: the slots themselves
*_decoder        three ways to run the model, fastest first: slots, lockstep, plain
compatibility    which of them a model can take, decided by looking and by measuring
"""
