"""A small benchmark of cells: trained until their curves are flat, to test proxies and predictors on."""
