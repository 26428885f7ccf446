"""Parquet files made byte by byte, which say of themselves whatever a test wants (Thrift's compact protocol)."""

import struct

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
INT64_TYPE, PLAIN, RLE, RLE_DICTIONARY = 2, 0, 3, 8
MAGIC = b"PAR1"


def varint(value: int) -> bytes:
    written = b""
    while value > 127:
        written += bytes([value & 127 | 128])
        value >>= 7
    return written + bytes([value])


def zigzag(value: int) -> bytes:
    return varint((value << 1) ^ (value >> 63))


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def many(kind: int, items: list[bytes]) -> bytes:
    return bytes([0xF0 | kind]) + varint(len(items)) + b"".join(items)


def struct_of(fields: dict[int, tuple[int, bytes]]) -> bytes:
    """Return a struct with these fields, each of a type and written."""
    return b"".join(bytes([kind]) + zigzag(number) + value for number, (kind, value) in fields.items()) + b"\0"


def numbers(**fields: int) -> dict[int, tuple[int, bytes]]:
    """Return fields of 32 bits by their numbers: `numbers(_1=5)`."""
    return {int(name[1:]): (I32, zigzag(value)) for name, value in fields.items()}


def footer(schema: list[bytes], rows: int, groups: list[bytes]) -> bytes:
    written = struct_of(
        {**numbers(_1=1), 2: (LIST, many(STRUCT, schema)), 3: (I64, zigzag(rows)), 4: (LIST, many(STRUCT, groups))}
    )
    return written + struct.pack("<I", len(written)) + MAGIC


def element(name: bytes, *, children: int = 0) -> bytes:
    fields = numbers(_5=children) if children else numbers(_1=INT64_TYPE)
    return struct_of({**fields, **numbers(_3=0), 4: (BINARY, text(name))})


def nested(levels: int) -> bytes:
    """Return a file without rows, with one column in so many others."""
    groups = [element(b"group", children=1) for _ in range(levels)]
    return MAGIC + footer([element(b"schema", children=1), *groups, element(b"a")], 0, [])


def repeated(rows: int, *, claimed: int, of_group: int | None = None) -> bytes:
    """Return a file of a column of one value, so many times, of which the footer claims other numbers."""
    value = struct.pack("<q", 1)
    dictionary = struct_of(
        {**numbers(_1=2, _2=len(value), _3=len(value)), 7: (STRUCT, struct_of(numbers(_1=1, _2=PLAIN)))}
    )
    run = b"\1" + varint(rows << 1) + b"\0"  # indexes of one bit: one run of zeros
    header = struct_of(numbers(_1=rows, _2=RLE_DICTIONARY, _3=RLE, _4=RLE))
    page = struct_of({**numbers(_1=0, _2=len(run), _3=len(run)), 5: (STRUCT, header)})
    begins = len(MAGIC)
    at = begins + len(dictionary) + len(value)
    content = MAGIC + dictionary + value + page + run
    column = struct_of(
        {
            **numbers(_1=INT64_TYPE),
            2: (LIST, many(I32, [zigzag(RLE_DICTIONARY), zigzag(PLAIN)])),
            3: (LIST, many(BINARY, [text(b"a")])),
            **numbers(_4=0),
            5: (I64, zigzag(rows)),
            6: (I64, zigzag(10)),
            7: (I64, zigzag(len(content) - begins)),
            9: (I64, zigzag(at)),
            11: (I64, zigzag(begins)),
        }
    )
    chunk = struct_of({2: (I64, zigzag(begins)), 3: (STRUCT, column)})
    group = struct_of(
        {
            1: (LIST, many(STRUCT, [chunk])),
            2: (I64, zigzag(10)),
            3: (I64, zigzag(rows if of_group is None else of_group)),
        }
    )
    return content + footer([element(b"schema", children=1), element(b"a")], claimed, [group])
