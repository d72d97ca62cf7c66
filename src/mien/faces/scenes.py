"""Draw training scenes: faces at known places in photographs without a face, and non-faces pasted the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from mien.faces.material import Material

SIDE_PX = 96
"""Side of a scene."""
GREY = 128
"""Grey level outside a photo, in training and in use."""
FACE_PX = 48
Place = tuple[float, float, float]
"""Centre and side of a face frame, in pixels."""


class Spot(NamedTuple):
    """A place in a background from which a hard negative is taken."""

    background: int
    x: float
    y: float
    scale: float
    """Size of the background when the network took this place for a face."""


class Scene(NamedTuple):
    """One training image."""

    image_u8: UInt8[np.ndarray, "s s"]
    faces_xys: Float32[np.ndarray, "n 3"]
    """Centre and side of each face frame, in pixels."""
    unsure_xys: Float32[np.ndarray, "n 3"]
    """Faces that are hidden so far that the loss ignores them."""


class Piece(NamedTuple):
    """An image to paste: grey levels, opacity of each pixel (0 to 1), centre and side of its face frame."""

    grey: Float32[np.ndarray, "_ _"]
    alpha: Float32[np.ndarray, "_ _"]
    frame: Place = (FACE_PX / 2, FACE_PX / 2, float(FACE_PX))


def draw(material: Material, rng: np.random.Generator, hard: list[Spot]) -> Scene:
    """Draw one scene. All randomness is `rng`'s; `hard` holds places that the network took for faces."""
    canvas = _background(material, rng, hard)
    kind = rng.random()
    portrait = kind < 0.12
    if kind > 0.85:
        placed = _collage(canvas, material, rng)
    else:
        placed = _placed(rng, portrait) if portrait or rng.random() > 0.25 else np.empty((0, 3), np.float32)
        for _ in range(rng.integers(0, 3 if len(placed) else 5)):
            if not portrait:
                _decoy(canvas, material, rng, placed)
        for x, y, side in placed[np.argsort(placed[:, 2])].tolist():
            _face(canvas, material, rng, (x, y, side))
    left, top, right, bottom = 0, 0, SIDE_PX, SIDE_PX
    if portrait or rng.random() < 0.25:
        left, top, right, bottom = _visible(rng, placed[0] if portrait else None)
    image = _photographed(canvas, rng)
    bordered = np.full_like(image, GREY)
    bordered[top:bottom, left:right] = image[top:bottom, left:right]
    seen = _seen(placed, (left, top, right, bottom))
    return Scene(bordered, placed[seen >= 0.6], placed[(seen < 0.6) & (seen > 0.15)])


