"Pickles: what Python reads is read, nothing is run, and a damaged file is one clear error."

import argparse
import collections
import datetime
import gzip
import io
import os
import pathlib
import pickle
import random
import struct
import sys
import tracemalloc
import types

import numpy as np
import pytest
import torch
from faults import damaged
from hostile import Call, Careful, message

from carat.core import CaratError
from carat.data import pickles as module
from carat.data.pickles import PickledArray, read_pickle


@pytest.fixture
def write(tmp_path):
    def write(program: bytes):
        (tmp_path / "x.pkl").write_bytes(program)
        return tmp_path / "x.pkl"

    return write


def same(a, b):
    if isinstance(b, argparse.Namespace):
        b = vars(b)
    if isinstance(b, np.generic):
        b = b.item()
    if isinstance(b, np.ndarray) and b.dtype == object:
        b = b.tolist()
    if isinstance(b, (np.ndarray, torch.Tensor)):
        b = np.asarray(b)
        assert (
            isinstance(a, PickledArray)
            and a.shape == b.shape
            and a.dtype == b.dtype.newbyteorder("=")
            and a.read().tobytes() == b.astype(a.dtype).tobytes()
        )
    elif isinstance(b, dict):
        assert isinstance(a, dict) and list(a) == list(b)
        for k in b:
            same(a[k], b[k])
    elif isinstance(b, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for u, v in zip(a, b, strict=True):
            same(u, v)
    else:
        assert type(a) is type(b) and a == b or a != a and b != b


RNG = np.random.default_rng(0)
LONG = "é€😀a\n" * 500
EXAMPLES = {
    "plain": [
        None,
        True,
        False,
        0,
        -1,
        255,
        256,
        65536,
        -(2**31),
        2**31,
        2**100,
        -(2**300),
        0.5,
        -0.0,
        1e300,
        "",
        "é\n'\\\0",
        b"",
        b"\xff\0",
        bytearray(b"ab"),
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
    ],
    "nested": {
        "a": [{"b": (1, [2, {3, 4}], frozenset("xy"))}],
        (1, "k"): {},
        None: [[[]]],
        2.5: set(),
    },
    "long": {
        "text": LONG,
        LONG: b"\xe9" * 3000,
        "in a tuple": (LONG, (LONG, bytearray(b"\xff" * 2000))),
        "again": [LONG] * 3,
    },
    "ordered": collections.OrderedDict([("b", 1), ("a", collections.OrderedDict())]),
    "default": {k: v for k, v in collections.defaultdict(list, a=[1]).items()},
    "namespace": argparse.Namespace(
        max_text_seq_len=60, inner=argparse.Namespace(x=[1]), names=["a"]
    ),
    "arrays": {
        k: (RNG.normal(size=s) * 50).astype(k)
        for k, s in {
            "f4": (3, 4, 5),
            "f8": (0, 3),
            ">f4": (300,),
            ">i2": (2, 2),
            "i8": (1, 1, 1, 1),
            "u1": (2000,),
            "?": (7,),
            "c8": (3,),
            "S5": (4,),
            "f2": (),
        }.items()
    },
    "strings": [
        np.array([["vidéo", "1.5", "2"]] * 3),
        np.array([b"ab", b"c"]),
        np.array(["x" * 400] * 4),
        np.array([["a", b"b"], [None, 1]], object),
    ],
    "orders": [
        np.asfortranarray(RNG.normal(size=(4, 3, 2))),
        RNG.normal(size=(50, 30)).T,
        np.transpose(RNG.normal(size=(2, 3, 4)), (1, 0, 2)),
        RNG.normal(size=(9, 9))[::2, 1:],
    ],
    "object array": np.array([RNG.normal(size=(2, 3)), RNG.normal(size=(4, 3)), None], object),
    "scalars": [np.float32(0.1), np.float64(1e300), np.int64(-3), np.bool_(True), np.str_("é")],
    "shared": (lambda a: [a, a, {"x": a}])([np.arange(3.0), LONG]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", EXAMPLES)
def test_python_pickles(write, name, protocol):
    same(read_pickle(write(pickle.dumps(EXAMPLES[name], protocol))), EXAMPLES[name])


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", EXAMPLES)
def test_torch_files(tmp_path, name, protocol, new):
    base = torch.arange(24.0).view(2, 3, 4)
    value = {
        "data": EXAMPLES[name],
        "base": base,
        "part": base[1],
        "turned": base.permute(2, 0, 1),
        "column": base[:, 1, ::2],
        "one": torch.tensor(3),
        "none": torch.zeros(0, 5),
        "kinds": [
            torch.arange(5).to(k)
            for k in (
                torch.float64,
                torch.float16,
                torch.int8,
                torch.uint8,
                torch.int16,
                torch.int32,
                torch.bool,
            )
        ],
        "p": torch.nn.Parameter(base).data,
    }
    torch.save(
        value, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=new
    )
    same(read_pickle(tmp_path / "x.pt"), value)


def test_a_parameter_is_its_tensor(tmp_path):
    torch.save(
        torch.nn.Linear(3, 2).state_dict() | {"p": torch.nn.Parameter(torch.ones(2))},
        tmp_path / "x.pt",
    )
    assert read_pickle(tmp_path / "x.pt")["p"].read().tolist() == [1, 1]


# Python 2 wrote text and bytes as one type; these programs are written out as its cPickle did


def old_array(a, protocol=2):
    raw, shape = a.tobytes(), b"".join(b"I%d\n" % n for n in a.shape)
    if protocol == 0:
        escaped = "".join(
            chr(c) if 32 <= c < 127 and c not in (39, 92) else f"\\x{c:02x}" for c in raw
        ).encode()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\ntp5\nRp6\n(I1\n("
            + shape
            + b"tp7\ncnumpy\ndtype\np8\n(S'"
            + a.dtype.str[1:].encode()
            + b"'\np9\nI0\nI1\ntp10\nRp11\n(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS'"
            + escaped
            + b"'\np14\ntp15\nb"
        )
    text = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01("
        + shape
        + b"tcnumpy\ndtype\nq\x04U\x02"
        + a.dtype.str[1:].encode()
        + b"K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + text
        + raw
        + b"tb"
    )


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("shape", [(2, 3), (40, 30), (0, 4)])
def test_python_2(write, protocol, shape):
    a = np.random.default_rng(1).normal(size=shape).astype("f4")
    text = b"S'caf\\xc3\\xa9'\n" if protocol == 0 else b"U\x05caf\xc3\xa9"
    program = (
        (b"" if protocol == 0 else b"\x80\x02")
        + b"(dS'x'\n"
        + old_array(a, protocol)
        + b"sS'name'\n"
        + text
        + b"sS'n'\nL12345678901L\nsS'yes'\nI01\nsS'm'\n(lI1\naF2.5\nas."
    )
    expected = pickle.loads(program, encoding="latin1")
    got = read_pickle(write(program))
    same(got["x"], expected["x"])
    assert got["name"] == "café" and (got["n"], got["yes"], got["m"]) == (
        12345678901,
        True,
        [1, 2.5],
    )


# blocks


@pytest.mark.parametrize("protocol", range(6))
def test_blocks_are_the_rows_in_order(write, protocol):
    a = np.random.default_rng(2).normal(size=(57, 11, 5)).astype("f4")
    got = read_pickle(write(pickle.dumps([a, a.astype(">f8"), np.asfortranarray(a)], protocol)))
    for v in got:
        assert (
            len(v) == 57
            and v.ndim == 3
            and np.array_equal(np.asarray(v), a.astype(v.dtype))
            and np.asarray(v, "f2").dtype == "f2"
        )
        for n in (1, 7, 57, 100):
            blocks = list(v.blocks(n))
            assert [len(b) for b in blocks] == [
                min(n, 57 - i) for i in range(0, 57, n)
            ] and np.array_equal(np.concatenate(blocks), a.astype(v.dtype))
    one, two = got[0].blocks(3), got[0].blocks(3)  # readers do not disturb each other
    for x, y in zip(one, two, strict=True):
        assert np.array_equal(x, y)
    blocks = list(got[0].blocks(10))
    blocks[0][:] = 0  # what was read belongs to the reader
    assert np.array_equal(got[0].read(), a)


@pytest.mark.parametrize("protocol", [2, 4])
def test_memory_stays_flat(write, protocol):
    path = write(
        pickle.dumps(
            {
                "x": np.random.default_rng(0).normal(size=(4000, 100, 25)).astype("f4"),
                "many": [np.ones((60, 35), "f4")] * 10
                + [np.full((60, 35), i, "f4") for i in range(300)],
            },
            protocol,
        )
    )
    tracemalloc.start()
    d = read_pickle(path)
    parsed = tracemalloc.get_traced_memory()[1]
    n = sum(len(b) for b in d["x"].blocks(50))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 4000 and path.stat().st_size > 40e6 and parsed < 3e6 and most < 12e6


def test_columns_first_is_read_whole_or_refused(write, monkeypatch):
    a = np.asfortranarray(np.random.default_rng(0).normal(size=(30, 40)))
    v = read_pickle(write(pickle.dumps(a, 4)))
    assert np.array_equal(np.concatenate(list(v.blocks(7))), a)
    monkeypatch.setattr(module, "_WHOLE", 1000)
    assert "ascontiguousarray" in message(lambda: next(v.blocks(7))) and np.array_equal(v.read(), a)


def test_a_file_that_changes(write):
    v = read_pickle(path := write(pickle.dumps(np.arange(1000.0))))
    path.write_bytes(b"other")
    assert "changed" in message(v.read)


# hostile


class State:
    def __reduce__(self):
        return argparse.Namespace, (), {"x": 1}


def hostile(mark):
    "{name: (program, the name that must be in the answer)}; each would make the folder `mark`."
    command, code = f"mkdir {mark}", f"__import__('os').mkdir({str(mark)!r})"
    line = f"{command}'\n".encode()
    return {
        "os.system": (pickle.dumps(Call(os.system, command), 0), "posix.system"),
        "os.system, protocol 4": (
            pickle.dumps({"train": [Call(os.system, command)]}, 4),
            "posix.system",
        ),
        "eval": (pickle.dumps(Call(eval, code), 2), "__builtin__.eval"),
        "exec": (pickle.dumps(Call(exec, code), 4), "builtins.exec"),
        "getattr": (b"cbuiltins\ngetattr\n(cos\npath\nS'join'\ntR.", "builtins.getattr"),
        "importlib": (b"cimportlib\nimport_module\n(S'this'\ntR.", "importlib.import_module"),
        "an import alone": (b"cthis\ns\n.", "this.s"),
        "INST": (b"(S'" + line + b"ios\nsystem\n.", "os.system"),
        "OBJ": (b"(cos\nsystem\nS'" + line + b"o.", "os.system"),
        "NEWOBJ": (b"\x80\x02cos\nsystem\nS'" + line + b"\x85\x81.", "os.system"),
        "STACK_GLOBAL of parts": (
            b"\x80\x04S'o'\n0\x8c\x02os\x8c\x06system\x93\x8c"
            + bytes([len(command)])
            + command.encode()
            + b"\x85R.",
            "os.system",
        ),
        "a dotted name": (
            b"\x80\x04\x8c\x05numpy\x8c\x13core.multiarray.sys\x93.",
            "numpy.core.multiarray.sys",
        ),
        "a name behind numpy": (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        "numpy.f2py": (b"cnumpy.f2py\ncompile\n.", "numpy.f2py.compile"),
        "_codecs": (b"c_codecs\nlookup\n.", "_codecs.lookup"),
        "within an array": (
            pickle.dumps([np.zeros(3), {"x": (1, Call(os.mkdir, str(mark)))}], 2),
            "posix.mkdir",
        ),
        "nested": (pickle.dumps(Call(Call, Call(list, (Call(os.mkdir, str(mark)),))), 4), "Call"),
        "objects of an array": (
            pickle.dumps(np.array([1, Call(os.mkdir, str(mark))], object), 2),
            "posix.mkdir",
        ),
        "as a key": (pickle.dumps({Call(os.mkdir, str(mark)): 1}, 4), "posix.mkdir"),
        "after the end of a bare class": (b"cnumpy\nndarray\n.", "numpy.ndarray"),
        "a class that is called": (b"cnumpy\nndarray\n(I1000000000\ntR.", "numpy.ndarray"),
        "__setstate__ of a class": (
            b"cnumpy\nndarray\n(dS'__setstate__'\ncbuiltins\neval\nsb.",
            "builtins.eval",
        ),
        "BUILD on a function": (b"c_codecs\nencode\n(dS'x'\nI1\nsb.", "_codecs.encode"),
        "BUILD on a list": (b"](dS'append'\nI1\nsb.", "list"),
        "torch.load": (pickle.dumps(Call(torch.load, "x"), 2), "torch.serialization.load"),
        "torch hub": (b"ctorch.hub\nload\n.", "torch.hub.load"),
        "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "outside": (b"\x80\x02S'key'\nQ.", "outside"),
        "a buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    }


@pytest.mark.parametrize("name", hostile("x"))
@pytest.mark.parametrize("container", ["pickle", "zip", "legacy"])
def test_hostile(tmp_path, name, container):
    mark = tmp_path / "made"
    program, named = hostile(mark)[name]
    path = tmp_path / "x.pkl"
    if container == "pickle":
        path.write_bytes(program)
    elif container == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as z:
            z.writestr("archive/data.pkl", program)
    else:
        path.write_bytes(
            pickle.dumps(0x1950A86A20F9469CFC6C, 2)
            + pickle.dumps(1001, 2)
            + pickle.dumps({"little_endian": True}, 2)
            + program
        )

    def modules():
        return {m for m in sys.modules if not m.startswith("encodings")}  # of zipfile

    before = modules()
    said = message(lambda: read_pickle(path))
    if not (name == "outside" and container != "pickle"):
        assert named in said, said
    assert (
        str(path) in said
        and "byte" in said
        and not mark.exists()
        and "this" not in sys.modules
        and modules() == before
    )
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


def test_a_namespace_is_a_dict_and_only_that(write):
    assert read_pickle(write(pickle.dumps(State()))) == {"x": 1}
    assert read_pickle(
        write(pickle.dumps(argparse.Namespace(__setstate__=1, __reduce__="os")))
    ) == {"__setstate__": 1, "__reduce__": "os"}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [argparse.Namespace, types.SimpleNamespace])
def test_harmless_objects_in_settings(write, protocol, wrapped):
    settings = wrapped(
        device=torch.device("cuda:1"),
        cpu=torch.device("cpu"),
        dtype=torch.float32,
        out=pathlib.Path("/some/where"),
        there=pathlib.PurePosixPath("a/b"),
        day=datetime.date(2020, 1, 2),
        seen=collections.Counter("aab"),
        names=["x"],
    )
    got = read_pickle(write(pickle.dumps({"settings": settings, "x": np.arange(3.0)}, protocol)))
    assert got["x"].read().tolist() == [0, 1, 2] and got["settings"]["names"] == ["x"]
    assert got["settings"]["device"] == "torch.device(cuda, 1)"
    assert got["settings"]["cpu"] == "torch.device(cpu)"
    assert got["settings"]["dtype"] == "torch.float32"
    assert "PosixPath(" in got["settings"]["out"] and "where)" in got["settings"]["out"]
    assert got["settings"]["day"].startswith("datetime.date(")
    assert got["settings"]["seen"] == {"a": 2, "b": 1}


@pytest.mark.parametrize("protocol", range(6))
def test_the_entry_of_a_foreign_object_is_named(write, protocol):
    settings = argparse.Namespace(n=60, odd=Call(os.getcwd))
    data = {"train": {"x": np.arange(3.0)}, "settings": settings}
    said = message(read_pickle, write(pickle.dumps(data, protocol)))
    entry = "'settings' > 'odd'" if protocol else "'odd'"  # protocol 0 has one stack for all
    assert entry in said and "getcwd" in said and "without that entry" in said


def test_bfloat16_is_named(tmp_path):
    x = torch.ones(2, 3).bfloat16()
    for new in (True, False):
        path = tmp_path / "x.pt"
        torch.save({"train": {"x": x}}, path, _use_new_zipfile_serialization=new)
        said = message(read_pickle, path)
        assert "bfloat16" in said and "tensor.float()" in said and "'x'" in said


# files that ask for memory or time


def tensor(size, stride, numel=4, first=0, kind=b"FloatStorage"):
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\n"
        + kind
        + b"\nU\x010U\x03cpuI%d\ntQI%d\n(" % (numel, first)
        + b"".join(b"I%d\n" % n for n in size)
        + b"t("
        + b"".join(b"I%d\n" % n for n in stride)
        + b"t\x89ccollections\nOrderedDict\n)RtR."
    )


WILD = 2**62
ARRAY = pickle.dumps(np.zeros((2, 3), "f4"), 2)
BOMBS = {
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", WILD),
    "text": b"\x80\x04\x8d" + struct.pack("<Q", WILD),
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", WILD),
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", WILD),
    "4 GB of text": b"X\xff\xff\xff\xff.",
    "old text of a negative length": b"T\xff\xff\xff\xff.",
    "a number": b"\x8b\xff\xff\xff\x7f.",
    "bytearray(n)": b"cbuiltins\nbytearray\n(I%d\ntR." % 10**12,
    "bytes(n)": b"cbuiltins\nbytes\n(I%d\ntR." % 10**12,
    "list(n)": b"cbuiltins\nlist\n(I%d\ntR." % 10**12,
    "digits": b"I" + b"9" * 100000 + b"\n.",
    "a shape": ARRAY.replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
    "a shape with nothing in it": ARRAY.replace(
        b"K\x02K\x03\x86", b"K\x00\x8a\x09" + (2**70).to_bytes(9, "little") + b"\x86"
    ),
    "a negative shape": ARRAY.replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"),
    "items without size": ARRAY.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00S0"),
    "wide items": ARRAY.replace(b"X\x02\x00\x00\x00f4", b"X\x0a\x00\x00\x00S999999999"),
    "many dimensions": ARRAY.replace(b"K\x02K\x03\x86", b"(" + b"K\x01" * 70 + b"t"),
    "sets": b"\x8f\x94" * 500_000 + b".",
    "marks": b"(" * 100_000,
    "lists": b"]" * 1_000_000,
    "deep tuples as a key": b"}" + b")" + b"\x85" * 50_000 + b"Ns.",
    "a tuple of tuples of tuples as a key": b"})" + b"2\x86" * 60 + b"Ns.",
    "in a set": b"\x8f(" + b")" + b"2\x86" * 60 + b"\x90.",
    "a list, copied again and again": b"]("
    + b"N" * 20_000
    + b"eq\x00cbuiltins\nlist\nq\x01]"
    + b"h\x01h\x00\x85Ra" * 5000
    + b".",
    "bytes, copied": b"\x80\x02]V"
    + b"a" * 500_000
    + b"\nq\x00cbuiltins\nbytearray\nq\x01"
    + b"h\x01h\x00X\x06\0\0\0latin1\x86Ra" * 5000
    + b".",
    "settings, copied": b"}("
    + b"".join(b"I%d\nN" % i for i in range(20_000))
    + b"uq\x00cargparse\nNamespace\nq\x01]"
    + b"h\x01)Rh\x00ba" * 5000
    + b".",
    "texts again and again": b"\x80\x02]X"
    + struct.pack("<I", 1_000_000)
    + b"a" * 1_000_000
    + b"q\x00a"
    + b"h\x00a" * 5000
    + b".",
}
TENSORS = {
    "a tensor larger than its storage": tensor((10**6, 10**6), (10**6, 1)),
    "a tensor that repeats itself": tensor((10**6, 10**6), (0, 0)),
    "a storage larger than the file": tensor((4,), (1,), 10**12),
    "behind its storage": tensor((4,), (1,), 4, 1),
    "of wild strides": tensor((2, 2), (10**15, 1)),
    "of negative strides": tensor((2, 2), (-1, 1)),
    "of no shape": tensor((2,), ()),
}


@pytest.mark.parametrize("name", [*BOMBS, *TENSORS])
def test_bombs(tmp_path, name):
    import zipfile

    path = tmp_path / "x"
    if name in BOMBS:
        path.write_bytes(BOMBS[name])
    else:
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("archive/data.pkl", TENSORS[name]), z.writestr("archive/data/0", bytes(16))
    tracemalloc.start()
    try:
        said = message(lambda: read_pickle(path, memory=20 << 20))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in said and len(said) < 800 and most < 60e6, (said, most)


def test_what_is_shared_is_not_multiplied(write):
    laughs = (
        b"]"
        + b"q\x00"
        + b"".join(
            b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1])
            for i in range(60)
        )
        + b"."
    )  # 10 to the power of 60 lists
    v = read_pickle(write(laughs))
    for _ in range(60):
        assert len(v) == 10 and all(u is v[0] for u in v)
        v = v[0]
    deep = read_pickle(write(b"]" * 100_000 + b"a" * 99_999 + b"."))
    del deep


@pytest.mark.parametrize(
    "good, change, words",
    [
        (True, lambda b: b.replace(b"f4", b"V4"), ("'V4'", "type")),
        (True, lambda b: b.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"), ("(2, 4)", "content")),
        (True, lambda b: b[:-1], ("ends", "get it again")),
        (True, lambda b: b[:-1] + b"\xff", ("no such instruction", "byte")),
        (True, lambda b: b"\x80\x09" + b[2:], ("protocol 9",)),
        (True, lambda b: b.replace(b"q\x01", b"h\x33", 1), ("not stored",)),
        (False, lambda b: b"0.", ("POP",)),
        (False, lambda b: b"a.", ("does not exist",)),
        (False, lambda b: b"Na.", ("does not exist",)),
        (False, lambda b: b"NNa.", ("NoneType",)),
        (False, lambda b: b"}Nu.", ("does not exist",)),
        (False, lambda b: b"}(Nu.", ("pairs",)),
        (False, lambda b: b".", ("not a pickle",)),
        (False, lambda b: b"}]Ns.", ("list as a key",)),
        (False, lambda b: b"Ix\n.", ("INT",)),
        (False, lambda b: b"Sx\n.", ("quotes",)),
        (False, lambda b: b"X\x02\x00\x00\x00\xff\xff.", ("BINUNICODE",)),
        (False, lambda b: b"X\xd0\x07\x00\x00" + b"\xff" * 2000 + b".", ("UTF-8",)),
        (False, lambda b: b"", ("empty",)),
        (False, lambda b: b"<!DOCTYPE html>", ("not a pickle", "DOCTYPE")),
        (False, lambda b: b"version https://git-lfs", ("not a pickle", "git-lfs")),
        (False, lambda b: gzip.compress(b"x"), ("compressed",)),
        (False, lambda b: b"PK\x03\x04 not really", ("zip",)),
    ],
)
def test_damage_is_said(write, good, change, words):
    said = message(lambda: read_pickle(write(change(ARRAY))))
    assert all(w in said for w in words) and "x.pkl" in said, said


def test_no_file(tmp_path):
    assert "nothing.pkl" in message(lambda: read_pickle(tmp_path / "nothing.pkl"))
    assert "folder" in message(lambda: read_pickle(tmp_path))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda z: z.pop("archive/data.pkl"), ("0 of its 2 files",)),
        (lambda z: z.update({"other/data.pkl": b"N."}), ("2 of its 4 files",)),
        (lambda z: z.pop("archive/data/0"), ("archive/data/0",)),
        (lambda z: z.update({"archive/data/0": bytes(15)}), ("4 items", "15 bytes")),
        (lambda z: z.update({"archive/byteorder": b"middle"}), ("byte order",)),
    ],
)
def test_archives(tmp_path, change, words):
    import zipfile

    entries = {
        "archive/data.pkl": tensor((4,), (1,)),
        "archive/byteorder": b"little",
        "archive/data/0": np.arange(4, dtype="f4").tobytes(),
    }

    def save(how=zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / "x.pt", "w", how) as z:
            for k, v in entries.items():
                z.writestr(k, v)
        return tmp_path / "x.pt"

    assert read_pickle(save()).read().tolist() == [0, 1, 2, 3]
    assert "compressed" in message(lambda: read_pickle(save(zipfile.ZIP_DEFLATED)))
    whole = bytearray(save().read_bytes())
    whole[whole.index(entries["archive/data/0"]) + 5] ^= 1
    (tmp_path / "x.pt").write_bytes(whole)
    assert "checksum" in message(lambda: read_pickle(tmp_path / "x.pt"))
    (tmp_path / "x.pt").write_bytes(save().read_bytes()[:-40])
    assert "damaged zip" in message(lambda: read_pickle(tmp_path / "x.pt"))
    change(entries)
    said = message(lambda: read_pickle(save()))
    assert all(w in said for w in words), said


