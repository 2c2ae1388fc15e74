"""How results are judged and shown: scores, comparisons, figures and similarity."""
