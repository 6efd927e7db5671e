"""What runs are made into: records, figures, charts and a live view."""
