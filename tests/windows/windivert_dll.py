"""WinDivert's own library, called by itself: its helpers' answers in the form of the recorded ones."""

from __future__ import annotations

import ctypes
import pathlib
from typing import Any

import oxidivert as od

Record = dict[str, Any]

#: Room for the longest object and normal form.
ROOM = 65536
_TEXT, _POINTER, _NUMBER, _LONG = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
_HELPERS = {
    "CompileFilter": [_TEXT, ctypes.c_int, _POINTER, _NUMBER, ctypes.POINTER(_TEXT), ctypes.POINTER(_NUMBER)],
    "EvalFilter": [_TEXT, _POINTER, _NUMBER, _POINTER],
    "FormatFilter": [_TEXT, ctypes.c_int, _POINTER, _NUMBER],
    "CalcChecksums": [_POINTER, _NUMBER, _POINTER, _LONG],
    "HashPacket": [_POINTER, _NUMBER, _LONG],
    "ParsePacket": [_POINTER, _NUMBER, *[_POINTER] * 11],
    "DecrementTTL": [_POINTER, _NUMBER],
    "ParseIPv4Address": [_TEXT, _POINTER],
    "ParseIPv6Address": [_TEXT, _POINTER],
    "FormatIPv4Address": [_NUMBER, _POINTER, _NUMBER],
    "FormatIPv6Address": [_POINTER, _POINTER, _NUMBER],
}


class Library:
    """The library of the package, loaded a second time by the same path, which is the same one."""

    def __init__(self) -> None:
        path = pathlib.Path(od.__file__).parent / "_windivert" / "WinDivert.dll"
        self._library = ctypes.CDLL(str(path), use_last_error=True)
        for name, arguments in _HELPERS.items():
            function = getattr(self._library, f"WinDivertHelper{name}")
            function.argtypes = arguments
            function.restype = _LONG if name == "HashPacket" else ctypes.c_int
        self._library.WinDivertOpen.argtypes = [_TEXT, ctypes.c_int, ctypes.c_int16, _LONG]
        self._library.WinDivertOpen.restype = _POINTER
        self._library.WinDivertClose.argtypes = [_POINTER]

    def _call(self, name: str, *arguments: object) -> int:
        ctypes.set_last_error(0)
        answer: int = getattr(self._library, f"WinDivertHelper{name}")(*arguments)
        return answer

    def open(self, text: str, layer: int, flags: int) -> int | None:
        """A handle, or None."""
        handle: int | None = self._library.WinDivertOpen(text.encode(), layer, 0, flags)
        return None if handle in (None, 0xFFFFFFFFFFFFFFFF) else handle

    def close(self, handle: int) -> None:
        """Close a handle."""
        self._library.WinDivertClose(handle)

    def compile(self, text: str, layer: int) -> Record:
        """The answer to `compile`."""
        made, error, position = ctypes.create_string_buffer(ROOM), _TEXT(), _NUMBER()
        ok = bool(
            self._call("CompileFilter", text.encode(), layer, made, ROOM, ctypes.byref(error), ctypes.byref(position))
        )
        return {
            "filter": text,
            "layer": layer,
            "objlen": None,
            "ok": ok,
            "obj": made.value.decode() if ok else None,
            "err": (error.value or b"").decode(),
            "pos": position.value,
        }

    def format(self, text: str, layer: int) -> Record:
        """The answer to `format`."""
        form = ctypes.create_string_buffer(ROOM)
        ok = bool(self._call("FormatFilter", text.encode(), layer, form, ROOM))
        error = None if ok else ctypes.get_last_error()
        return {
            "filter": text,
            "layer": layer,
            "buflen": ROOM,
            "ok": ok,
            "gle": error,
            "text": form.value.decode() if ok else None,
        }

    def evaluate(self, text: str, packet: bytes, address: bytes) -> Record:
        """The answer to `eval`."""
        result = bool(self._call("EvalFilter", text.encode(), packet, len(packet), address))
        error = None if result else ctypes.get_last_error()
        return {"filter": text, "packet": packet.hex(), "addr": address.hex(), "result": result, "gle": error}

    def checksums(self, packet: bytes, address: bytes, flags: int) -> Record:
        """The answer to `checksum`."""
        # Of a TCP header that claims to be longer than its packet the library sums what lies behind: here, zeros.
        data = ctypes.create_string_buffer(packet, len(packet) + 64)
        record = ctypes.create_string_buffer(address, 80)
        ok = bool(self._call("CalcChecksums", data, len(packet), record, flags))
        return {
            "packet": packet.hex(),
            "addr": address.hex(),
            "flags": flags,
            "ok": ok,
            "packet_out": data.raw[: len(packet)].hex(),
            "addr_out": record.raw.hex(),
        }

    def hash(self, packet: bytes, seed: int) -> Record:
        """The answer to `hash`."""
        answer = self._call("HashPacket", packet, len(packet), seed)
        return {"packet": packet.hex(), "seed": f"{seed:x}", "hash": f"{answer:016x}"}

    def parse(self, packet: bytes) -> Record:
        """The answer to `parse`, of the first packet."""
        data = ctypes.create_string_buffer(packet, len(packet) or 1)
        base = ctypes.addressof(data)
        places = {key: _POINTER() for key in ("ip", "ipv6", "icmp", "icmpv6", "tcp", "udp", "data", "next")}
        protocol, data_len, next_len = ctypes.c_uint8(), _NUMBER(), _NUMBER()
        order: list[object] = [places["ip"], places["ipv6"], protocol, places["icmp"], places["icmpv6"]]
        order += [places["tcp"], places["udp"], places["data"], data_len, places["next"], next_len]
        ok = bool(self._call("ParsePacket", data, len(packet), *[ctypes.byref(place) for place in order]))  # type: ignore[arg-type]
        step: Record = {"at": 0, "ok": ok}
        if ok:
            step |= {key: None if place.value is None else place.value - base for key, place in places.items()}
            step |= {"proto": protocol.value, "dlen": data_len.value, "nlen": next_len.value}
        return {"packet": packet.hex(), "steps": [step]}

    def decrement_ttl(self, packet: bytes) -> Record:
        """The answer to `ttl`."""
        data = ctypes.create_string_buffer(packet, len(packet) or 1)
        ok = bool(self._call("DecrementTTL", data, len(packet)))
        return {"packet": packet.hex(), "ok": ok, "packet_out": data.raw[: len(packet)].hex()}

    def parse_address(self, text: str, version: int) -> Record:
        """The answer to `address`, from text to numbers."""
        words = (_NUMBER * 4)()
        ok = bool(self._call(f"ParseIPv{version}Address", text.encode(), words))
        address = list(words) if version == 6 else words[0]
        return {"op": f"parse{version}", "in": text, "ok": ok, "addr": address if ok else None, "buflen": ROOM}

    def format_address(self, words: list[int], version: int) -> Record:
        """The answer to `address`, from numbers to text."""
        text = ctypes.create_string_buffer(256)
        given = (_NUMBER * 4)(*words) if version == 6 else words[0]
        ok = bool(self._call(f"FormatIPv{version}Address", given, text, 256))
        address = words if version == 6 else words[0]
        return {"op": f"format{version}", "addr": address, "ok": ok, "text": text.value.decode(), "buflen": ROOM}
