"""Operations for async callers that are batched across requests (group commit)."""
