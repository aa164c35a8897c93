// The one number that a picture tells of its camera: the focal length as if on 35 mm film (EXIF 2.3, tag A405).

const EXIF_FOLDER = 0x8769;
const FOCAL_35MM = 0xa405;
const FILM_DIAGONAL_MM = Math.hypot(36, 24);

/** Millimetres, or null where the file does not say. */
export async function focalLength35(file) {
  const view = new DataView(await file.slice(0, 256 * 1024).arrayBuffer());
  try {
    const start = exifStart(view);
    return start === null ? null : readFocal(view, start);
  } catch (error) {
    if (error instanceof RangeError) return null; // the file ends in the middle of it
    throw error;
  }
}

/** Pixels of a picture: film and picture have the same diagonal angle of view. */
export const focalPixels = (millimetres, width, height) => (millimetres / FILM_DIAGONAL_MM) * Math.hypot(width, height);

/** Where the TIFF header of a JPEG's EXIF segment begins. */
function exifStart(view) {
  if (view.byteLength < 4 || view.getUint16(0) !== 0xffd8) return null;
  for (let at = 2; at + 10 < view.byteLength && view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xda) return null;
    if (marker === 0xe1 && view.getUint32(at + 4) === 0x45786966) return at + 10; // "Exif\0\0"
  }
  return null;
}

function readFocal(view, start) {
  const little = view.getUint16(start) === 0x4949;
  const folder = entry(view, start, start + view.getUint32(start + 4, little), EXIF_FOLDER, little);
  if (folder === null) return null;
  const place = entry(view, start, start + view.getUint32(folder, little), FOCAL_35MM, little);
  return (place && view.getUint16(place, little)) || null;
}

/** Where the value of a tag lies in a folder, or null. */
function entry(view, start, folder, tag, little) {
  const count = view.getUint16(folder, little);
  for (let i = 0; i < count; i++) {
    const at = folder + 2 + 12 * i;
    if (view.getUint16(at, little) === tag) return at + 8;
  }
  return null;
}
