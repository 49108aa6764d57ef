"""Metrics of predictions, and how sure they are: bootstrap, seeds and folds, calibration."""
