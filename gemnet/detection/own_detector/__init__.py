"""A detector of one's own objects: settings from data and machine, training within a time, a test, a report, predictions."""
