"""The use-cases: one file for each question that a reader asks."""
