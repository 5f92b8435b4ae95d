"""What makes the tables and figures of docs/. Nothing but tools imports it."""
