"""What a search leaves for people: the report, its plots, the best cells."""
