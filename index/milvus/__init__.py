"""An index in Milvus: past one machine's memory, and for many services at once. Versions are those of ``index.store``.

A version is two collections; an alias names the current one, and is exchanged in one step::

    <name>                              alias of the current version's frames
    <name>_<version>                    a frame a row: row, id, category, object_id, frame (JSON: what else index.table
                                        has), vector (d) and, where the encoder has an identity map, identity (e)
    <name>_<version>_files              what else a version is: files in pieces, key -> data (base 85):
        manifest.json                   as index.store has it
        encoder/...                     the encoder's artefact directory
        census.parquet, outline.parquet     index.contents
        thumbnails/<row>.jpg

A version is written as ``<name>_<version>_draft``, counted, and renamed: under its own name it is complete. Whoever has
the address has everything: a service needs no folder beside it. One at a time writes: see ``index.milvus.lease``.
"""

from __future__ import annotations

from index.milvus.store import MilvusStore

__all__ = ["MilvusStore"]
