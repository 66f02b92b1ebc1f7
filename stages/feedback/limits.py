"""The numbers a quantile may be: apart, so that checking tags does not load the array libraries."""

FEWEST, MOST = 2, 10
"""How many quantiles a pool may be cut into."""

NOT_MENTIONED = -1
"""In a quantile vector: this attribute has no part in the tag."""
