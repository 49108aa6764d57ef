"""Encoders: their architectures and weights, their features, and the probes that read these."""
