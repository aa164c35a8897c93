from trainer.captures.protos import a_r_capture_metadata_pb2 as _a_r_capture_metadata_pb2
from trainer.captures.protos import object_pb2 as _object_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NormalizedPoint2D(_message.Message):
    __slots__ = ("x", "y", "depth")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    depth: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., depth: _Optional[float] = ...) -> None: ...

class Point3D(_message.Message):
    __slots__ = ("x", "y", "z")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class AnnotatedKeyPoint(_message.Message):
    __slots__ = ("id", "point_3d", "point_2d")
    ID_FIELD_NUMBER: _ClassVar[int]
    POINT_3D_FIELD_NUMBER: _ClassVar[int]
    POINT_2D_FIELD_NUMBER: _ClassVar[int]
    id: int
    point_3d: Point3D
    point_2d: NormalizedPoint2D
    def __init__(self, id: _Optional[int] = ..., point_3d: _Optional[_Union[Point3D, _Mapping]] = ..., point_2d: _Optional[_Union[NormalizedPoint2D, _Mapping]] = ...) -> None: ...

class ObjectAnnotation(_message.Message):
    __slots__ = ("object_id", "keypoints", "visibility")
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_FIELD_NUMBER: _ClassVar[int]
    object_id: int
    keypoints: _containers.RepeatedCompositeFieldContainer[AnnotatedKeyPoint]
    visibility: float
    def __init__(self, object_id: _Optional[int] = ..., keypoints: _Optional[_Iterable[_Union[AnnotatedKeyPoint, _Mapping]]] = ..., visibility: _Optional[float] = ...) -> None: ...

class FrameAnnotation(_message.Message):
    __slots__ = ("frame_id", "annotations", "camera", "timestamp", "plane_center", "plane_normal")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PLANE_CENTER_FIELD_NUMBER: _ClassVar[int]
    PLANE_NORMAL_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    annotations: _containers.RepeatedCompositeFieldContainer[ObjectAnnotation]
    camera: _a_r_capture_metadata_pb2.ARCamera
    timestamp: float
    plane_center: _containers.RepeatedScalarFieldContainer[float]
    plane_normal: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, frame_id: _Optional[int] = ..., annotations: _Optional[_Iterable[_Union[ObjectAnnotation, _Mapping]]] = ..., camera: _Optional[_Union[_a_r_capture_metadata_pb2.ARCamera, _Mapping]] = ..., timestamp: _Optional[float] = ..., plane_center: _Optional[_Iterable[float]] = ..., plane_normal: _Optional[_Iterable[float]] = ...) -> None: ...

class Sequence(_message.Message):
    __slots__ = ("objects", "frame_annotations")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FRAME_ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[_object_pb2.Object]
    frame_annotations: _containers.RepeatedCompositeFieldContainer[FrameAnnotation]
    def __init__(self, objects: _Optional[_Iterable[_Union[_object_pb2.Object, _Mapping]]] = ..., frame_annotations: _Optional[_Iterable[_Union[FrameAnnotation, _Mapping]]] = ...) -> None: ...
