"""What a loop has done, and what follows from it: which model is served, what is being compared."""
