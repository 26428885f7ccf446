"""What every room needs: settings, security primitives, metrics."""
