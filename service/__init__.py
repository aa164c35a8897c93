"""The online side: a FastAPI app around a plain-Python engine."""
