"""Ratios measured side by side; a package, so that its fixtures are no test file's `conftest`."""
