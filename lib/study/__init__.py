"""What the runs of a study say together, read from its summary.csv, and what others published."""
