"""What users add to the index: its file, its frames in memory, and the routes.

``file`` opens the SQLite database, ``store`` is what is in it, ``records`` the types of both; ``followed`` keeps its
frames in memory, ``keep`` is what is kept of a picture, ``enrol`` and ``catalogue`` answer the ``routes``.
"""
