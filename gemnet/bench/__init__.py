"""How fast models are, where their time goes, and how good classifiers are beside each other."""
