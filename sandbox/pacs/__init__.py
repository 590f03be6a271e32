"""The sandbox PACS: DICOMweb storage, search and retrieval (PS3.18), and pages that show what is stored."""
