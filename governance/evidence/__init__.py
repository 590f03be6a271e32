"""The bundle for an external audit: evidence, proofs, policies, acts and the verifier, in one signed archive."""
