"""Where labels come from: tasks, judges, and the store that remembers who said what."""
