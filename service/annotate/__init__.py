"""Annotating captures: what a person says of the ground and the objects in them, kept in each one's ``capture.json``.

An app of its own, which runs where it is asked for: ``python -m service annotate <captures>``.
"""
