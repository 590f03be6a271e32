"""Segmentation models, how they are trained, applied and measured."""
