"""Tasks of the team that sends invoices."""
