"""Whether pretrained weights help: networks from scratch and from weights, on the same images with the same recipe."""
