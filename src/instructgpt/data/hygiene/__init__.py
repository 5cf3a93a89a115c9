"""What is removed before anybody learns from it, and why (paper 3.2 and A.2). One file per idea."""
