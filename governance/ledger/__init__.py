"""The ledger: a Merkle log after RFC 6962 and C2SP of every transaction of the product, and the proofs of it."""