def _background(material: Material, rng: np.random.Generator, hard: list[Spot]) -> Float32[np.ndarray, "_ _"]:
    if hard and rng.random() < 0.4:
        spot = hard[rng.integers(len(hard))]
        image, scale = material.backgrounds_u8[spot.background], spot.scale * rng.uniform(0.8, 1.25)
        dx, dy = rng.uniform(-40, 40, 2) / scale
        x, y = spot.x + dx, spot.y + dy
    else:
        image = material.backgrounds_u8[rng.integers(len(material.backgrounds_u8))]
        scale = float(np.exp(rng.uniform(np.log(0.35), np.log(2.5))))
        x, y = rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0])
    angle = rng.normal(0, 6)
    matrix = np.asarray(cv2.getRotationMatrix2D((float(x), float(y)), angle, scale), np.float64)
    matrix[:, 2] += SIDE_PX / 2 - np.array([x, y])
    if scale < 0.8:
        image = cv2.blur(image, (2, 2))
    canvas = cv2.warpAffine(
        image, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return (canvas[:, ::-1] if rng.random() < 0.5 else canvas).astype(np.float32)


def _placed(rng: np.random.Generator, portrait: bool) -> Float32[np.ndarray, "n 3"]:
    """Choose centres and sides of faces that overlap little."""
    if portrait:
        side = rng.uniform(15, 60)
        return np.array(
            [[SIDE_PX / 2 + rng.uniform(-9, 9), SIDE_PX / 2 + rng.uniform(-9, 9), side]], np.float32
        )
    wanted = rng.choice([1, 2, 3, 5, 8], p=[0.4, 0.25, 0.15, 0.12, 0.08])
    common = float(np.exp(rng.uniform(np.log(15), np.log(50))))
    rows: list[tuple[float, float, float]] = []
    for _ in range(wanted):
        side = common * float(np.exp(rng.normal(0, 0.15)))
        if rng.random() < 0.35:
            side = float(np.exp(rng.uniform(np.log(13), np.log(100))))
        for _ in range(6):
            x, y = rng.uniform(-0.1 * side, SIDE_PX + 0.1 * side, 2)
            if all(max(abs(x - a), abs(y - b)) > 0.42 * (side + c) for a, b, c in rows):
                rows.append((float(x), float(y), side))
                break
    return np.array(rows, np.float32).reshape(-1, 3)


def _visible(rng: np.random.Generator, face: np.ndarray | None) -> tuple[int, int, int, int]:
    """Choose the part of the scene that the photo shows: all around a portrait, else cut at some sides."""
    if face is None:
        cuts = [int(rng.integers(4, 40)) if rng.random() < 0.4 else 0 for _ in range(4)]
        return cuts[0], cuts[1], SIDE_PX - cuts[2], SIDE_PX - cuts[3]
    x, y, side = face
    reach = side * rng.uniform(0.42, 0.85, 4)
    left, top, right, bottom = x - reach[0], y - reach[1], x + reach[2], y + reach[3]
    return max(0, int(left)), max(0, int(top)), min(SIDE_PX, int(right) + 1), min(SIDE_PX, int(bottom) + 1)


def _seen(faces: Float32[np.ndarray, "n 3"], visible: tuple[int, int, int, int]) -> Float32[np.ndarray, " n"]:
    """Return the fraction of each face frame that lies in the visible rectangle; 0 where the centre does not."""
    left, top, right, bottom = visible
    x, y, side = faces.T
    width = np.clip(np.minimum(x + side / 2, right) - np.maximum(x - side / 2, left), 0, None)
    height = np.clip(np.minimum(y + side / 2, bottom) - np.maximum(y - side / 2, top), 0, None)
    centre = (x > left) & (x < right) & (y > top) & (y < bottom)
    return np.where(centre, width * height / side**2, 0.2 * (width * height > 0)).astype(np.float32)


def _face(
    canvas: Float32[np.ndarray, "_ _"], material: Material, rng: np.random.Generator, where: Place
) -> None:
    """Paste one face: a head, a head with the expression of a FER2013 face, or a face with or without a body."""
    kind = rng.random()
    if kind < 0.35:
        piece = _head(material, rng, where[2])
    elif kind < 0.6:
        piece = _beyond(_crop(material, rng).astype(np.float32), rng)
    else:
        if kind < 0.85:
            _body(canvas, material, rng, where)
        piece = Piece(_crop(material, rng).astype(np.float32), _mask(rng, square=kind > 0.93))
    piece = piece._replace(grey=_lit(piece.grey, rng))
    if rng.random() < 0.25:
        _accessory(piece.grey, rng, piece.frame)
    _paste(canvas, piece, where, rng)
    if rng.random() < 0.12:
        _occlude(canvas, material, rng, where)


def _beyond(grey: Float32[np.ndarray, "_ _"], rng: np.random.Generator) -> Piece:
    """Extend a crop beyond its edges by reflection, and fade out there, so that no edge is near the face."""
    rim = FACE_PX // 2
    wide = cv2.copyMakeBorder(grey, rim, rim, rim, rim, cv2.BORDER_REFLECT)
    v, u = (np.mgrid[: 2 * FACE_PX, : 2 * FACE_PX] + 0.5) / FACE_PX - 1
    power = rng.uniform(2, 5)
    far = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    start = rng.uniform(0.42, 0.6)
    alpha = np.clip(1 - (far - start) / rng.uniform(0.1, 0.38), 0, 1)
    return Piece(wide, alpha.astype(np.float32), (float(FACE_PX), float(FACE_PX), float(FACE_PX)))


def _collage(
    canvas: Float32[np.ndarray, "_ _"], material: Material, rng: np.random.Generator
) -> Float32[np.ndarray, "n 3"]:
    """Paste crops side by side, some of which are not faces; return the places of the faces."""
    side = float(np.exp(rng.uniform(np.log(16), np.log(46))))
    apart, share, rows = side * rng.uniform(0.95, 1.3), rng.uniform(0.2, 0.9), []
    full = np.ones((FACE_PX, FACE_PX), np.float32)
    first = rng.uniform(-0.3, 0.5, 2) * side
    for y in np.arange(first[0], SIDE_PX + side / 2, apart):
        for x in np.arange(first[1], SIDE_PX + side / 2, apart):
            is_face = rng.random() < share
            grey = _crop(material, rng).astype(np.float32) if is_face else _no_face(material, rng)
            where = (float(x), float(y), side * rng.uniform(0.9, 1.1))
            _paste(canvas, Piece(_lit(grey, rng), full), where, rng)
            if is_face:
                rows.append(where)
    return np.array(rows, np.float32).reshape(-1, 3)


def _crop(material: Material, rng: np.random.Generator) -> UInt8[np.ndarray, "48 48"]:
    face = material.faces_u8[rng.integers(len(material.faces_u8))]
    return face[:, ::-1] if rng.random() < 0.5 else face


def _head(material: Material, rng: np.random.Generator, side: float) -> Piece:
    """Return one head; random weights turn its colours into grey, which changes the shades of skin and hair."""
    sizes = material.heads[rng.integers(len(material.heads))]
    head = next((one for one in reversed(sizes) if one.frame_xys[2] >= 0.7 * side), sizes[0])
    weights = np.array([0.3, 0.59, 0.11]) * np.exp(rng.normal(0, 0.7, 3))
    colours = head.rgba_u8[..., :3].reshape(-1, 3).astype(np.float32)
    grey = (colours @ (weights / weights.sum()).astype(np.float32)).reshape(head.rgba_u8.shape[:2])
    x, y, frame = head.frame_xys
    if rng.random() < 0.5:
        _express(grey, _crop(material, rng), (x, y, frame * rng.uniform(0.88, 1.02)))
    return Piece(grey, head.rgba_u8[..., 3].astype(np.float32) / 255, head.frame_xys)


def _express(grey: Float32[np.ndarray, "_ _"], face: UInt8[np.ndarray, "48 48"], frame: Place) -> None:
    """Replace the face of a head by a face of FER2013, adapted to the light on the head."""
    x, y, side = frame
    left, top, size = round(x - side / 2), round(y - side / 2), round(side)
    part = grey[top : top + size, left : left + size]
    if part.shape != (size, size):
        return
    new = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    inner = slice(size // 4, -(size // 4))
    gain = (part[inner, inner].std() + 8) / (new[inner, inner].std() + 8)
    new = (new - new[inner, inner].mean()) * gain + part[inner, inner].mean()
    v, u = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    far = np.sqrt((u / 0.40) ** 2 + ((v - 0.03) / 0.46) ** 2)
    alpha = np.clip((1.0 - far) / 0.2, 0, 1)
    part += alpha * (new - part)


def _mask(rng: np.random.Generator, *, square: bool) -> Float32[np.ndarray, "48 48"]:
    v, u = (np.mgrid[:FACE_PX, :FACE_PX] + 0.5) / FACE_PX - 0.5
    if square:
        far = np.maximum(np.abs(u), np.abs(v)) / 0.5
        return np.clip((1.0 - far) / 0.06, 0, 1).astype(np.float32)
    a, b, power = rng.uniform(0.36, 0.5), rng.uniform(0.44, 0.52), rng.uniform(2, 4)
    far = (np.abs(u / a) ** power + np.abs(v / b) ** power) ** (1 / power)
    return np.clip((1.0 - far) / rng.uniform(0.06, 0.3), 0, 1).astype(np.float32)


def _lit(grey: Float32[np.ndarray, "_ _"], rng: np.random.Generator) -> Float32[np.ndarray, "_ _"]:
    """Change the light on one face: brightness curve, contrast, a gradient from one side, light from behind."""
    if rng.random() < 0.6:
        grey = 255 * (np.clip(grey, 0, 255) / 255) ** np.float32(np.exp(rng.normal(0, 0.3)))
        grey = (grey - 128) * np.float32(rng.uniform(0.7, 1.15)) + 128 + np.float32(rng.normal(0, 18))
    if rng.random() < 0.15:
        grey = 255 * (np.clip(grey, 0, 255) / 255) ** np.float32(rng.uniform(1.4, 2.6))
    if rng.random() < 0.4:
        height, width = grey.shape
        x = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(rng.normal(0, 28))
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.normal(0, 18))
        grey = grey + x + y
    return grey.astype(np.float32).copy()


def _accessory(grey: Float32[np.ndarray, "_ _"], rng: np.random.Generator, frame: Place) -> None:
    """Draw glasses, dark glasses or a cap into the face."""
    x, y, side = frame
    shade = float(rng.uniform(0, 90))
    if rng.random() < 0.65:
        eye_y, gap, radius = y - 0.11 * side, 0.2 * side, rng.uniform(0.11, 0.15) * side
        filled = rng.random() < 0.5
        line = -1 if filled else max(1, round(0.025 * side))
        for eye_x in (x - gap, x + gap):
            axes = (round(radius), round(radius * rng.uniform(0.6, 0.9)))
            cv2.ellipse(grey, (round(eye_x), round(eye_y)), axes, 0, 0, 360, shade, line, cv2.LINE_AA)
        bar = max(1, round(0.03 * side))
        ends = (round(x - gap * 0.4), round(eye_y)), (round(x + gap * 0.4), round(eye_y))
        cv2.line(grey, *ends, shade, bar, cv2.LINE_AA)
    else:
        shade = float(rng.uniform(0, 255))
        edge = y - rng.uniform(0.2, 0.32) * side
        cv2.rectangle(grey, (0, 0), (grey.shape[1], round(edge)), shade, -1)


def _body(
    canvas: Float32[np.ndarray, "_ _"], material: Material, rng: np.random.Generator, where: Place
) -> None:
    """Draw shoulders, neck and hair of random shades, with the texture of a background."""
    x, y, side = where
    cloth, skin, hair = rng.uniform(10, 245, 3)
    layers = [
        (cloth, (0, 1.22 + rng.uniform(-0.1, 0.15)), (rng.uniform(0.8, 1.3), 0.6)),
        (skin, (0, 0.55), (rng.uniform(0.2, 0.3), 0.35)),
        (hair, (rng.normal(0, 0.04), -0.08), (rng.uniform(0.42, 0.62), rng.uniform(0.52, 0.72))),
    ]
    for shade, (dx, dy), (a, b) in layers:
        mask = np.zeros((SIDE_PX, SIDE_PX), np.float32)
        centre = round(x + dx * side), round(y + dy * side)
        axes = max(1, round(a * side)), max(1, round(b * side))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        texture = _texture(material, rng, SIDE_PX)
        canvas += cv2.blur(mask, (3, 3)) * (shade + texture - canvas)


def _texture(material: Material, rng: np.random.Generator, side: int) -> Float32[np.ndarray, "_ _"]:
    """Return a patch of a background with mean 0 and weak contrast."""
    image = material.backgrounds_u8[rng.integers(len(material.backgrounds_u8))]
    y, x = (rng.integers(0, length - min(side, length) + 1) for length in image.shape)
    patch = image[y : y + side, x : x + side]
    patch = cv2.resize(patch, (side, side)) if patch.shape != (side, side) else patch
    return (patch.astype(np.float32) - float(patch.mean())) * np.float32(rng.uniform(0.1, 0.6))


def _decoy(
    canvas: Float32[np.ndarray, "_ _"],
    material: Material,
    rng: np.random.Generator,
    faces: Float32[np.ndarray, "_ _"],
) -> None:
    """Paste a non-face with the same masks, so that the traces of pasting are no sign of a face."""
    side = float(np.exp(rng.uniform(np.log(14), np.log(60))))
    x, y = rng.uniform(0, SIDE_PX, 2)
    if any(max(abs(x - a), abs(y - b)) < 0.6 * (side + c) for a, b, c in faces):
        return
    where = (float(x), float(y), side)
    if rng.random() < 0.25:
        piece = _head(material, rng, side)
        _hide_face(piece, material, rng)
    else:
        if rng.random() < 0.35:
            _body(canvas, material, rng, where)
        piece = Piece(_no_face(material, rng), _mask(rng, square=rng.random() < 0.3))
    _paste(canvas, piece._replace(grey=_lit(piece.grey, rng)), where, rng)


def _hide_face(piece: Piece, material: Material, rng: np.random.Generator) -> None:
    """Cover the face of a head with hair or cloth, as on the back of a head."""
    x, y, side = piece.frame
    half = (round(0.5 * side), round(0.62 * side))
    top, left = max(0, round(y - half[1])), max(0, round(x - half[0]))
    part = piece.grey[top : round(y + half[1]), left : round(x + half[0])]
    height, width = part.shape
    v, u = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    cover = np.clip((1 - 2 * np.hypot(u, v)) / 0.12, 0, 1)
    texture = cv2.resize(_texture(material, rng, 64), (width, height))
    part += cover * (float(rng.uniform(10, 240)) + texture - part)


def _no_face(material: Material, rng: np.random.Generator) -> Float32[np.ndarray, "_ _"]:
    """Return a face upside down, scrambled, as a negative or without detail, or a piece of background."""
    grey, kind = _crop(material, rng).astype(np.float32), rng.random()
    if kind < 0.27:
        return np.ascontiguousarray(grey[::-1])
    if kind < 0.5:
        size = int(rng.choice([8, 12, 16]))
        across = FACE_PX // size
        blocks = grey.reshape(across, size, across, size).swapaxes(1, 2).reshape(-1, size, size)
        mixed = blocks[rng.permutation(len(blocks))].reshape(across, across, size, size)
        return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(FACE_PX, FACE_PX))
    if kind < 0.6:
        return 255 - grey
    if kind < 0.68:
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), 9), np.float32)
    return np.float32(rng.uniform(30, 220)) + _texture(material, rng, FACE_PX) * 2


