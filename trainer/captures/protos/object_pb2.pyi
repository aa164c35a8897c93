from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyPoint(_message.Message):
    __slots__ = ("x", "y", "z", "confidence_radius", "name", "hidden")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_RADIUS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    confidence_radius: float
    name: str
    hidden: bool
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ..., confidence_radius: _Optional[float] = ..., name: _Optional[str] = ..., hidden: _Optional[bool] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("id", "category", "type", "rotation", "translation", "scale", "keypoints", "method")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNDEFINED_TYPE: _ClassVar[Object.Type]
        BOUNDING_BOX: _ClassVar[Object.Type]
        SKELETON: _ClassVar[Object.Type]
        MESH: _ClassVar[Object.Type]
    UNDEFINED_TYPE: Object.Type
    BOUNDING_BOX: Object.Type
    SKELETON: Object.Type
    MESH: Object.Type
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN_METHOD: _ClassVar[Object.Method]
        ANNOTATION: _ClassVar[Object.Method]
        AUGMENTATION: _ClassVar[Object.Method]
    UNKNOWN_METHOD: Object.Method
    ANNOTATION: Object.Method
    AUGMENTATION: Object.Method
    ID_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    id: int
    category: str
    type: Object.Type
    rotation: _containers.RepeatedScalarFieldContainer[float]
    translation: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    keypoints: _containers.RepeatedCompositeFieldContainer[KeyPoint]
    method: Object.Method
    def __init__(self, id: _Optional[int] = ..., category: _Optional[str] = ..., type: _Optional[_Union[Object.Type, str]] = ..., rotation: _Optional[_Iterable[float]] = ..., translation: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ..., keypoints: _Optional[_Iterable[_Union[KeyPoint, _Mapping]]] = ..., method: _Optional[_Union[Object.Method, str]] = ...) -> None: ...

class Edge(_message.Message):
    __slots__ = ("source", "sink")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SINK_FIELD_NUMBER: _ClassVar[int]
    source: int
    sink: int
    def __init__(self, source: _Optional[int] = ..., sink: _Optional[int] = ...) -> None: ...

class Skeleton(_message.Message):
    __slots__ = ("reference_keypoint", "category", "keypoints", "edges")
    REFERENCE_KEYPOINT_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    reference_keypoint: int
    category: str
    keypoints: _containers.RepeatedCompositeFieldContainer[KeyPoint]
    edges: _containers.RepeatedCompositeFieldContainer[Edge]
    def __init__(self, reference_keypoint: _Optional[int] = ..., category: _Optional[str] = ..., keypoints: _Optional[_Iterable[_Union[KeyPoint, _Mapping]]] = ..., edges: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ...) -> None: ...

class Skeletons(_message.Message):
    __slots__ = ("object",)
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    object: _containers.RepeatedCompositeFieldContainer[Skeleton]
    def __init__(self, object: _Optional[_Iterable[_Union[Skeleton, _Mapping]]] = ...) -> None: ...
