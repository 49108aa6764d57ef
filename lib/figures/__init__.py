"""Figures: each takes data and returns a matplotlib Figure; no pyplot state."""
