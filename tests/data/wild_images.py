"""NIfTI, MetaImage, NRRD and OME-Zarr as other programs write them, field by field."""

from __future__ import annotations

import gzip
import struct
import zlib

import nibabel
import numpy as np
import zarr

RAS = np.diag([-1.0, -1.0, 1.0])
NIFTI_KINDS = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512}


def columns(where):
    """Steps of the indices x, y, z as columns, and the first corner; (x, y, z) [mm, LPS]."""
    affine = where.affine[:3]
    return affine[::-1, 2::-1], affine[::-1, 3]


def write_nifti(path, where, pixels, *, slope=1.0, intercept=0.0, codes=(1, 1), order="<",
                dim=None, moved_sform_mm=0.0, quaternion=None):  # fmt: skip
    """``codes``: of qform and sform, 0 for one that is not there."""
    steps, origin = columns(where)
    steps, origin = RAS @ steps, RAS @ origin
    affine = np.vstack([np.column_stack([steps, origin]), [0, 0, 0, 1]])
    made = nibabel.Nifti1Header()
    made.set_data_shape(where.shape[::-1])
    made.set_qform(affine, code=1)
    head = bytearray(352)
    struct.pack_into(order + "i", head, 0, 348)
    shape = where.shape[::-1]
    struct.pack_into(order + "8h", head, 40, *(dim or (3, *shape, 1, 1, 1, 1)))
    kind = pixels.dtype.kind + str(pixels.dtype.itemsize)
    struct.pack_into(order + "2h", head, 70, NIFTI_KINDS[kind], pixels.dtype.itemsize * 8)
    struct.pack_into(order + "8f", head, 76, *np.asarray(made["pixdim"], float))
    struct.pack_into(order + "3f", head, 108, 352.0, slope, intercept)
    head[123] = 2
    struct.pack_into(order + "2h", head, 252, *codes)
    turn = quaternion or [float(made[f"quatern_{name}"]) for name in "bcd"]
    struct.pack_into(order + "6f", head, 256, *turn, *origin)
    sform = np.column_stack([steps, origin + moved_sform_mm])
    struct.pack_into(order + "12f", head, 280, *sform.ravel())
    head[344:348] = b"n+1\0"
    data = bytes(head) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)
    return path


def words(numbers):
    return " ".join(f"{float(value):.12g}" for value in np.ravel(numbers))


MHA_KINDS = {"i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "f4": "MET_FLOAT"}


def write_mha(path, where, pixels, *, axes=3, unit="", unit_mm=1.0, packed=False, **fields):
    """``unit``: DistanceUnits; ``axes``: more than three have one element each."""
    steps, origin = columns(where)
    spacing = np.linalg.norm(steps, axis=0)
    more = axes - 3
    matrix = np.eye(axes)
    matrix[:3, :3] = (steps / spacing).T
    body = zlib.compress(pixels.tobytes(), 1) if packed else pixels.tobytes()
    head = {
        "ObjectType": "Image", "NDims": axes, "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False", "CompressedData": str(packed),
        "TransformMatrix": words(matrix), "Offset": words([*origin / unit_mm, *[0] * more]),
        "ElementSpacing": words([*spacing / unit_mm, *[1] * more]),
        "DimSize": words([*where.shape[::-1], *[1] * more]),
        "ElementType": MHA_KINDS[pixels.dtype.str[1:]],
        **({"DistanceUnits": unit} if unit else {}), **fields, "ElementDataFile": "LOCAL",
    }  # fmt: skip
    path.write_bytes("".join(f"{k} = {v}\n" for k, v in head.items()).encode() + body)
    return path


SPACES = {"left-posterior-superior": np.eye(3), "RAS": RAS,
          "left-anterior-superior": np.diag([1.0, -1.0, 1.0])}  # fmt: skip


def write_nrrd(path, where, pixels, *, space="left-posterior-superior", unit="", unit_mm=1.0,
               packed=False, extra="", eol="\n", **fields):  # fmt: skip
    """``extra``: ``first`` or ``last``, a fourth axis of one element; ``unit``: space units."""
    steps, origin = columns(where)
    steps, origin = SPACES[space] @ steps / unit_mm, SPACES[space] @ origin / unit_mm
    vectors = [f"({','.join(f'{v:.12g}' for v in one)})" for one in steps.T]
    sizes = [str(n) for n in where.shape[::-1]]
    for told, one in ((vectors, "none"), (sizes, "1")):
        if extra:
            told.insert(0 if extra == "first" else len(told), one)
    head = {
        "type": {"i2": "short", "u2": "uint16", "f4": "float"}[pixels.dtype.str[1:]],
        "dimension": len(sizes), "space": space, "sizes": " ".join(sizes),
        "space directions": " ".join(vectors), "endian": "little",
        "encoding": "gzip" if packed else "raw",
        "space origin": f"({','.join(f'{v:.12g}' for v in origin)})",
        **({"space units": " ".join([f'"{unit}"'] * 3)} if unit else {}), **fields,
    }  # fmt: skip
    text = eol.join(["NRRD0004", *(f"{key}: {value}" for key, value in head.items())]) + eol * 2
    body = gzip.compress(pixels.tobytes(), 1) if packed else pixels.tobytes()
    path.write_bytes(text.encode("utf-8") + body)
    return path


def write_zarr(path, where, pixels, *, version=3, chunks=(4, 4, 4), shards=None, fill=0,
               lead=0, unit="millimeter", unit_mm=1.0, only=None, codec="auto"):  # fmt: skip
    """An axes-aligned OME-Zarr; ``only``: the part (slices) that its writer got to."""
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    names = list("tczyx"[2 - lead :])
    more = {} if version == 3 else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    level = group.create_array(
        "0", shape=(1,) * lead + pixels.shape, chunks=(1,) * lead + chunks, dtype=pixels.dtype,
        shards=shards and (1,) * lead + shards, fill_value=fill, compressors=codec, **more,
    )  # fmt: skip
    part = (0,) * lead + (only or (slice(None),) * 3)
    level[part] = pixels[only] if only else pixels
    scale = [1.0] * lead + [v / unit_mm for v in where.spacing_mm]
    shift = [0.0] * lead + [v / unit_mm for v in where.origin_mm]
    kinds = {"t": "time", "c": "channel"}
    axes = [
        {"name": n, "type": kinds.get(n, "space"), **({"unit": unit} if n in "zyx" else {})}
        for n in names
    ]
    moves = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": moves}]}
    if version == 2:
        group.attrs["multiscales"] = [{**image, "version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path
