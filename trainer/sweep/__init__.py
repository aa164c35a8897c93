"""Trains and evaluates the rows of the paper's tables under one budget."""
