"""What a datum is, how it is read and how it is divided; no torch in this room."""