def test_big_endian_storages(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.pt", "w") as z:
        (
            z.writestr("a/data.pkl", tensor((4,), (1,))),
            z.writestr("a/byteorder", "big"),
            z.writestr("a/data/0", np.arange(4, dtype=">f4").tobytes()),
        )
    assert read_pickle(tmp_path / "x.pt").read().tolist() == [0, 1, 2, 3]


# damage at random: an error, or what Python reads in the same file


DATA = {
    "x": np.arange(6, dtype="f4").reshape(2, 3),
    "many": [np.full((2, 2), i, "f8") for i in range(3)],
    "tgt": [[2, 4, 3], [2, 3]],
    "name": "é",
    "dict": {"<s>": 2, "b": 300},
    "settings": argparse.Namespace(n=60),
    "id": np.array([["v", "1"], ["w", "2"]]),
    "o": np.array([[1], "x"], object),
    "long": np.arange(400, dtype="i2"),
}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning"
)  # of NumPy, about what a damaged file asks of it
@pytest.mark.parametrize("protocol", range(6))
def test_damaged_pickles(write, protocol):
    whole, refused, both = pickle.dumps(DATA, protocol), 0, 0
    for i in range(300):
        bad = damaged(whole, i)
        try:
            got = read_pickle(write(bad))
            arrays = [v for v in walk(got) if isinstance(v, PickledArray)]
            for v in arrays:
                v.read()
        except CaratError as e:
            refused += 1
            assert "x.pkl" in str(e)
            continue
        try:
            expected = Careful(io.BytesIO(bad), encoding="utf-8").load()
        except Exception:
            continue  # refused by Python for a reason that does not matter to data
        both += 1
        same(got, expected)
    assert refused > 100 and both > 10, (refused, both)


