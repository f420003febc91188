"""Checks by simulation that intervals cover as often as they say, and that tests find nothing where nothing is."""
