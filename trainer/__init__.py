"""The offline side: captures in, encoder and index out."""
