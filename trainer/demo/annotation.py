"""What Objectron publishes beside a video: one serialised ``Sequence`` of the object and each frame's camera and box.

The phone is held upright, so in the published picture the sensor's x points down, its y to the right and its z to the
viewer (``trainer.captures.arkit``). Points in space are in that frame, or in the world of the AR session: y up, its
origin where the session began. Intrinsics are of the sensor's own landscape picture, 1920 x 1440 pixels.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from index.capture_pose import CAMERA_FROM_SENSOR
from index.schema import Array, Box, Camera
from trainer.captures.protos.a_r_capture_metadata_pb2 import ARCamera
from trainer.captures.protos.annotation_data_pb2 import AnnotatedKeyPoint, FrameAnnotation, ObjectAnnotation, Sequence
from trainer.captures.protos.object_pb2 import Object

_SENSOR_WIDTH, _SENSOR_HEIGHT = 1920, 1440
_NEAR, _FAR = 0.001, 1000.0
_UNIT_BOX = Box(np.eye(3), np.zeros(3), np.ones(3))


def annotate(category: str, size: Array, camera: Camera, cameras_from_scene: Array, fps: float) -> Sequence:
    """The annotation of a video.

    Args:
        size: (3,) metres of the box, which stands in the middle of the scene's floor, turned to the scene's +z.
        camera: of every picture of the video.
        cameras_from_scene: (frames, 4, 4), in the order of the video.
        fps: frames per second, for the time stamps.
    """
    world_from_scene = _session_start(cameras_from_scene[0])
    box_in_scene = Box(np.eye(3), np.array([0, size[1] / 2, 0]), size)
    sequence = Sequence(objects=[_object(category, box_in_scene, world_from_scene)])
    for number, camera_from_scene in enumerate(cameras_from_scene):
        sensor_from_scene = _matrix(CAMERA_FROM_SENSOR.T) @ camera_from_scene
        rotation, translation = sensor_from_scene[:3, :3], sensor_from_scene[:3, 3]
        keypoints = _keypoints(box_in_scene) @ rotation.T + translation
        sequence.frame_annotations.append(
            FrameAnnotation(
                frame_id=number,
                annotations=[_instance(keypoints, camera)],
                camera=_ar_camera(camera, sensor_from_scene @ np.linalg.inv(world_from_scene)),
                timestamp=number / fps,
                plane_center=translation,
                plane_normal=rotation[:, 1],
            )
        )
    return sequence


def _matrix(rotation: Array, translation: Array | None = None) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    if translation is not None:
        matrix[:3, 3] = translation
    return matrix


def _session_start(camera_from_scene: Array) -> Array:
    """``world_from_scene`` (4, 4) of a session that begins at this camera, looking along the world's -z."""
    scene_from_camera = np.linalg.inv(camera_from_scene)
    forward = scene_from_camera[:3, 2]
    level = Rotation.from_euler("y", np.arctan2(forward[0], -forward[2])).as_matrix()
    return _matrix(level, -level @ scene_from_camera[:3, 3])


def _keypoints(box: Box) -> Array:
    """The centre and the eight corners, (9, 3)."""
    return np.concatenate([box.center[None], box.corners])


def _object(category: str, box_in_scene: Box, world_from_scene: Array) -> Object:
    in_world = Object(
        id=0,
        category=category,
        type=Object.BOUNDING_BOX,
        rotation=world_from_scene[:3, :3].ravel(),
        translation=(world_from_scene @ [*box_in_scene.center, 1])[:3],
        scale=box_in_scene.size,
        method=Object.ANNOTATION,
    )
    for x, y, z in _keypoints(_UNIT_BOX):
        in_world.keypoints.add(x=x, y=y, z=z)
    return in_world


def _instance(keypoints_in_sensor: Array, camera: Camera) -> ObjectAnnotation:
    instance = ObjectAnnotation(object_id=0, visibility=1.0)
    pixels = camera.project(keypoints_in_sensor @ CAMERA_FROM_SENSOR.T)
    for number, ((x, y, z), (u, v)) in enumerate(zip(keypoints_in_sensor, pixels, strict=True)):
        keypoint = AnnotatedKeyPoint(id=number)
        keypoint.point_3d.x, keypoint.point_3d.y, keypoint.point_3d.z = x, y, z
        keypoint.point_2d.x, keypoint.point_2d.y, keypoint.point_2d.depth = u / camera.width, v / camera.height, -z
        instance.keypoints.append(keypoint)
    return instance


def _ar_camera(camera: Camera, sensor_from_world: Array) -> ARCamera:
    return ARCamera(
        tracking_state=ARCamera.TRACKING_STATE_NORMAL,
        transform=np.linalg.inv(sensor_from_world).ravel(),
        image_resolution_width=_SENSOR_WIDTH,
        image_resolution_height=_SENSOR_HEIGHT,
        intrinsics=_intrinsics(camera).ravel(),
        projection_matrix=_projection(camera).ravel(),
        view_matrix=sensor_from_world.ravel(),
    )


def _intrinsics(camera: Camera) -> Array:
    """K (3, 3) of the sensor's landscape picture, which counts pixels from the centre of the top left one."""
    upright = camera.resize(_SENSOR_HEIGHT, _SENSOR_WIDTH)
    cx, cy = upright.cy - 0.5, _SENSOR_HEIGHT - upright.cx - 0.5
    return np.array([[upright.fy, 0, cx], [0, upright.fx, cy], [0, 0, 1]])


def _projection(camera: Camera) -> Array:
    """OpenGL's projection (4, 4): of the portrait picture, its y goes with the horizontal, its x with the vertical."""
    width, height = camera.width, camera.height
    depth = (_FAR + _NEAR) / (_NEAR - _FAR), 2 * _FAR * _NEAR / (_NEAR - _FAR)
    return np.array(
        [
            [2 * camera.fy / height, 0, 1 - 2 * camera.cy / height, 0],
            [0, 2 * camera.fx / width, 1 - 2 * camera.cx / width, 0],
            [0, 0, *depth],
            [0, 0, -1, 0],
        ]
    )
