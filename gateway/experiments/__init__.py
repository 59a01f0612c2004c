"""What experiments are: values that serving, learning and proof share."""
