"""Networks: pre-trained backbones and the ones the chapters build."""
