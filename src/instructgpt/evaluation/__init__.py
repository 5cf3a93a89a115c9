"""Is the model better? Win rates with intervals, task metrics, alignment tax, and the report."""
