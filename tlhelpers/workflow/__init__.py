"""A folder of photographs: looked at, divided, learnt from, judged, exported and predicted with."""
