"""The protocols: what an encoder is worth at probes, few labels, transfer, search and grading."""
