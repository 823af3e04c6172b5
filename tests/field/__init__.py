"""Real objects of many libraries."""
