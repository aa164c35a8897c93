"""What must be the same when the index is written and when it is read: contract, geometry, encoder, store."""
