"""A worse model made from a good one: the same GGUF file without some of its transformer blocks."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter, ReaderField

ARCHITECTURE = "general.architecture"
OF_THE_FORMAT = "GGUF."  # fields the reader makes up from the header; the writer makes its own


def drop_blocks(source: Path, target: Path, dropped: Collection[int]) -> None:
    """Write the model in `source` to `target` without some blocks; the blocks after them move up.

    Args:
        source: A GGUF file of any architecture that counts its blocks in `{architecture}.block_count`.
        target: Written anew.
        dropped: Numbers of blocks, from 0.

    Raises:
        ValueError: If a block to drop does not exist.
    """
    reader = GGUFReader(source)
    architecture = str(reader.fields[ARCHITECTURE].contents())
    count_key = f"{architecture}.block_count"
    block_count = int(reader.fields[count_key].contents())
    if unknown := set(dropped) - set(range(block_count)):
        raise ValueError(f"{source.name} has {block_count} blocks, from 0; not {sorted(unknown)}.")
    kept = [block for block in range(block_count) if block not in dropped]
    writer = GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name != ARCHITECTURE and not field.name.startswith(OF_THE_FORMAT):
            _copy_field(field, writer, len(kept) if field.name == count_key else field.contents())
    _copy_tensors(reader, writer, {block: place for place, block in enumerate(kept)})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_field(field: ReaderField, writer: GGUFWriter, value: object) -> None:
    kind = field.types[0]
    writer.add_key_value(field.name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)


def _copy_tensors(reader: GGUFReader, writer: GGUFWriter, place_of_block: dict[int, int]) -> None:
    for tensor in reader.tensors:
        name = tensor.name
        if found := re.fullmatch(r"blk\.(\d+)\.(.+)", name):
            place = place_of_block.get(int(found[1]))
            if place is None:
                continue
            name = f"blk.{place}.{found[2]}"
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
