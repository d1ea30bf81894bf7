"""Handlers to read and to start from; each shows one thing. README.md says how to start them."""
