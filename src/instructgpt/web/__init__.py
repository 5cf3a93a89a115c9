"""What every server of this program does before and around its own application."""
