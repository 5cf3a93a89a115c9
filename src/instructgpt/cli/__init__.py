"""The command line: verbs over the rooms below; the only place that prints."""
