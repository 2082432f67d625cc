"""Proofs that nothing is lost, stuck, or final twice, whatever fails. See ``invariants``."""
