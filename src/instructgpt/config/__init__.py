"""One typed config per stage, read from YAML and flags; importing this room never imports torch."""
