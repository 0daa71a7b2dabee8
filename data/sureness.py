"""How surely something is said, by the probability of the likeliest class."""

#: Below the first it is unsure, from the second on sure.
UNSURE, SURE = 0.4, 0.6


def sureness(probability: float) -> str:
    """ "unsure", "probably" or "sure"."""
    return "unsure" if probability < UNSURE else "sure" if probability >= SURE else "probably"
