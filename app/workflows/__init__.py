"""What a workflow says: its graph, its references to results, a Celery canvas written as one. No database."""
