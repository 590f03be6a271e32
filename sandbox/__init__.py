"""The pretend hospital: an EHR, a PACS and patients to try the product with.

Its servers are separate processes that speak FHIR and DICOMweb. They share no code with the product, so what works
against them works for the reason the standards give. Nothing imports this package.
"""
