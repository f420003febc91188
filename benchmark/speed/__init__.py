"""How fast methods train and predict, measured side by side."""
