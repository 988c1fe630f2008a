"Files to stores to batches."
