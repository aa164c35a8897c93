from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ARCamera(_message.Message):
    __slots__ = ("tracking_state", "tracking_state_reason", "transform", "euler_angles", "image_resolution_width", "image_resolution_height", "intrinsics", "projection_matrix", "view_matrix")
    class TrackingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TRACKING_STATE_UNDEFINED: _ClassVar[ARCamera.TrackingState]
        TRACKING_STATE_UNAVAILABLE: _ClassVar[ARCamera.TrackingState]
        TRACKING_STATE_LIMITED: _ClassVar[ARCamera.TrackingState]
        TRACKING_STATE_NORMAL: _ClassVar[ARCamera.TrackingState]
    TRACKING_STATE_UNDEFINED: ARCamera.TrackingState
    TRACKING_STATE_UNAVAILABLE: ARCamera.TrackingState
    TRACKING_STATE_LIMITED: ARCamera.TrackingState
    TRACKING_STATE_NORMAL: ARCamera.TrackingState
    class TrackingStateReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TRACKING_STATE_REASON_UNDEFINED: _ClassVar[ARCamera.TrackingStateReason]
        TRACKING_STATE_REASON_NONE: _ClassVar[ARCamera.TrackingStateReason]
        TRACKING_STATE_REASON_INITIALIZING: _ClassVar[ARCamera.TrackingStateReason]
        TRACKING_STATE_REASON_EXCESSIVE_MOTION: _ClassVar[ARCamera.TrackingStateReason]
        TRACKING_STATE_REASON_INSUFFICIENT_FEATURES: _ClassVar[ARCamera.TrackingStateReason]
        TRACKING_STATE_REASON_RELOCALIZING: _ClassVar[ARCamera.TrackingStateReason]
    TRACKING_STATE_REASON_UNDEFINED: ARCamera.TrackingStateReason
    TRACKING_STATE_REASON_NONE: ARCamera.TrackingStateReason
    TRACKING_STATE_REASON_INITIALIZING: ARCamera.TrackingStateReason
    TRACKING_STATE_REASON_EXCESSIVE_MOTION: ARCamera.TrackingStateReason
    TRACKING_STATE_REASON_INSUFFICIENT_FEATURES: ARCamera.TrackingStateReason
    TRACKING_STATE_REASON_RELOCALIZING: ARCamera.TrackingStateReason
    class EulerAngles(_message.Message):
        __slots__ = ("roll", "pitch", "yaw")
        ROLL_FIELD_NUMBER: _ClassVar[int]
        PITCH_FIELD_NUMBER: _ClassVar[int]
        YAW_FIELD_NUMBER: _ClassVar[int]
        roll: float
        pitch: float
        yaw: float
        def __init__(self, roll: _Optional[float] = ..., pitch: _Optional[float] = ..., yaw: _Optional[float] = ...) -> None: ...
    TRACKING_STATE_FIELD_NUMBER: _ClassVar[int]
    TRACKING_STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    EULER_ANGLES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_RESOLUTION_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_RESOLUTION_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INTRINSICS_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_MATRIX_FIELD_NUMBER: _ClassVar[int]
    VIEW_MATRIX_FIELD_NUMBER: _ClassVar[int]
    tracking_state: ARCamera.TrackingState
    tracking_state_reason: ARCamera.TrackingStateReason
    transform: _containers.RepeatedScalarFieldContainer[float]
    euler_angles: ARCamera.EulerAngles
    image_resolution_width: int
    image_resolution_height: int
    intrinsics: _containers.RepeatedScalarFieldContainer[float]
    projection_matrix: _containers.RepeatedScalarFieldContainer[float]
    view_matrix: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, tracking_state: _Optional[_Union[ARCamera.TrackingState, str]] = ..., tracking_state_reason: _Optional[_Union[ARCamera.TrackingStateReason, str]] = ..., transform: _Optional[_Iterable[float]] = ..., euler_angles: _Optional[_Union[ARCamera.EulerAngles, _Mapping]] = ..., image_resolution_width: _Optional[int] = ..., image_resolution_height: _Optional[int] = ..., intrinsics: _Optional[_Iterable[float]] = ..., projection_matrix: _Optional[_Iterable[float]] = ..., view_matrix: _Optional[_Iterable[float]] = ...) -> None: ...

