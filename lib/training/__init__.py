"""Training an encoder: contrastive or on labels, on one process or several, cut off or not."""
