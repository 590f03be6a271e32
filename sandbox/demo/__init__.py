"""The demo: a pretend hospital and the product as real processes, one patient's MRI, and the whole loop."""
