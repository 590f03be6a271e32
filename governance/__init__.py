"""What may happen, and proof of what did."""
