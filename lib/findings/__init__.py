"""Sentences and tables built from results; no number in a report is typed."""
