"""What rows and images become: summaries, tables, figures, pictures, a page."""
