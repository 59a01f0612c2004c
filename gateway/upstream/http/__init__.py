"""Connections to providers: HTTP/1.1 and HTTP/2 behind one transport."""
