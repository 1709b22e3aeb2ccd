"""Saves, lists, verifies, prunes, from the admin's machine; the data half of a restore."""