def _paste(canvas: Float32[np.ndarray, "_ _"], piece: Piece, where: Place, rng: np.random.Generator) -> None:
    """Rotate and warp an image so that its face frame lies at `where`, and blend it into the canvas."""
    x, y, side = where
    fx, fy, frame_side = piece.frame
    scale, turn = side / frame_side, np.deg2rad(rng.normal(0, 16))
    wide, shear = np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.06)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[wide, shear], [0, 1 / wide]])
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
    offset = np.array([x, y]) - matrix @ np.array([fx, fy])
    height, width = piece.grey.shape
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height]], float) + offset[:, None]
    x0, y0 = np.clip(np.floor(corners.min(1)), 0, SIDE_PX).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(1)), 0, SIDE_PX).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    full = np.column_stack([matrix, offset - np.array([x0, y0])])
    size, images = (int(x1 - x0), int(y1 - y0)), [piece.grey, piece.alpha]
    if scale < 0.6:
        kernel = max(2, round(0.8 / scale))
        images = [cv2.blur(one, (kernel, kernel)) for one in images]
    warped = cv2.warpAffine(images[0], full, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(images[1], full, size, flags=cv2.INTER_LINEAR)
    part = canvas[y0:y1, x0:x1]
    part += mask * (warped - part)


def _occlude(
    canvas: Float32[np.ndarray, "_ _"], material: Material, rng: np.random.Generator, where: Place
) -> None:
    """Cover up to a third of a face from one side."""
    x, y, side = where
    width, height = side * rng.uniform(0.2, 0.5, 2)
    cx, cy = x + rng.choice([-1, 1]) * side * 0.45, y + side * rng.uniform(-0.3, 0.55)
    x0, y0 = (int(np.clip(v, 0, SIDE_PX)) for v in (cx - width / 2, cy - height / 2))
    x1, y1 = (int(np.clip(v, 0, SIDE_PX)) for v in (cx + width / 2, cy + height / 2))
    if x1 > x0 and y1 > y0:
        canvas[y0:y1, x0:x1] = rng.uniform(10, 240) + _texture(material, rng, SIDE_PX)[y0:y1, x0:x1]


def _photographed(canvas: Float32[np.ndarray, "_ _"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
    """Change the whole scene as cameras and files do: light, blur, noise, JPEG."""
    if rng.random() < 0.5:
        canvas = 255 * (np.clip(canvas, 0, 255) / 255) ** np.float32(np.exp(rng.normal(0, 0.3)))
        canvas = (canvas - 128) * np.float32(rng.uniform(0.6, 1.25)) + 128 + np.float32(rng.normal(0, 15))
    kind = rng.random()
    if kind < 0.25:
        canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.3)))
    elif kind < 0.4:
        small = int(rng.integers(SIDE_PX // 2, SIDE_PX))
        canvas = cv2.resize(
            cv2.resize(canvas, (small, small), interpolation=cv2.INTER_AREA), (SIDE_PX, SIDE_PX)
        )
    if rng.random() < 0.4:
        canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(1, 9))
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 92))])
        image = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    return image
