"""Transfer: frozen features, fine-tuning, training from scratch, and the runs they give."""
