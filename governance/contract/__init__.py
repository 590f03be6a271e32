"""The consortium's contract, written in Vyper: what institutions anchor, release and halt together on a chain."""
