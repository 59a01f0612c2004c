"""What users say, counted, planned with and decided on."""
