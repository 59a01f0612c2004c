"""What the gateway says of itself: a closed set of events, told to a list of hooks."""
