"""Object detection with MMDetection: data, heads, cost, training tools. Importing a module here needs mmdet."""
