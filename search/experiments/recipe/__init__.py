"""The recipe: kinds of cell at equal MACs, trained with several initialisations, residuals, learning rates and width rules."""
