"""The processes of a running instrument and what passes between them."""
