"""Building blocks that every other package uses: settings, security primitives, logging, redaction, metrics."""