def walk(v, depth=0):
    yield v
    if depth < 6 and isinstance(v, (dict, list, tuple)):
        for u in v.values() if isinstance(v, dict) else v:
            yield from walk(u, depth + 1)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_damaged_torch_files(tmp_path, new):
    torch.save(
        {
            "x": np.arange(300, dtype="f4"),
            "t": torch.arange(6.0).view(2, 3),
            "u": torch.arange(6).view(2, 3).T,
            "l": [1, "a"],
        },
        tmp_path / "good.pt",
        _use_new_zipfile_serialization=new,
    )
    whole, path, refused = (tmp_path / "good.pt").read_bytes(), tmp_path / "bad.pt", 0
    right = torch.load(tmp_path / "good.pt", weights_only=False)
    for i in range(300):
        path.write_bytes(damaged(whole, i))
        try:
            got = read_pickle(path)
            for v in walk(got):
                if isinstance(v, PickledArray):
                    v.read()
        except CaratError:
            refused += 1
        else:
            if new:
                same(got, right)  # an archive has checksums
    assert refused > 150


def test_every_truncation(write):
    whole = pickle.dumps(DATA, 4)
    for n in range(0, len(whole), 3):
        assert "x.pkl" in message(read_pickle, write(whole[:n]))


def test_random_bytes(write):
    for seed in range(300):
        r = random.Random(seed)
        program = bytes(
            r.choice(
                b"(.0123INSVXUTBC\x80\x8c\x94\x93Rbtdl]})aseuqhg\n\x85\x86\x87\x81\x8f\x90\x00\x01\x02ab"
            )
            for _ in range(r.randrange(1, 60))
        )
        try:
            read_pickle(write(program))
        except CaratError:
            pass
