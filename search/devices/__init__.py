"""Candidates on a device and their milliseconds back: files and scripts, times as read, a predictor of those not measured."""
