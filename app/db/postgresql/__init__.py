"""SQL that PostgreSQL alone understands, behind functions named by what they do."""
