"""What SVGe (`search.encoders.svge.model`) is measured by: tables of measures, smoothness, optimisation and extrapolation."""
