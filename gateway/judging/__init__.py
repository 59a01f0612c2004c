"""What a judge says of two answers: shared by offline runs and by the judge beside live traffic."""
