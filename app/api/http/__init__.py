"""The HTTP layer: middleware, problem documents, paging, entity tags, event streams and the fast path."""
