"""Results for people: tables, figures, pictures, one HTML page, and the check of published numbers."""
