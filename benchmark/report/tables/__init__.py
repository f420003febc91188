"""Tables from run records, written as CSV, Markdown and LaTeX."""
