"""A recipe's stages in order: what is done and unchanged is skipped."""
