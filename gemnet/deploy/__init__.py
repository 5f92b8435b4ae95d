"""A trained network as a file for deployment, and its int8 form."""
