"""Loops that keep the store up to date with what runs elsewhere."""
