"""Read a pickle as data: what it would import or call stays a name, and nothing is executed."""

import pickletools
from dataclasses import dataclass
from typing import Any

LARGEST = 1 << 20
"""Largest pickle that is read, in bytes; the names and shapes of DMDNet's tensors take 0.2 MB."""


@dataclass(frozen=True)
class Name:
    """What the pickle would import, such as `torch._utils._rebuild_tensor_v2`."""

    text: str


@dataclass(frozen=True)
class Call:
    """What the pickle would call, by its name, and with what."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Persistent:
    """A reference to what lies outside the pickle."""

    reference: Any


def read_pickle(data: bytes) -> tuple[Any, int]:
    """The value of the pickle that `data` begins with, and how many bytes of `data` it takes.

    Dictionaries, lists, tuples, numbers, texts and None are themselves, an `OrderedDict` is a
    dictionary without what was set on it; all else is a `Name`, `Call` or `Persistent`. Raises
    ValueError, or another of Python's errors, for bytes that are no pickle and for a pickle with
    any other operation.
    """
    machine = _Machine()
    for operation, argument, position in pickletools.genops(data[:LARGEST]):
        if operation.name == "STOP":
            (value,) = machine.stack
            return value, (position or 0) + 1
        machine.do(operation.name, argument)
    raise ValueError("the pickle does not end")


class _Machine:
    """The pickle machine's stack and memo, for the operations of a state dict."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks under the open marks
        self._memo: dict[int, Any] = {}

    def do(self, operation: str, argument: Any) -> None:
        stack = self.stack
        match operation:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._below.append(stack)
                self.stack = []
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[operation])
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                taken = self._marked() if operation == "TUPLE" else self._pop(int(operation[-1]))
                self.stack.append(tuple(taken))
            case "APPEND" | "APPENDS":
                items = self._marked() if operation == "APPENDS" else self._pop(1)
                _expect(self.stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._marked() if operation == "SETITEMS" else self._pop(2)
                keys = [_expect(key, str) for key in items[::2]]
                _expect(self.stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self._memo[len(self._memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(Name(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                module, name = self._pop(2)
                stack.append(Name(f"{_expect(module, str)}.{_expect(name, str)}"))
            case "BINPERSID":
                stack.append(Persistent(stack.pop()))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(_called(_expect(function, Name).text, _expect(arguments, tuple)))
            case "BUILD":
                stack.pop()  # a state dict's versions, `_metadata`
                _expect(stack[-1], dict)
            case _:
                raise ValueError(f"the pickle has {operation}, which no state dict needs")

    def _pop(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        if len(taken) != count:
            raise ValueError("the pickle takes more from its stack than is there")
        del self.stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        taken, self.stack = self.stack, self._below.pop()
        return taken


def _called(function: str, arguments: tuple[Any, ...]) -> Any:
    if function == "collections.OrderedDict" and not arguments:
        return {}
    return Call(function, arguments)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"the pickle has {type(value).__name__} in place of {kind.__name__}")
    return value
