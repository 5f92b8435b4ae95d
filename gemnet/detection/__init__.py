"""Object detection with MMDetection: data, heads, cost, training tools. What reads annotations works without it."""
