"""Measurements of the whole: repeated by one command each."""
