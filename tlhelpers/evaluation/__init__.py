"""How results are judged and shown: scores, comparisons, figures, similarity and losses."""
