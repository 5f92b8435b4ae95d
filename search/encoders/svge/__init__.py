"""SVGe, the smooth two-sided variational graph autoencoder, on any space of labelled graphs."""
