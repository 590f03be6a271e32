"""Archived DICOM series to volumes, and masks and measurements back to DICOM SEG and SR."""
