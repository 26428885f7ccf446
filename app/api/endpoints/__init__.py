"""One module per resource. An endpoint parses the request, calls one service method and returns the answer."""
