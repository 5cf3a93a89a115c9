"""Who ranks completions, and how far judges agree."""
