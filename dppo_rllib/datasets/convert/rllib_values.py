"""Values as RLlib records them: tensors of Ray Data, packed arrays, episodes in msgpack.

RLlib packs arrays with pickle. What is read here may come from anywhere, so that nothing but
numpy's arrays and numbers is unpickled.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

# By these a pickle of numpy builds its arrays, in one version or the other.
_NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("numeric", "_frombuffer"),
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
        )
    ),
}


def as_rows(
    column: pa.Array, field: pa.Field, where: str
) -> dict[str, Shaped[np.ndarray, "n ..."]]:
    """A column's rows as arrays; of a dictionary, by their paths, otherwise at "".

    Args:
        column: Numbers, lists, Ray Data's tensors, arrays that RLlib has packed, or a struct.
        field: Of the column.
        where: File and column, for messages.

    Raises:
        ValueError: It is something else, rows differ in their shape, or one is null.
    """
    if isinstance(column, pa.ExtensionArray):
        field = pa.field(field.name, column.type.storage_type, metadata=_described(column.type))
        column = column.storage
    if column.null_count:
        raise ValueError(f"{where} is null in {column.null_count} rows, expected values")
    if pa.types.is_struct(column.type):
        return {
            f"{inner.name}/{path}" if path else inner.name: rows
            for i, inner in enumerate(column.type)
            for path, rows in as_rows(column.field(i), inner, f"{where}/{inner.name}").items()
        }
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return {"": _stacked([unpack(value.as_py(), where) for value in column], where)}
    shape: tuple[int, ...] | None = None
    metadata = field.metadata or {}
    if metadata.get(b"ARROW:extension:name", b"").startswith(b"ray.data.arrow_tensor"):
        shape = tuple(json.loads(metadata[b"ARROW:extension:metadata"]))
    while _is_list(column.type):
        lengths = column.value_lengths().unique()
        if len(lengths) != 1:
            raise ValueError(
                f"{where} has rows of {lengths.to_pylist()} values, expected equal ones"
            )
        inner = (lengths[0].as_py(),)
        shape, column = inner if shape is None else shape, column.flatten()
    values = column.to_numpy(zero_copy_only=False)
    return {"": values if shape is None else values.reshape(-1, *shape)}


def unpack(text: str | bytes, where: str) -> Shaped[np.ndarray, "..."]:
    """An array that RLlib has packed: pickle, lz4, base64.

    Raises:
        ValueError: It is none.
    """
    import lz4.frame  # comes with RLlib

    try:
        content = lz4.frame.decompress(base64.b64decode(text, validate=True))
        return np.asarray(_Unpickler(io.BytesIO(content)).load())
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{where} is no array that RLlib has packed ({error})") from error


def unpack_episode(content: bytes, where: str) -> dict[str, Any]:
    """The state of a `SingleAgentEpisode`, with arrays where msgpack-numpy has put descriptions.

    Raises:
        ValueError: It is none.
    """
    import msgpack  # comes with Ray

    try:
        state = msgpack.unpackb(content, object_hook=_array, strict_map_key=False)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise ValueError(f"{where} is no episode in msgpack ({error})") from error
    if not isinstance(state, dict) or "observations" not in state:
        raise ValueError(f"{where} is no state of a SingleAgentEpisode")
    return state


def flattened(value: Any, path: str = "") -> dict[str, Shaped[np.ndarray, "..."]]:
    """Arrays of a nested observation, by their path; a single one is at ""."""
    if not isinstance(value, dict):
        return {path: np.asarray(value)}
    return {
        name: leaf
        for key, child in value.items()
        for name, leaf in flattened(child, f"{path}/{key}" if path else str(key)).items()
    }


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, expected numpy's arrays only")
        return super().find_class(module, name)


def _array(described: dict[Any, Any]) -> Any:
    """What msgpack-numpy writes of arrays (`nd` true) and of numpy's numbers (`nd` false)."""
    if b"nd" not in described:
        return described
    if described.get(b"kind") == b"O":
        raise ValueError("it holds an array of objects, expected numbers")
    kind = described[b"type"]
    dtype = np.dtype([tuple(field) for field in kind] if isinstance(kind, list) else kind)
    values = np.frombuffer(described[b"data"], dtype)
    return values.reshape(described[b"shape"]) if described[b"nd"] else values[0]


def _described(kind: pa.ExtensionType) -> dict[bytes, bytes]:
    """As Arrow's files tell of a type that nobody has registered."""
    return {
        b"ARROW:extension:name": kind.extension_name.encode(),
        b"ARROW:extension:metadata": kind.__arrow_ext_serialize__(),
    }


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _stacked(rows: list[np.ndarray], where: str) -> Shaped[np.ndarray, "n ..."]:
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise ValueError(f"{where} has rows of shapes {sorted(shapes)}, expected equal ones")
    return np.stack(rows)
