"""Looks where nobody thought: calls, surroundings and surfaces that chance has drawn.

``calls`` draws jobs, and what happens to their workers; ``test_surroundings`` names places for workers.
"""
