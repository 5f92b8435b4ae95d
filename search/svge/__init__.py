"""What SVGe (`search.embedding.svge`) is measured by: tables of measures, smoothness, optimisation and extrapolation."""