class ARPlaneGeometry(_message.Message):
    __slots__ = ("vertices", "vertex_count", "texture_coordinates", "texture_coordinate_count", "triangle_indices", "triangle_count", "boundary_vertices", "boundary_vertex_count")
    class Vertex(_message.Message):
        __slots__ = ("x", "y", "z")
        X_FIELD_NUMBER: _ClassVar[int]
        Y_FIELD_NUMBER: _ClassVar[int]
        Z_FIELD_NUMBER: _ClassVar[int]
        x: float
        y: float
        z: float
        def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...
    class TextureCoordinate(_message.Message):
        __slots__ = ("u", "v")
        U_FIELD_NUMBER: _ClassVar[int]
        V_FIELD_NUMBER: _ClassVar[int]
        u: float
        v: float
        def __init__(self, u: _Optional[float] = ..., v: _Optional[float] = ...) -> None: ...
    VERTICES_FIELD_NUMBER: _ClassVar[int]
    VERTEX_COUNT_FIELD_NUMBER: _ClassVar[int]
    TEXTURE_COORDINATES_FIELD_NUMBER: _ClassVar[int]
    TEXTURE_COORDINATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRIANGLE_INDICES_FIELD_NUMBER: _ClassVar[int]
    TRIANGLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_VERTICES_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_VERTEX_COUNT_FIELD_NUMBER: _ClassVar[int]
    vertices: _containers.RepeatedCompositeFieldContainer[ARPlaneGeometry.Vertex]
    vertex_count: int
    texture_coordinates: _containers.RepeatedCompositeFieldContainer[ARPlaneGeometry.TextureCoordinate]
    texture_coordinate_count: int
    triangle_indices: _containers.RepeatedScalarFieldContainer[int]
    triangle_count: int
    boundary_vertices: _containers.RepeatedCompositeFieldContainer[ARPlaneGeometry.Vertex]
    boundary_vertex_count: int
    def __init__(self, vertices: _Optional[_Iterable[_Union[ARPlaneGeometry.Vertex, _Mapping]]] = ..., vertex_count: _Optional[int] = ..., texture_coordinates: _Optional[_Iterable[_Union[ARPlaneGeometry.TextureCoordinate, _Mapping]]] = ..., texture_coordinate_count: _Optional[int] = ..., triangle_indices: _Optional[_Iterable[int]] = ..., triangle_count: _Optional[int] = ..., boundary_vertices: _Optional[_Iterable[_Union[ARPlaneGeometry.Vertex, _Mapping]]] = ..., boundary_vertex_count: _Optional[int] = ...) -> None: ...

