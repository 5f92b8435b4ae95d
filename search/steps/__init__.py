"""The steps of a search in parts: before it, its encoder, its candidates, its first round."""
