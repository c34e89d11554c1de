"""align: from a base model to an aligned one, in one recipe."""

__version__ = "0.1.0"
