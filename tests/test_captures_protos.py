"""The generated messages are those of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from trainer.captures.protos import a_r_capture_metadata_pb2, annotation_data_pb2, example_pb2, object_pb2
from trainer.captures.protos.a_r_capture_metadata_pb2 import ARCamera, ARPlaneAnchor
from trainer.captures.protos.example_pb2 import FloatList

ROOT = Path(__file__).parent.parent


def test_generated_modules_have_the_descriptors_of_the_sources(tmp_path: Path) -> None:
    sources = sorted(file.relative_to(ROOT) for file in (ROOT / "trainer/captures/protos").glob("*.proto"))
    assert len(sources) == 4
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={tmp_path / 'set'}"]
    subprocess.run([*command, *map(str, sources)], cwd=ROOT, check=True)
    compiled = {file.name: file for file in FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file}
    for module in (annotation_data_pb2, object_pb2, a_r_capture_metadata_pb2, example_pb2):
        generated = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(generated)
        source = compiled[generated.name]
        for file in (source, generated):
            for message in file.message_type:
                _forget_json_names(message)
        assert generated == source


def _forget_json_names(message) -> None:
    """The compiler spells them out, the runtime derives them."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def test_repeated_floats_read_packed_and_unpacked() -> None:
    values = bytes.fromhex("0000803f 00000040")  # 1.0, 2.0
    packed, unpacked = b"\x08" + values, (values[:4], values[4:])
    for message, field, number in (
        (ARCamera, "intrinsics", 7),
        (ARPlaneAnchor, "transform", 2),
        (FloatList, "value", 1),
    ):
        one_by_one = b"".join(bytes([number << 3 | 5]) + value for value in unpacked)
        for data in (bytes([number << 3 | 2]) + packed, one_by_one):
            assert list(getattr(message.FromString(data), field)) == [1.0, 2.0]


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    known = ARCamera(image_resolution_width=1920).SerializeToString()
    tags = {0: b"\x05", 1: b"\0" * 8, 2: b"\x03abc", 5: b"\0" * 4}
    unknown = b"".join(bytes([0x80 | (100 << 3 & 0x7F) | wire, 100 >> 4]) + value for wire, value in tags.items())
    assert ARCamera.FromString(unknown + known).image_resolution_width == 1920
