"""Adapters of the image archive port."""
