"""One module per resource. A body parses, calls one service method, returns."""
