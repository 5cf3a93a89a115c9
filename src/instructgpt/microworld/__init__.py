"""The embedded default: a generated bilingual world, its tasks, and the gold score behind its labelers."""
