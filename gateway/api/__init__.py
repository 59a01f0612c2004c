"""HTTP only: parse a request, call one room, shape the reply."""
