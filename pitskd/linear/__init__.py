"""Convex students and the solvers that fit whole grids of them."""
