"""Where the bytes of files and artifacts are: a directory, or a bucket of S3 (docs/adr/0061)."""
