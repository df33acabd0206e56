"""Protocols, paired comparisons, reports and figures."""
