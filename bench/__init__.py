"""Performance, side by side with well-known libraries; never a timed test."""
