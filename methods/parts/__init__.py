"""The building blocks of methods; no part depends on a method."""
