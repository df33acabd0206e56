"""Networks of students and teachers: builders, and the means to look inside and to run many as one."""

from pitskd.models.networks import GRU, MLP, TCN, Autoencoder

__all__ = ["MLP", "GRU", "TCN", "Autoencoder"]
