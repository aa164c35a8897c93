"""Messages of Objectron's annotations and of TFRecord examples.

The ``*_pb2.py`` and ``*_pb2.pyi`` files are generated. From the repository's root::

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. trainer/captures/protos/*.proto
"""
