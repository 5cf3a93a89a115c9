"""Stages and the one loop that drives them: a trainer knows the algorithm, the runner the world."""