class ARPlaneAnchor(_message.Message):
    __slots__ = ("identifier", "transform", "alignment", "geometry", "center", "extent", "classification_supported", "classification")
    class Alignment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ALIGNMENT_UNDEFINED: _ClassVar[ARPlaneAnchor.Alignment]
        ALIGNMENT_HORIZONTAL: _ClassVar[ARPlaneAnchor.Alignment]
        ALIGNMENT_VERTICAL: _ClassVar[ARPlaneAnchor.Alignment]
    ALIGNMENT_UNDEFINED: ARPlaneAnchor.Alignment
    ALIGNMENT_HORIZONTAL: ARPlaneAnchor.Alignment
    ALIGNMENT_VERTICAL: ARPlaneAnchor.Alignment
    class PlaneClassification(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PLANE_CLASSIFICATION_NONE: _ClassVar[ARPlaneAnchor.PlaneClassification]
        PLANE_CLASSIFICATION_WALL: _ClassVar[ARPlaneAnchor.PlaneClassification]
        PLANE_CLASSIFICATION_FLOOR: _ClassVar[ARPlaneAnchor.PlaneClassification]
        PLANE_CLASSIFICATION_CEILING: _ClassVar[ARPlaneAnchor.PlaneClassification]
        PLANE_CLASSIFICATION_TABLE: _ClassVar[ARPlaneAnchor.PlaneClassification]
        PLANE_CLASSIFICATION_SEAT: _ClassVar[ARPlaneAnchor.PlaneClassification]
    PLANE_CLASSIFICATION_NONE: ARPlaneAnchor.PlaneClassification
    PLANE_CLASSIFICATION_WALL: ARPlaneAnchor.PlaneClassification
    PLANE_CLASSIFICATION_FLOOR: ARPlaneAnchor.PlaneClassification
    PLANE_CLASSIFICATION_CEILING: ARPlaneAnchor.PlaneClassification
    PLANE_CLASSIFICATION_TABLE: ARPlaneAnchor.PlaneClassification
    PLANE_CLASSIFICATION_SEAT: ARPlaneAnchor.PlaneClassification
    class PlaneVector(_message.Message):
        __slots__ = ("x", "y", "z")
        X_FIELD_NUMBER: _ClassVar[int]
        Y_FIELD_NUMBER: _ClassVar[int]
        Z_FIELD_NUMBER: _ClassVar[int]
        x: float
        y: float
        z: float
        def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    ALIGNMENT_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    identifier: str
    transform: _containers.RepeatedScalarFieldContainer[float]
    alignment: ARPlaneAnchor.Alignment
    geometry: ARPlaneGeometry
    center: ARPlaneAnchor.PlaneVector
    extent: ARPlaneAnchor.PlaneVector
    classification_supported: bool
    classification: ARPlaneAnchor.PlaneClassification
    def __init__(self, identifier: _Optional[str] = ..., transform: _Optional[_Iterable[float]] = ..., alignment: _Optional[_Union[ARPlaneAnchor.Alignment, str]] = ..., geometry: _Optional[_Union[ARPlaneGeometry, _Mapping]] = ..., center: _Optional[_Union[ARPlaneAnchor.PlaneVector, _Mapping]] = ..., extent: _Optional[_Union[ARPlaneAnchor.PlaneVector, _Mapping]] = ..., classification_supported: _Optional[bool] = ..., classification: _Optional[_Union[ARPlaneAnchor.PlaneClassification, str]] = ...) -> None: ...

class ARPointCloud(_message.Message):
    __slots__ = ("count", "point", "identifier")
    class Point(_message.Message):
        __slots__ = ("x", "y", "z")
        X_FIELD_NUMBER: _ClassVar[int]
        Y_FIELD_NUMBER: _ClassVar[int]
        Z_FIELD_NUMBER: _ClassVar[int]
        x: float
        y: float
        z: float
        def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...
    COUNT_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    count: int
    point: _containers.RepeatedCompositeFieldContainer[ARPointCloud.Point]
    identifier: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, count: _Optional[int] = ..., point: _Optional[_Iterable[_Union[ARPointCloud.Point, _Mapping]]] = ..., identifier: _Optional[_Iterable[int]] = ...) -> None: ...

class ARFrame(_message.Message):
    __slots__ = ("timestamp", "depth_data_timestamp", "camera", "plane_anchor", "raw_feature_points")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    DEPTH_DATA_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    PLANE_ANCHOR_FIELD_NUMBER: _ClassVar[int]
    RAW_FEATURE_POINTS_FIELD_NUMBER: _ClassVar[int]
    timestamp: float
    depth_data_timestamp: float
    camera: ARCamera
    plane_anchor: _containers.RepeatedCompositeFieldContainer[ARPlaneAnchor]
    raw_feature_points: ARPointCloud
    def __init__(self, timestamp: _Optional[float] = ..., depth_data_timestamp: _Optional[float] = ..., camera: _Optional[_Union[ARCamera, _Mapping]] = ..., plane_anchor: _Optional[_Iterable[_Union[ARPlaneAnchor, _Mapping]]] = ..., raw_feature_points: _Optional[_Union[ARPointCloud, _Mapping]] = ...) -> None: ...
