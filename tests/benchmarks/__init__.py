"""Measurements against peers. Not tests: each is a script that prints its figures; CI leaves them out."""
