"""Studies in batch: a params file becomes a plan, the plan runs, the runs become a report."""
