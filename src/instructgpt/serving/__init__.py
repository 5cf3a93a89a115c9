"""Talking to a model: in the terminal today, over HTTP next."""
