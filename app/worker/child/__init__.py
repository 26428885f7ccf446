"""A pool child: claims the record that a message names, runs the body and writes how the attempt ended."""
