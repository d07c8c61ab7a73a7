"""Data sets by name, and the endless, repeatable stream of training batches."""
