"""Strings to token ids and back: tokenizers, chat templates with a loss mask, rows."""
