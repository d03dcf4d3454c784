"""Files of weights that a stranger made to take time, memory, or more than was given."""

import io
import json
import pickle
import struct
import warnings
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
BIG = 1 << 40


def zip_of_torch(pickled: bytes, **storages: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def legacy_of_torch(pickled: bytes, keys: bytes = b"\x80\x02].", storages: bytes = b"") -> bytes:
    header = (MAGIC, 1001, {"little_endian": True})
    parts = [pickle.dumps(part, protocol=2) for part in header]
    return b"".join((*parts, pickled, keys, storages))


def pickled_tensor(size, stride, offset=0, length=4, kind="FloatStorage", keys="0") -> bytes:
    """What torch writes for a dictionary of tensors of one view, each of a storage by its key."""
    tensors = (_tensor_of(size, stride, offset, length, kind, key) for key in keys)
    return b"(d" + b"".join(tensors) + b"."


def _tensor_of(size, stride, offset, length, kind, key) -> bytes:

    def name(module, attribute):
        return f"c{module}\n{attribute}\n".encode()

    def plain(value):
        return pickle.dumps(value, protocol=0)[:-1]

    storage = b"(" + plain("storage") + name("torch", kind) + plain(key)
    storage += plain("cpu") + plain(length) + b"tQ"
    arguments = b"(" + storage + plain(offset) + plain(size) + plain(stride)
    arguments += b"I00\n" + name("collections", "OrderedDict") + b")Rt"
    tensor = name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"
    return plain(f"tensor {key}") + tensor + b"s"


def safetensors_of(header, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def _doubled(count: int) -> bytes:
    """A tuple of two tuples of two tuples and so on, which takes 2 ** count steps to hash."""
    return b"\x80\x02)" + b"q\x000h\x00h\x00\x86" * count


def _compressed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled_tensor((1,), (1,)))
        archive.writestr("archive/data/0", bytes(1 << 28))
    return file.getvalue()


def _overlapping() -> bytes:
    """An archive whose entries are all the same bytes of it."""
    keys = "0ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    size = 1 << 16
    pickled = pickled_tensor((size // 4,), (1,), keys=keys)
    data = zip_of_torch(pickled, **{"0": bytes(size)})
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    last = data[data.rindex(b"PK\x01\x02") : end]
    entries = data[start:end]
    entries += b"".join(last.replace(b"data/0", b"data/" + key.encode()) for key in keys[1:])
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, len(keys) + 1, len(keys) + 1, len(entries))
    return data[:start] + entries + bytes(tail)


def _twice() -> bytes:
    file = io.BytesIO(zip_of_torch(pickled_tensor((1,), (1,)), **{"0": bytes(16)}))
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("archive/data/0", bytes(8))
    return file.getvalue()


_KEYS = pickle.dumps(["0"], protocol=2)
_FOUR = pickled_tensor((4,), (1,))
_COLLIDING = [(n << 61) - n for n in range(1, 50_000)]  # all of one hash

PICKLES = {
    "a text of a terabyte": b"\x80\x02\x8d" + struct.pack("<Q", BIG) + b"abc.",
    "bytes of a terabyte": b"\x80\x02\x8e" + struct.pack("<Q", BIG) + b"abc.",
    "an array of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", BIG) + b"abc.",
    "a text of two gigabytes": b"\x80\x02X" + struct.pack("<I", (1 << 31) - 1) + b"abc.",
    "a number of two gigabytes": b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"abc.",
    "a frame of a terabyte": b"\x80\x04\x95" + struct.pack("<Q", BIG) + b".",
    "a memo of four billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "digits without end": b"I" + b"9" * 10**6 + b"\n.",
    "a line without end": b"S'" + b"a" * 10**6,
    "a tuple of exponential hash, as a key": _doubled(200) + b"}q\x01h\x00Ns.",
    "numbers of one hash, as keys": pickle.dumps(dict.fromkeys(_COLLIDING), protocol=2),
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 3 * 10**5 + b".",
    "lists in lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "a dictionary in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "parameters in parameters": b"\x80\x02"
    + b"ctorch._utils\n_rebuild_parameter\n" * 10**4
    + b"N"
    + b"\x85R" * 10**4
    + b".",
    "calls without end": b"\x80\x02cbuiltins\nexec\nq\x00)q\x01" + b"h\x00h\x01R0" * 10**6 + b".",
    "lists made into dictionaries": b"\x80\x02]("
    + b"N" * 10**4
    + b"eq\x00ccollections\nOrderedDict\n"
    + b"q\x010"
    + b"h\x01h\x00\x85R0" * 10**4
    + b".",
    "no end": b"\x80\x02N",
    "nothing to take": b"\x80\x020.",
    "a mark that is not there": b"\x80\x02t.",
    "an extension": b"\x80\x02\x84\xff\xff\xff\x7f.",
    "an unknown instruction": b"\x80\x02\xff.",
}

FILES = {
    **{f"zip: {kind}": zip_of_torch(data) for kind, data in PICKLES.items()},
    **{
        f"legacy: {kind}": legacy_of_torch(data)
        for kind, data in PICKLES.items()
        if "tera" in kind or "key" in kind
    },
    **{
        f"legacy: {kind}, before the weights": PICKLES[kind] + legacy_of_torch(_FOUR)
        for kind in ("a text of a terabyte", "an array of a terabyte")
    },
    "zip: it unpacks to more": _compressed(),
    "zip: files over one another": _overlapping(),
    "zip: a file twice": _twice(),
    "zip: no pickle": zip_of_torch(b""),
    "zip: another kind of number": zip_of_torch(
        pickled_tensor((1,), (1,), kind="MysteryStorage"), **{"0": bytes(16)}
    ),
    "zip: a shape of texts": zip_of_torch(
        pickled_tensor(("a" * 99, BIG), (1, 1)), **{"0": bytes(16)}
    ),
    "zip: a shape of a thousand": zip_of_torch(
        pickled_tensor((1,) * 1000, (1,) * 1000), **{"0": bytes(16)}
    ),
    "zip: one number for a trillion": zip_of_torch(
        pickled_tensor((BIG,), (0,)), **{"0": bytes(16)}
    ),
    "zip: numbers beyond all size": zip_of_torch(
        pickled_tensor((1 << 62, 1 << 62), (1 << 62, 1 << 62)), **{"0": bytes(16)}
    ),
    "legacy: a storage of a terabyte": legacy_of_torch(_FOUR, _KEYS, struct.pack("<q", BIG)),
    "legacy: a storage of a negative size": legacy_of_torch(_FOUR, _KEYS, struct.pack("<q", -8)),
    "legacy: a storage that is not there": legacy_of_torch(_FOUR),
    "legacy: keys of exponential hash": legacy_of_torch(_FOUR, _doubled(200) + b"\x85."),
    "legacy: the keys are a number": legacy_of_torch(_FOUR, b"\x80\x02K\x01."),
    "legacy: the system is a number": b"".join(
        pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, 3, {}, [])
    ),
    "safetensors: a header of a terabyte": safetensors_of(b"{}", length=BIG),
    "safetensors: deep nesting": safetensors_of(b'{"a":' * 10**5),
    "safetensors: not JSON": safetensors_of(b"{" + b"\xff" * 100),
    "safetensors: a list": safetensors_of([1]),
    "safetensors: a number for metadata": safetensors_of({"__metadata__": {"model": 3}}),
    "safetensors: a shape beyond the data": safetensors_of(_tensor(shape=(BIG,)), bytes(8)),
    "safetensors: a negative shape": safetensors_of(_tensor(shape=(-2,)), bytes(8)),
    "safetensors: a shape that overflows": safetensors_of(_tensor(shape=(1 << 40,) * 4), bytes(8)),
    "safetensors: offsets beyond the data": safetensors_of(_tensor(offsets=(0, BIG)), bytes(8)),
    "safetensors: offsets turned round": safetensors_of(_tensor(offsets=(8, 0)), bytes(8)),
    "safetensors: a name over lines": safetensors_of({"a\x1b[31m\nb": _tensor()["a"]}, bytes(8)),
    "safetensors: a name without end": safetensors_of({"a" * 10**6: _tensor()["a"]}, bytes(8)),
    **{
        f"safetensors: {dtype}": safetensors_of(_tensor(dtype, (8,), (0, size)), bytes(size))
        for dtype, size in {"F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "C64": 64, "X7": 8}.items()
    },
}
"""What is no file of weights, by the reason."""
