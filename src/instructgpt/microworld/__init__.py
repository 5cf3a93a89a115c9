"""The embedded default: a generated bilingual world, its tasks, and its labelers' gold score."""
