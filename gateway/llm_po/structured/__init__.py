"""Linear Bradley-Terry: features, fit, optimal proportions, stopping rule and its check."""
