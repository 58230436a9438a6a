"""What is kept, and what is shown of it? Run records, their tables, pages and reports."""
